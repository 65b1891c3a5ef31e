"""All of the corpus, and the odd shapes, through the daemons as a whole: judged, marked by a filter,
quarantined, shown, exported, sent on; fetched, and dropped into pickup/. `make check` runs this with
programs that have the sanitizers built in."""

from collections import Counter

import pytest

from tests.harness.mail import corpus, normalised, odd_shapes
from tests.harness.popferry import DAEMONS
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedPop3, ScriptedSmtp
from tests.harness.scripted_filter import ScriptedFilter, verdict

MESSAGES = [normalised(raw) for _, raw in corpus() + odd_shapes()]
MARK = {"add_headers": {"X-Spam-Mark": "yes"}, "remove_headers": {"Subject": 0}}


@pytest.fixture
def ends_well():
    """ends_well(ferry): all are still up, end by 0, and no sanitizer has said anything."""

    def check(ferry):
        assert all(ferry.running(name) for name in DAEMONS)
        assert ferry.stop(timeout=60) == dict.fromkeys(DAEMONS, 0)
        for name in DAEMONS:
            assert "Sanitizer" not in ferry.log(name) and "runtime error" not in ferry.log(name)

    return check


def test_quarantined_shown_and_sent_on(quarantine, ends_well):
    q = quarantine({"acc": MESSAGES})
    ids = [row["id"] for row in q.ferry.badmail()]
    assert len(ids) == len(MESSAGES)
    exported = Counter()
    for id_ in ids:
        q.ferry.ctl_ok("badmail", "show", id_)
        q.ferry.ctl_ok("badmail", "show", "-v", id_)
        assert q.ferry.ctl_json("badmail", "show", id_)["id"] == id_
        to = q.ferry.home / f"{id_}.out"
        q.ferry.ctl_ok("badmail", "export", id_, "--output", str(to))
        exported[to.read_bytes()] += 1
    q.ferry.ctl_ok("badmail", "digest")
    q.ferry.ctl_ok("badmail", "replay", *ids)
    q.ferry.drain()
    got, given = Counter(message for *_, message in q.arrived()), Counter(MESSAGES)
    again = q.ferry.badmail()  # this server has no SMTPUTF8
    assert not got - given and len(again) == (given - got).total() == 1
    assert not again[0]["sender"].isascii() and again[0]["decided_by"] == "relay"
    assert exported == Counter(MESSAGES)
    ends_well(q.ferry)


def test_fetched_and_marked(make_ferry, ends_well):
    script = {"POST *": verdict("add header", milter=MARK)}
    with ScriptedFilter(script) as filter_, ScriptedSmtp() as smtp, ScriptedPop3(MESSAGES) as pop3:
        ferry = make_ferry(smtp.port, hygiene={"rspamd": f"127.0.0.1:{filter_.port}"})
        ferry.add_account("acc", pop3.port, "u", "secret", "acc@corp.example")
        ferry.fetch()
        ferry.drain()
        assert len(smtp.accepted) + len(ferry.badmail()) == len(MESSAGES)
        assert len(smtp.accepted) >= len(corpus()) - 1
        for *_, message in smtp.accepted:
            assert b"X-Spam-Mark: yes\r\n" in message
        ends_well(ferry)


def test_dropped(make_ferry, ends_well):
    with ScriptedSmtp() as smtp:
        ferry = make_ferry(smtp.port)
        for number, raw in enumerate(MESSAGES):
            part = ferry.spool / f"pickup/{number}.part"
            part.write_bytes(b"X-Sender: <a@origin.example>\nX-Receiver: <you@corp.example>\n" + raw)
            part.rename(part.with_suffix(".eml"))
        ferry.drain()
        refused = wait_for(lambda: ferry.files("pickup", ".bad"), what="the one with other lines on top")
        assert len(refused) == 1 and len(smtp.accepted) == len(MESSAGES) - 1
        assert not Counter(message for *_, message in smtp.accepted) - Counter(MESSAGES)
        ends_well(ferry)
