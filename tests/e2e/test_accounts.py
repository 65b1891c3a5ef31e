"""Accounts: added, listed, shown, removed; polled side by side; backing off when they fail."""

import json

import pytest

from tests.harness.mail import assert_same, simple
from tests.harness.popferry import EXIT_FAILED, EXIT_USAGE
from tests.harness.process import free_port
from tests.harness.scripted import HANG, ScriptedPop3, ScriptedSmtp

SECRET = "Tr0ub4dor&3 'quoted' \"so\" ünd=1"


@pytest.fixture
def alone(make_ferry):
    """popferry with nothing to relay to; for what needs no delivery."""
    return make_ferry(free_port())


def add(ferry, name="sales", port=110, **more):
    ferry.add_account(name, port, "user", "secret", "to@corp.example", **more)


def test_add_list_show_remove(alone):
    assert alone.ctl_json("account", "list") == []
    add(alone)
    add(alone, "info", 995, tls="implicit", more=("--interval", "30m"))
    assert [one["name"] for one in alone.ctl_json("account", "list")] == ["info", "sales"]
    shown = alone.ctl_json("account", "show", "info")
    assert shown["name"] == "info" and shown["port"] == 995 and shown["user"] == "user"
    assert shown["server"] == "127.0.0.1" and shown["tls"] == "implicit"
    assert shown["deliver_to"] == ["to@corp.example"]
    text = alone.ctl_ok("account", "list")
    assert "sales" in text and "info" in text
    alone.ctl_ok("account", "remove", "sales")
    assert [one["name"] for one in alone.ctl_json("account", "list")] == ["info"]
    alone.restart("fetcherd")
    assert [one["name"] for one in alone.ctl_json("account", "list")] == ["info"]


GOOD = {
    "name": "x",
    "--server": "pop.example",
    "--port": "995",
    "--tls": "implicit",
    "--user": "u",
    "--deliver-to": "a@corp.example",
}


@pytest.mark.parametrize(
    "change",
    [
        {"--server": None},
        {"--user": None},
        {"--deliver-to": None},
        {"name": None},
        {"name": "../evil"},
        {"name": ""},
        {"name": "a" * 200},
        {"name": "two words"},
        {"--server": ""},
        {"--server": "pop.example\r\nQUIT"},
        {"--port": "0"},
        {"--port": "65536"},
        {"--port": "pop3"},
        {"--tls": "maybe"},
        {"--deliver-to": "nobody at all"},
        {"--deliver-to": "a@b@c"},
        {"--deliver-to": ""},
        {"--user": "a\r\nDELE 1"},
        {"--user": ""},
        {"--interval": "10s"},
        {"--interval": "25h"},
        {"--interval": "often"},
        {"--nonsense": "1"},
    ],
    ids=lambda change: " ".join(f"{k}={v!r:.20}" for k, v in change.items()),
)
def test_bad_input_is_refused_and_said(alone, change):
    given = GOOD | change
    name = given.pop("name")
    options = [word for pair in given.items() if pair[1] is not None for word in pair]
    words = ["account", "add", *([] if name is None else [name]), *options, "--password-stdin"]
    code, out, err = alone.ctl(*words, stdin="secret\n")
    assert code in (EXIT_FAILED, EXIT_USAGE)
    assert err.strip() and len(err) < 2000
    assert alone.ctl_json("account", "list") == []


def test_second_account_of_a_name_is_refused(alone):
    add(alone)
    with pytest.raises(AssertionError, match="sales"):
        add(alone)


@pytest.mark.parametrize("words", [("show", "ghost"), ("remove", "ghost")])
def test_unknown_account(alone, words):
    code, _, err = alone.ctl("account", *words)
    assert code == EXIT_FAILED and "ghost" in err


def test_fetch_of_an_unknown_account(alone):
    code, _, err = alone.ctl("fetch", "ghost")
    assert code == EXIT_FAILED and "ghost" in err


def test_password_is_never_seen_in_clear(ferry, make_box, smtp):
    """Not in state, spool, logs or configuration, nor in any output; wrong or right."""
    box = make_box(ferry, password=SECRET)
    box.drop(simple("x"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    box._pop3.add_user(box.name, "another one")
    assert ferry.fetch(box.name) != 0
    said = ferry.ctl_ok("account", "show", box.name) + json.dumps(ferry.ctl_json("account", "list"))
    said += json.dumps(ferry.status())
    assert SECRET not in said
    assert ferry.secrets_in_clear(SECRET) == []


def test_removed_account_leaves_the_mailbox_alone(ferry, box, smtp):
    box.drop(simple("stays"))
    ferry.ctl_ok("account", "remove", box.name)
    assert ferry.ctl("fetch", "--all", "--wait")[0] == 0
    assert box.on_server() == 1 and smtp.count(box.name) == 0


def test_many_accounts_at_once(ferry, make_box, smtp):
    boxes = [make_box(ferry) for _ in range(40)]
    for box in boxes:
        box.drop(*(simple(f"{box.name} number {n}") for n in range(3)))
    assert ferry.fetch() == 0
    ferry.drain()
    smtp.settle()
    for box in boxes:
        assert_same(box.sent, box.arrived())
    ferry.fetch()
    assert sum(box.on_server() for box in boxes) == 0
    assert len(ferry.status()["accounts"]) == 40


def test_wrong_password_is_shown_and_overcome(ferry, box, make_box, smtp):
    other = make_box(ferry)
    box._pop3.add_user(box.name, "changed")
    box.drop(simple("waits"))
    other.drop(simple("goes on"))
    assert ferry.fetch() != 0
    smtp.wait_count(other.name, 1)
    shown = ferry.account(box.name)
    assert shown["failures"] and shown["error"]
    assert "secret" not in shown["error"]
    assert ferry.account(other.name)["failures"] == 0 and ferry.account(other.name)["last_ok"]
    assert box.on_server() == 1

    box._pop3.add_user(box.name, "secret")
    assert ferry.fetch(box.name) == 0
    shown = ferry.account(box.name)
    assert shown["failures"] == 0 and not shown["error"] and shown["last_ok"].endswith("Z")
    smtp.wait_count(box.name, 1)


def test_server_away(ferry, box, smtp):
    add(ferry, "nowhere", free_port())
    box.drop(simple("goes on"))
    assert ferry.fetch() != 0
    smtp.wait_count(box.name, 1)
    for _ in range(2):
        before = ferry.account("nowhere")["failures"]
        assert ferry.fetch("nowhere") != 0
        assert ferry.account("nowhere")["failures"] > before
    assert ferry.account("nowhere")["error"]
    assert ferry.account(box.name)["failures"] == 0


def test_failures_survive_a_restart(alone):
    add(alone, "nowhere", free_port())
    alone.fetch("nowhere")
    before = alone.account("nowhere")
    assert before["failures"] and before["error"]
    alone.restart("fetcherd")
    after = alone.account("nowhere")
    assert (after["failures"], after["error"]) == (before["failures"], before["error"])


def test_a_server_that_hangs_delays_nobody(make_ferry):
    with ScriptedSmtp() as smtp, ScriptedPop3(
        [simple("x")], {"STAT*": HANG, "LIST*": HANG, "UIDL*": HANG}
    ) as slow:
        with ScriptedPop3([simple("y")]) as quick:
            ferry = make_ferry(smtp.port)
            add(ferry, "slow", slow.port)
            add(ferry, "quick", quick.port)
            ferry.ctl_ok("fetch", "slow")
            assert ferry.fetch("quick") == 0
            ferry.drain()
            assert len(smtp.accepted) == 1
            ferry.stop()
