"""What `status` tells a person of states that would take long to come about."""

import contextlib

import pytest

from tests.harness.scripted_daemon import ScriptedDaemon

WELL = {
    "fetcherd": {"accounts": 0, "polling": 0},
    "hygiene": {"waiting": 0, "filters": [], "spool": {"badmail": 0}},
    "relayd": {
        "relay": "mx.corp.example:25",
        "connections": 0,
        "hanging": 0,
        "circuit": "closed",
        "queue": {"ready": 0, "deferred": 0, "held": 0, "in_flight": 0},
    },
}
FULL = "the disk of state-dir is nearly full"
RSPAMD = {"name": "rspamd", "server": "127.0.0.1:11333", "up": True, "under_way": 4, "timeout": 60}

CASES = {
    "well": ({}, ["All is well."]),
    "hanging": (
        {"relayd": {"connections": 4, "hanging": 3}},
        ["! the SMTP server mx.corp.example:25 has not answered for a minute on 3 of 4 connections"],
    ),
    "no message is taken": (
        {"relayd": {"circuit": "probing", "error": "over message X: 451 later"}},
        ["takes none of what it is sent: over message X: 451 later", "retry --all"],
    ),
    "server down": (
        {"relayd": {"circuit": "open", "error": "connection refused"}},
        ["does not take mail: connection refused", "retry --all"],
    ),
    "no room to send": ({"relayd": {"holding_off": FULL}}, [f"! nothing is sent: {FULL}", "df "]),
    "no room to judge": (
        {"hygiene": {"holding_off": FULL}},
        [f"! nothing is judged or taken from pickup/: {FULL}", "df "],
    ),
    "no room to fetch, in state-dir": (
        {"fetcherd": {"holding_off": FULL}},
        [f"! nothing is fetched: {FULL}", "df STATE"],
    ),
    "no room to fetch, in the spool": (
        {"fetcherd": {"holding_off": "the spool's disk is nearly full"}},
        ["! nothing is fetched: the spool's disk is nearly full", "df SPOOL"],
    ),
    "fetching waits for the queue": (
        {"fetcherd": {"holding_off": "much mail waits for a content filter"}},
        ["! nothing is fetched: much mail waits for a content filter", "queue"],
    ),
    "held": (
        {"relayd": {"queue": {"held": 2, "deferred": 0}}},
        ["! 2 messages are held back by hand", "queue release ID"],
    ),
    "put off": (
        {"relayd": {"queue": {"held": 0, "deferred": 1}}},
        ["! 1 message is put off by the SMTP server", "queue"],
    ),
    "a filter is silent": (
        {"hygiene": {"filters": [RSPAMD | {"silent": 30}]}},
        ["! rspamd (127.0.0.1:11333) has not answered for 30 s; messages at it: 4", "rspamd-timeout"],
    ),
    "a filter is slow, but not silent": (
        {"hygiene": {"filters": [RSPAMD | {"silent": 29}]}},
        ["All is well."],
    ),
    "a filter passed by": (
        {"hygiene": {"filters": [RSPAMD | {"silent": 0, "not_asked": 5}]}},
        ["5 messages passed without rspamd, larger than hygiene { rspamd-size }"],
    ),
}


@contextlib.contextmanager
def answering(ferry, differing):
    with contextlib.ExitStack() as stack:
        for name, well in WELL.items():
            reply = {"ok": True, "up": True, "since": 0} | well | differing.get(name, {})
            stack.enter_context(ScriptedDaemon(ferry, name, lambda _, reply=reply: reply))
        yield


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(make_ferry, case):
    differing, told = CASES[case]
    ferry = make_ferry(25, start=False)
    with answering(ferry, differing):
        text = ferry.ctl_ok("status")
    for words in told:
        assert words.replace("STATE", str(ferry.state)).replace("SPOOL", str(ferry.spool)) in text
    assert text.count("All is well.") == ("! " not in text)


def test_fetching_waits_for_the_server(make_ferry):
    """That is told once: by what the server said."""
    ferry = make_ferry(25, start=False)
    differing = {
        "fetcherd": {"holding_off": "the SMTP server does not take mail at present"},
        "relayd": {"circuit": "open", "error": "connection refused"},
    }
    with answering(ferry, differing):
        text = ferry.ctl_ok("status")
    assert "does not take mail: connection refused" in text
    assert "nothing is fetched" not in text


def test_one_that_does_not_run(make_ferry):
    """Where to look when it does not help to start it."""
    text = make_ferry(25, start=False).ctl_ok("status")
    assert text.count("# if it ends again, its log says why") == len(WELL)
