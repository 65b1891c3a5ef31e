"""What the systemd units allow suffices for what the configuration may ask for."""

from configparser import ConfigParser

import pytest

from tests.harness.popferry import TOP

FAMILIES = {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}  # the last for name look-ups


@pytest.mark.parametrize("name", ["fetcherd", "hygiene", "relayd"])
def test_servers_can_be_reached(name):
    unit = ConfigParser(strict=False, interpolation=None)
    unit.read(TOP / name / f"{name}.service")
    service = unit["Service"]
    assert service.get("PrivateNetwork", "no") == "no"
    assert set(service["RestrictAddressFamilies"].split()) == FAMILIES
