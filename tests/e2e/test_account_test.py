"""`account test` and `mailbox`: they tell what is the matter, and change nothing."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from tests.harness.ca import pin_of, self_signed
from tests.harness.mail import simple
from tests.harness.popferry import BIN, EXIT_DOWN, EXIT_FAILED
from tests.harness.process import free_port
from tests.harness.scripted import CLOSE, HANG, ScriptedPop3, times

PASSWORD = "Gruen-Spargel+77"


@pytest.fixture
def ours(make_ferry, authority, smtp):
    env = {"SSL_CERT_FILE": str(authority.cert)}
    return make_ferry(smtp.port, fetch={"connect_timeout": "3s"}, env=env)


def add(ferry, port, tls="none", host="localhost", more=()):
    ferry.add_account("acc", port, "maria", PASSWORD, "to@corp.example", tls, more, host)


def report(ferry, *, ok):
    """What account test --json says."""
    code, out, err = ferry.ctl("account", "test", "acc", "--json")
    assert (code == 0) is ok and code in (0, EXIT_FAILED), (code, out, err)
    result = json.loads(out)
    assert result["ok"] is ok and (result["error"] is None) is ok
    return result


def on_a_terminal(ferry, *args, columns=80):
    """What a person sees: the output on a terminal of so many columns."""
    leader, follower = pty.openpty()
    env = {k: v for k, v in ferry.env.items() if k not in ("NO_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [BIN / "popferryctl", "-c", ferry.conf, *args]
    child = subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=env)
    os.close(follower)
    text = b""
    try:
        while data := os.read(leader, 65536):
            text += data
    except OSError:
        pass
    os.close(leader)
    child.communicate(timeout=30)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
def test_all_is_well(ours, pop3, implicit):
    name = f"probe-{'implicit' if implicit else 'starttls'}"
    pop3.add_user(name)
    for n in range(3):
        pop3.drop(name, simple(f"number {n}"))
    tls = "implicit" if implicit else "starttls"
    port = pop3.port_tls if implicit else pop3.port
    ours.add_account("acc", port, name, "secret", "to@corp.example", tls, host="localhost")
    result = report(ours, ok=True)
    assert result["messages"] == 3 and result["new"] == 3 and result["octets"] > 0
    assert result["version"] in ("TLSv1.2", "TLSv1.3") and result["method"]
    assert result["certificate"]["names"] == "localhost, 127.0.0.1"
    assert result["address"] in ("127.0.0.1", "::1")
    assert "UIDL" in result["capabilities"]
    items = ours.ctl_json("mailbox", "acc")
    assert [one["number"] for one in items] == [1, 2, 3]
    assert all(one["state"] == "new" and one["uidl"] and one["size"] for one in items)
    # nothing was changed, there or here
    assert pop3.count(name) == 3
    shown = ours.account("acc")
    assert shown["last_ok"] is None and not shown["failures"] and not shown["error"]
    text = on_a_terminal(ours, "account", "test", "acc")
    assert "All is well." in text and f"as {name}, by" in text
    assert all(len(line) <= 80 for line in text.splitlines()), text
    table = on_a_terminal(ours, "mailbox", "acc")
    assert table.splitlines()[0].split() == ["NUMBER", "SIZE", "STATE", "UIDL", "ID"]
    assert all(len(line) <= 80 for line in table.splitlines()), table


def test_the_pin_that_is_shown_can_be_pasted(ours, place):
    pair = self_signed(place, "paste")
    with ScriptedPop3([], tls=pair, implicit=True) as server:
        add(ours, server.port, "implicit")
        result = report(ours, ok=False)
        assert "self-signed" in result["error"] and result["certificate"]["pin"]
        ours.ctl_ok("account", "set", "acc", "--pin", result["certificate"]["pin"])
        assert report(ours, ok=True)["certificate"]["pin"] == result["certificate"]["pin"]
        ours.ctl_ok("account", "set", "acc", "--pin", pin_of(pair[0]))
        report(ours, ok=True)
        assert not server.heard("DELE*") and not server.heard("RETR*")


def test_clear_text_is_warned_of(ours):
    with ScriptedPop3([simple("x")]) as server:
        add(ours, server.port, more=("--auth", "basic"))
        result = report(ours, ok=True)
        assert any("clear text" in one for one in result["warnings"])
        assert "! user name and password" in on_a_terminal(ours, "account", "test", "acc")
        assert list(server.mailbox) == ["uid-1"] and not server.heard("RETR*")


@pytest.mark.parametrize(
    ("script", "step", "words"),
    [
        ({"GREETING": b"-ERR go away\r\n"}, "greeting", "go away"),
        ({"GREETING": CLOSE}, "greeting", "closed the connection"),
        ({"GREETING": b"220 smtp here\r\n"}, "greeting", "220 smtp here"),
        ({"PASS*": b"-ERR [AUTH] no\r\n"}, "login", "refused"),
        ({"PASS*": b"-ERR [IN-USE] busy\r\n"}, "login", "busy"),
        ({"STAT": b"-ERR broken\r\n"}, "STAT", "broken"),
        ({"UIDL": [b"+OK\r\n1 a\r\n", CLOSE]}, "UIDL", "closed the connection"),
    ],
    ids=["refused", "closed", "SMTP", "password", "in use", "STAT", "cut"],
)
def test_what_is_wrong(ours, script, step, words):
    with ScriptedPop3([simple("x")], script) as server:
        add(ours, server.port, more=("--auth", "basic"))
        result = report(ours, ok=False)
        assert result["step"] == step and words in result["error"], result
        said = on_a_terminal(ours, "account", "test", "acc")
        assert words in said.replace("\n", " ") and PASSWORD not in said
        assert all(len(line) <= 80 for line in said.splitlines()), said
        code, _, err = ours.ctl("mailbox", "acc")
        assert code == EXIT_FAILED and words in err
        assert not ours.account("acc")["failures"]  # a test is no poll


def test_nobody_listens(ours):
    add(ours, free_port())
    result = report(ours, ok=False)
    assert result["step"] == "connect" and "refused" in result["error"].lower()


def test_no_such_host(ours):
    add(ours, 995, "implicit", host="no-such-host.invalid")
    assert report(ours, ok=False)["step"] == "resolve"


def test_a_server_that_hangs(ours):
    with ScriptedPop3([], {"GREETING": HANG}) as server:
        add(ours, server.port, "implicit")
        result = report(ours, ok=False)
        assert result["step"] == "connect" and "handshake" in result["error"]


def test_mailbox_knows(ours, pop3, smtp):
    """What was fetched and stays on the server is shown with its state and id."""
    ours.stop("relayd")
    pop3.add_user("knows")
    pop3.drop("knows", simple("one"))
    ours.add_account("acc", pop3.port, "knows", "secret", "to@corp.example")
    ours.fetch("acc")
    [item] = ours.ctl_json("mailbox", "acc")
    assert item["state"] == "spooled" and re.fullmatch("[0-9A-Z]{26}", item["id"])
    pop3.drop("knows", simple("two"))
    states = [one["state"] for one in ours.ctl_json("mailbox", "acc")]
    assert sorted(states) == ["new", "spooled"]
    assert "spooled" in on_a_terminal(ours, "mailbox", "acc")


def test_large_listing_and_hostile_uidls(ours):
    """Many pages; and no UIDL steers a terminal."""
    listing = b"".join(b"%d u%08d%s\r\n" % (n, n, b"x" * 50) for n in range(1, 2001))
    sizes = b"".join(b"%d 1000\r\n" % n for n in range(1, 2002))
    script = {
        "STAT": b"+OK 2001 2001000\r\n",
        "UIDL": b"+OK\r\n" + listing + b"2001 \x1b]0;owned\x07\xff\r\n.\r\n",
        "LIST": b"+OK\r\n" + sizes + b".\r\n",
    }
    with ScriptedPop3([simple("x")], script) as server:
        add(ours, server.port)
        items = ours.ctl_json("mailbox", "acc")
        assert [one["number"] for one in items] == list(range(1, 2002))
        assert "\x1b" not in items[-1]["uidl"]
        assert "\x1b]" not in ours.ctl_ok("mailbox", "acc")


def test_no_uidl(ours):
    with ScriptedPop3([simple("x")], {"UIDL": b"-ERR unknown\r\n"}) as server:
        add(ours, server.port)
        assert any("no UIDL" in one for one in report(ours, ok=True)["warnings"])
        [item] = ours.ctl_json("mailbox", "acc")
        assert item["uidl"] is None and item["state"] == "new"


def test_waits_for_the_poll(ours):
    """A mailbox takes one client at a time: a test waits until the poll is through."""
    script = {"STAT": times(1, HANG)}
    with ScriptedPop3([simple("x")], script) as server:
        add(ours, server.port)
        ours.ctl_ok("fetch", "acc")
        child = subprocess.Popen(
            [BIN / "popferryctl", "-c", ours.conf, "account", "test", "acc"], env=ours.env
        )
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(2)
        assert len(server.conversations) == 1
        server.stopping.set()  # ends the hanging one
        assert child.wait(30) is not None
        assert len(server.conversations) <= 2


def test_down_and_unknown(ours):
    for command in (("account", "test"), ("mailbox",)):
        code, _, err = ours.ctl(*command, "nobody")
        assert code == EXIT_FAILED and "nobody" in err
    ours.stop("fetcherd")
    for command in (("account", "test"), ("mailbox",)):
        code, _, err = ours.ctl(*command, "nobody")
        assert code == EXIT_DOWN and "not running" in err
