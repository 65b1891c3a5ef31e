"""What a test needs and this machine lacks: a person may do without, a whole run may not."""

import os

import pytest


def missing(what):
    """Skips the test; fails it where POPFERRY_REQUIRE_ALL is set, as .ci/run does."""
    message = f"{what}: `make deps` installs what tests need"
    if os.environ.get("POPFERRY_REQUIRE_ALL"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
