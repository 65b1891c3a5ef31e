"""Content filters: real Rspamd, clamd and spamd judge what is fetched; what they ask for is done."""

import pytest

from tests.harness.clamd import Clamd
from tests.harness.filter import EICAR, GTUBE
from tests.harness.mail import normalised, simple
from tests.harness.popferry import EXIT_FAILED, sleep, spool_message
from tests.harness.process import wait_for
from tests.harness.rspamd import Rspamd
from tests.harness.scripted import CLOSE, HANG, ScriptedPop3, ScriptedSmtp, times
from tests.harness.scripted_filter import CLAMD, RSPAMD, RUBBISH, SPAMD, ScriptedFilter, verdict
from tests.harness.spamd import Spamd

RECEIVED = (
    "Received: from helo.o.example (mail.o.example [192.0.2.7])\n"
    "\tby mx.isp.example with ESMTP id 1; Mon, 1 Jan 2024 00:00:00 +0000\n"
)


def mail(subject, body="hello\n", sender="a@origin.example", head=""):
    """Bytes as they lie on the server, and as they are to arrive."""
    text = f"{head}From: {sender}\nTo: acc@corp.example\nSubject: {subject}\n\n{body}"
    return normalised(text.encode())


class World:
    """popferry between a POP3 server with these messages and an SMTP server that takes all."""

    def __init__(self, make_ferry, smtp, server, fetch=None, relay=None, start=True, **hygiene):
        self.ferry = make_ferry(
            smtp.port, fetch=fetch or {}, hygiene=hygiene, relay=relay or {}, start=False
        )
        self.smtp, self.server = smtp, server
        if start:
            self.ferry.start()
            self.fetch()

    def fetch(self):
        self.ferry.add_account("acc", self.server.port, "u", "secret", "acc@corp.example")
        self.ferry.ctl("fetch", "acc")

    def settled(self, deadline=30):
        wait_for(
            lambda: self.ferry.account("acc")["fetched"] and self.ferry.in_flight() == 0,
            deadline,
            "all to be settled",
        )
        return self

    def arrived(self):
        return [message for *_, message in self.smtp.accepted]


@pytest.fixture
def world(make_ferry):
    made = []

    def make(messages, **more):
        smtp, server = ScriptedSmtp(), ScriptedPop3(messages)
        made.extend([smtp, server])
        return World(make_ferry, smtp, server, **more)

    yield make
    for one in made:
        one.stop()


def at(server):
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def all_three(rspamd, clamd, spamd):
    return {"rspamd": at(rspamd), "clamd": str(clamd.socket), "spamd": at(spamd)}


def test_clean_spam_and_virus(world, all_three):
    clean = mail("clean")
    bad = [mail("spam", GTUBE.decode() + "\n"), mail("virus", EICAR.decode() + "\n")]
    w = world([clean, *bad], **all_three).settled()
    assert w.arrived() == [clean]
    rows = {row["subject"]: row for row in w.ferry.badmail()}
    assert rows["spam"]["decided_by"] == "rspamd" and "GTUBE" in rows["spam"]["reason"].upper()
    assert rows["virus"]["decided_by"] == "clamd" and "Eicar" in rows["virus"]["reason"]
    filters = {one["name"]: one for one in w.ferry.status()["hygiene"]["filters"]}
    assert [name for name, one in filters.items() if one["up"]] == ["clamd", "rspamd", "spamd"]


def test_what_rspamd_asks_for(world, rspamd):
    """Headers go with the message on its way; what lies in the spool stays as it was fetched."""
    told = {
        "clean": mail("clean"),
        "greylist": mail("a greylist b"),
        "mark": mail("a add-header b"),
        "subject": mail("a rewrite-subject b"),
        "milter": mail("a milter-headers b", head="X-Spam: old\nX-Some: 1\nX-Some: 2\nX-Some: 3\n"),
        "reject": mail("a reject b"),
        "discard": mail("a discard b"),
        "quarantine": mail("a quarantine b"),
    }
    w = world(list(told.values()), rspamd=at(rspamd)).settled()
    arrived = {message.split(b"Subject: ")[1].split(b"\r\n")[0]: message for message in w.arrived()}
    assert sorted(w.arrived()) == sorted(arrived.values()) and len(arrived) == 5
    assert arrived[b"clean"] == told["clean"] and arrived[b"a greylist b"] == told["greylist"]
    assert arrived[b"a add-header b"] == b"X-Spam: Yes\r\n" + told["mark"]
    subject = told["subject"].replace(b"Subject: a", b"Subject: *** a")
    line = b"Subject: *** a rewrite-subject b\r\n"
    assert arrived[b"*** a rewrite-subject b"] == line + subject.replace(line, b"")
    head, rest = arrived[b"a milter-headers b"].split(b"X-Some: 2\r\n")
    assert rest == told["milter"].split(b"X-Some: 3\r\n")[1]
    assert head.startswith(b"X-Plain: plain\r\n") or b"\r\nX-Plain: plain\r\n" in head
    assert b"X-Folded: one,\r\n\ttwo,\r\n\tthree\r\n" in head and b"X-Spam:" not in head
    assert head.count(b"X-Twice: ") == 2
    assert {row["subject"] for row in w.ferry.badmail()} == {
        "a reject b", "a discard b", "a quarantine b",
    }  # fmt: skip
    assert not w.ferry.files("outgoing", ".top")


def test_a_refused_message_is_kept_as_it_was_fetched(world, rspamd):
    sent = mail("a add-header b")
    w = world([sent], rspamd=at(rspamd), start=False)
    w.smtp.script["."] = b"550 5.7.1 no\r\n"
    w.ferry.start()
    w.fetch()
    row, = w.ferry.wait_badmail(1)
    assert spool_message(w.ferry.files("badmail")[0])[1] == sent
    assert not w.ferry.files("outgoing", ".top")
    w.smtp.script.clear()
    w.ferry.ctl_ok("badmail", "replay", row["id"])
    wait_for(lambda: w.arrived() == [sent], what="the replay, which no filter sees")


def test_spam_by_spamassassin(world, spamd):
    spam = mail("spam", GTUBE.decode() + "\n")
    w = world([spam, mail("ham")], spamd=str(spamd.socket)).settled()
    assert w.arrived() == [mail("ham")]
    row, = w.ferry.badmail()
    assert row["decided_by"] == "spamd" and "1000.0 points" in row["reason"]


def test_spam_is_marked_where_that_is_asked_for(world, spamd):
    spam = mail("spam", GTUBE.decode() + "\n")
    w = world([spam], spamd=at(spamd), spamd_spam="mark").settled()
    got, = w.arrived()
    assert got.endswith(spam)
    head = got.removesuffix(spam).decode().split("\r\n")
    assert head[0] == "X-Spam-Flag: YES" and head[2].startswith("X-Spam-Status: Yes, score=1000.0")


def test_what_the_filters_are_told(world):
    """The client only as far as the Received line of the account's own server vouches for it."""
    forged = RECEIVED.replace("mx.isp.example", "mx.elsewhere.example")
    messages = [mail("true", head=RECEIVED), mail("forged", head=forged)]
    with ScriptedFilter() as server:
        fetch = {"received_by": "mx.isp.example"}
        w = world(messages, fetch=fetch, rspamd=at(server), clamd=at(server), spamd=at(server))
        w.settled()
        asked = {one.message: one for one in server.asked if one.request == "POST /checkv2"}
        assert sorted(asked) == sorted(messages)
        true, other = (asked[one] for one in messages)
        assert true.header("IP") == ["192.0.2.7"] and true.header("Helo") == ["helo.o.example"]
        assert true.header("Hostname") == ["mail.o.example"] and other.header("IP") == []
        assert true.header("From") == ["a@origin.example"]
        assert true.header("Rcpt") == ["acc@corp.example"]
        assert len([one for one in server.asked if one.request == "INSTREAM"]) == 2
        reports = [one for one in server.asked if one.request.startswith("REPORT")]
        assert sorted(one.message.removesuffix(b"\r\n") for one in reports) == sorted(messages)


def pick_up(ferry, name, text=None, sender="a@origin.example"):
    part = ferry.spool / "pickup" / f"{name}.part"
    head = f"X-Sender: <{sender}>\r\nX-Receiver: <b@corp.example>\r\n".encode()
    part.write_bytes(head + (text or normalised(simple(name))))
    part.rename(part.with_suffix(".eml"))


@pytest.mark.parametrize("kind", [Rspamd, Clamd, Spamd])
@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_filter_that_does_not_answer(world, filters, kind, how):
    """Mail waits for it, and goes when it is back; what needs no filter goes on; it is told of."""
    server = filters(kind)
    name = kind.__name__.lower()
    (server.stop if how == "stopped" else server.hang)()
    try:
        w = world([mail(f"m{n}") for n in range(20)], **{name: at(server), f"{name}_timeout": "2s"})
        wait_for(lambda: w.ferry.events("hygiene", "filter-down"), 40, "the alarm")
        pick_up(w.ferry, "own")
        wait_for(lambda: len(w.arrived()) == 1, what="what needs no filter")
        status = w.ferry.status()["hygiene"]
        assert not status["filters"][0]["up"] and status["filters"][0]["error"]
        assert f"{name} (127.0.0.1:{server.port}) gives no verdict" in w.ferry.ctl_ok("status")
        assert len(w.ferry.files("incoming")) == 20
        asked = len(w.ferry.events("hygiene", "filter-deferred"))
        assert asked <= status["filters"][0]["asked"] < 20
    finally:
        (server.start if how == "stopped" else server.go_on)()
    w.ferry.ctl_ok("retry", "--all")
    wait_for(lambda: len(w.arrived()) >= 15, 30, "those that waited")
    wait_for(lambda: w.ferry.events("hygiene", "filter-up"), what="it to be said")
    w.ferry.ctl_ok("retry", "--all")
    w.settled()
    assert len(w.arrived()) == 21 and not w.ferry.badmail()


def test_a_filter_that_hangs_is_told_of_before_its_time_is_up(world):
    with ScriptedFilter({"CONNECT": HANG}) as server:
        w = world([mail("m")], clamd=at(server), clamd_timeout="12s")
        told = f"clamd (127.0.0.1:{server.port}) has not answered for"
        shown = wait_for(lambda: (s := w.ferry.ctl_ok("status")) and told in s and s, 30, "a word of it")
        assert "messages at it: 1" in shown and "clamd-timeout" in shown
        status = w.ferry.status()["hygiene"]["filters"][0]
        assert status["up"] and status["timeout"] == 12 and 6 <= status["silent"] <= 12


def test_what_waits_is_told_of(world):
    """The filter is well, and wants to be asked later."""
    with ScriptedFilter({"POST *": verdict("soft reject")}) as server:
        w = world([mail("m")], rspamd=at(server))
        wait_for(lambda: w.ferry.status()["hygiene"]["waiting"] == 1, what="it to wait")
        shown = w.ferry.ctl_ok("status")
        assert "! 1 message waits for a filter's verdict" in shown and "All is well" not in shown
        assert "retry --all" in shown
        server.script.clear()
        w.ferry.ctl_ok("retry", "--all")
        w.settled()
        assert "All is well" in w.ferry.ctl_ok("status")


@pytest.mark.parametrize("name", ["clamd", "rspamd"])
@pytest.mark.parametrize("how", ["rubbish", "hangs"])
def test_messages_without_a_verdict_hold_no_others_up(world, name, how):
    """30 of them ahead of 30 good ones: the filter is tried with one after the other."""
    bad, good = ([mail(f"{kind} {n}") for n in range(30)] for kind in ("bad", "good"))
    script = {"*": b"nonsense\0" if how == "rubbish" else HANG}
    with ScriptedFilter(script, only=b"Subject: bad") as server:
        conf = {name: at(server), f"{name}_timeout": "1s", f"{name}_sessions": 10}
        w = world([*bad, *good], start=False, **conf)
        w.ferry.start("fetcherd", "relayd")
        w.fetch()
        wait_for(lambda: len(w.ferry.files("incoming")) == 60, 30, "all to be fetched")
        w.ferry.start("hygiene")
        took = 20 if how == "rubbish" else 50
        wait_for(lambda: len(w.arrived()) == 30, took, "the good ones")
        assert sorted(w.arrived()) == sorted(good)
        wait_for(lambda: w.ferry.status()["hygiene"]["filters"][0]["up"], what="it to be well")
        assert len(server.asked) <= 61


def test_a_probe_that_hangs_is_not_waited_for(world):
    """One message gets nonsense, two hang for a minute: good ones don't wait for these."""
    bad, good = ([mail(f"{kind} {n}") for n in range(3)] for kind in ("bad", "good"))
    script = {"INSTREAM": times(1, b"nonsense\0"), "*": HANG}
    with ScriptedFilter(script, only=b"Subject: bad") as server, ScriptedPop3(good) as other:
        w = world(bad, clamd=at(server), clamd_timeout="60s", clamd_sessions=3)
        wait_for(lambda: len(server.asked) == 3, what="them to be asked about")
        w.ferry.add_account("other", other.port, "u", "secret", "other@corp.example")
        w.ferry.ctl("fetch", "other")
        wait_for(lambda: sorted(w.arrived()) == sorted(good), 30, "the good ones")


def test_what_waits_is_listed(world):
    """Beside what waits for the SMTP server, over several pages; tried when that is asked for."""
    messages = [mail(f"m{n}") for n in range(300)]
    with ScriptedFilter({"CONNECT": CLOSE}) as server:
        w = world(messages, clamd=at(server), start=False)
        w.ferry.start("fetcherd", "hygiene")
        w.fetch()
        pick_up(w.ferry, "own")
        wait_for(lambda: len(w.ferry.files("outgoing")) == 1, what="what needs no filter")
        wait_for(lambda: w.ferry.status()["hygiene"]["waiting"] == 300, 30, "all to wait")
        items = w.ferry.queue()
        waiting = [one for one in items if one["state"] == "waiting"]
        assert len(items) == 301 and len({one["id"] for one in waiting}) == 300
        asked = next(one for one in waiting if one["attempts"])
        assert asked["filter"] == "clamd" and asked["last_reply"]
        assert asked["recipients"] == ["acc@corp.example"] and asked["size"] in map(len, messages)
        shown = w.ferry.ctl_json("queue", "show", asked["id"])
        assert (shown["id"], shown["state"]) == (asked["id"], "waiting")
        text = w.ferry.ctl_ok("queue", "show", asked["id"])
        assert "waiting" in text and f"clamd: {asked['last_reply']}" in text
        assert "clamd: " in w.ferry.ctl_ok("queue")
        assert w.ferry.ctl("queue", "show", "01JD0VSM7N4C2T8RZ5K3W9XQHB")[0] == EXIT_FAILED
        w.ferry.stop("hygiene")  # its ledger has it all
        assert len(w.ferry.queue()) == 301
        assert w.ferry.ctl_json("queue", "show", asked["id"])["filter"] == "clamd"
        w.ferry.start("hygiene", "relayd")
        server.script.clear()
        assert w.ferry.ctl_json("retry", asked["id"])["count"] == 1
        gone = lambda: asked["id"] not in {one["id"] for one in w.ferry.queue()}
        wait_for(gone, what="the one that was asked for")
        w.ferry.ctl_ok("retry", "--all")
        w.settled()
        assert len(w.arrived()) == 301 and w.ferry.queue() == []


def test_much_mail_that_waits_holds_fetching_off(world):
    with ScriptedFilter({"CONNECT": CLOSE}) as server:
        fetch = {"messages_per_session": 2000}
        w = world([mail(f"m{n}") for n in range(1010)], fetch=fetch, clamd=at(server))
        reason = wait_for(lambda: held_off(w.ferry), 60, "fetching to be held off")
        assert "filter" in reason
        server.script.clear()
        w.ferry.ctl_ok("retry", "--all")
        assert len(w.settled(60).arrived()) == 1010
        wait_for(lambda: not held_off(w.ferry), 30, "fetching to go on")


def held_off(ferry):
    return ferry.status()["fetcherd"]["holding_off"]


TABLES = {"rspamd": RUBBISH | RSPAMD, "clamd": RUBBISH | CLAMD, "spamd": RUBBISH | SPAMD}
CASES = [(name, what) for name, table in TABLES.items() for what in table]


@pytest.mark.parametrize("name, what", CASES)
def test_a_filter_that_answers_rubbish(world, name, what):
    """Nothing of it is a verdict: the message waits, and goes when there is one."""
    with ScriptedFilter(dict(TABLES[name][what])) as server:
        w = world([mail("m")], **{name: at(server), f"{name}_timeout": "1s"})
        if "size limit" in what:
            row, = w.ferry.wait_badmail(1)
            assert row["decided_by"] == "clamd" and "StreamMaxLength" in row["reason"]
            return
        event, = wait_for(lambda: w.ferry.events("hygiene", "filter-deferred"), 20, "it to wait")
        assert event["filter"] == name and w.arrived() == []
        server.script.clear()
        w.ferry.ctl_ok("retry", "--all")
        assert w.settled().arrived() == [mail("m")]


EARLY = {
    "clamd": b"stream: OK\0",
    "spamd": b"SPAMD/1.5 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n",
}


@pytest.mark.parametrize("name", EARLY)
def test_a_verdict_before_the_message(world, name):
    """Who has not read it can't know."""
    large = mail("large", ("x" * 70 + "\n") * 300_000)
    with ScriptedFilter({"CONNECT": [EARLY[name], HANG]}) as server:
        conf = {name: at(server), f"{name}_size": "100M", f"{name}_timeout": "2s"}
        w = world([large], fetch={"message_size": "50M"}, **conf)
        event, = wait_for(lambda: w.ferry.events("hygiene", "filter-deferred"), 20, "it to wait")
        assert w.arrived() == []
        if name == "clamd":  # spamd's answer ends with the connection
            assert "before it had the message" in event["reason"]


@pytest.mark.parametrize("policy", ["pass", "badmail"])
@pytest.mark.parametrize("name", TABLES)
def test_what_to_do_without_a_verdict(world, name, policy):
    messages = [mail(f"m{n}") for n in range(10)]
    with ScriptedFilter({"CONNECT": CLOSE}) as server:
        w = world(messages, on_filter_error=policy, **{name: at(server)}).settled()
        if policy == "pass":
            assert sorted(w.arrived()) == sorted(messages)
        else:
            assert {row["decided_by"] for row in w.ferry.badmail()} == {name}
            assert len(w.ferry.badmail()) == 10


def test_a_verdict_that_never_comes(world):
    with ScriptedFilter({"CONNECT": CLOSE}) as server:
        w = world([mail("m")], clamd=at(server), filter_expire="1s")
        wait_for(lambda: w.ferry.events("hygiene", "filter-deferred"), what="it to wait")
        for _ in range(3):
            w.ferry.ctl_ok("retry", "--all")
        row, = w.ferry.wait_badmail(1)
        assert row["decided_by"] == "clamd" and "filter-expire" in row["reason"]


def test_soft_reject_waits(world):
    later = times(1, verdict("soft reject", messages={"smtp_message": "try again"}))
    with ScriptedFilter({"POST *": later}) as server:
        w = world([mail("m")], rspamd=at(server), on_filter_error="pass")
        event, = wait_for(lambda: w.ferry.events("hygiene", "filter-deferred"), what="it to wait")
        assert "try again" in event["reason"]
        assert not w.ferry.events("hygiene", "filter-failed")
        w.ferry.ctl_ok("retry", "--all")
        assert w.settled().arrived() == [mail("m")]


def test_no_more_at_a_time_than_is_allowed(world):
    with SlowFilter() as server:
        w = world([mail(f"m{n}") for n in range(30)], rspamd=at(server), rspamd_sessions=3)
        assert len(w.settled().arrived()) == 30
        assert server.peak == 3


class SlowFilter(ScriptedFilter):
    up = peak = 0

    def converse(self, talk):
        with self.lock:
            self.up += 1
            self.peak = max(self.peak, self.up)
        self.stopping.wait(0.05)
        with self.lock:
            self.up -= 1
        super().converse(talk)


def test_what_is_too_large_for_a_filter_is_not_shown_to_it(world, filters):
    """By our own limit it passes by; what clamd's says is no verdict, and waiting would not help."""
    server = filters(Clamd, stream_max="64K")
    large = mail("large", ("x" * 70 + "\n") * 5_000)
    w = world([mail("small"), large], clamd=at(server), clamd_size="32K").settled()
    assert sorted(w.arrived()) == sorted([mail("small"), large])
    event, = w.ferry.events("hygiene", "filter-not-asked")
    assert event["filter"] == "clamd" and int(event["size"]) == len(large)
    status = w.ferry.status()["hygiene"]["filters"][0]
    assert (status["asked"], status["not_asked"]) == (1, 1)
    shown = w.ferry.ctl_ok("status")
    assert "1 message passed without clamd, larger than hygiene { clamd-size }" in shown
    w = world([large], clamd=at(server), clamd_size="10M")
    row, = w.ferry.wait_badmail(1)
    assert "StreamMaxLength" in row["reason"]


def test_large_mail_through_all_three(world, all_three):
    """Several MiB at once, read from the disk as they go."""
    messages = [mail(f"m{n}", ("x" * 75 + "\n") * 40_000) for n in range(8)]
    w = world(messages, spamd_size="10M", **all_three).settled(60)
    assert sorted(w.arrived()) == sorted(messages)


def test_killed_between_verdict_and_handing_on(world, rspamd):
    """Each arrives once, with the header that belongs to it."""
    marked = [mail(f"add-header {n}") for n in range(60)]
    plain = [mail(f"plain {n}") for n in range(60)]
    w = world([*marked, *plain], rspamd=at(rspamd), start=False)
    w.ferry.start()
    w.ferry.kill("hygiene")
    w.fetch()
    wait_for(lambda: len(w.ferry.files("incoming")) == 120, 30, "all to wait")
    for pause in (0.02, 0.05, 0.08, 0.11, 0.15, 0.2, 0.3):
        w.ferry.start("hygiene")
        sleep(pause)
        w.ferry.kill("hygiene")
    w.ferry.start("hygiene")
    w.settled()
    want = [b"X-Spam: Yes\r\n" + one for one in marked] + plain
    assert sorted(w.arrived()) == sorted(want)
    assert not w.ferry.files("outgoing", ".top")


def test_a_reload_asks_another_filter(world, clamd):
    with ScriptedFilter({"CONNECT": HANG}) as server:
        w = world([mail("virus", EICAR.decode() + "\n")], clamd=at(server))
        wait_for(lambda: server.conversations, what="the first one to be asked")
        w.ferry.hygiene_section["clamd"] = str(clamd.socket)
        w.ferry.write_conf()
        w.ferry.reload("hygiene")
        row, = w.ferry.wait_badmail(1)
        assert row["decided_by"] == "clamd" and "Eicar" in row["reason"]


def test_repairs(world):
    """What is repaired is so on its way; in the spool it stays as it was."""
    texts = [b"just text\r\n", b"Subject: \0a\r\n\r\nb\0ody\r\n", mail("whole")]
    w = world(texts, no_header="repair", nul="repair").settled()
    arrived = sorted(w.arrived(), key=len)
    assert arrived[:2] == [b"Subject: a\r\n\r\nbody\r\n", mail("whole")]
    head, _, body = arrived[2].partition(b"\r\n\r\n")
    assert body == texts[0] and b"\r\nSubject: (a message that came without" in b"\r\n" + head
    assert b"\r\nDate: " in head


BREAKS = {
    "no-header": b"just text\r\n",
    "nul": b"Subject: a\r\n\r\nb\0ody\r\n",
    "long-header": b"X: " + b"y" * 120_000 + b"\r\n\r\nbody\r\n",
    "too-large": mail("large", ("x" * 70 + "\n") * 3000),
    "bad-sender": b"From: @@@\r\n\r\nbody\r\n",
}


@pytest.mark.parametrize("rule", BREAKS)
@pytest.mark.parametrize("mode", ["pass", "badmail"])
def test_rules_of_form(world, rule, mode):
    """The name of the rule shows; so does the way past it."""
    text = BREAKS[rule]
    if rule == "bad-sender" and mode == "pass":
        mode = "null"
    w = world([text], start=False, **{rule.replace("-", "_"): mode})
    w.ferry.start("fetcherd", "relayd")
    w.fetch()
    wait_for(lambda: w.ferry.files("incoming"), what="the message to be fetched")
    w.ferry.fetch_section["message-size"] = "2K"  # lowered since
    w.ferry.write_conf()
    w.ferry.start("hygiene")
    if mode != "badmail":
        assert w.settled().arrived() == [text]
        return
    row, = w.ferry.wait_badmail(1)
    assert row["decided_by"] == f"form:{rule}"
    w.ferry.ctl_ok("badmail", "replay", row["id"])
    wait_for(lambda: w.arrived() == [text], what="the replay")


@pytest.mark.parametrize("mode", ["pass", "badmail"])
def test_rules_of_form_in_pickup(world, mode):
    """They hold for what is handed in, too; filters are not asked. A null path is one by intention."""
    breaks = {rule: text for rule, text in BREAKS.items() if rule != "bad-sender"}
    keys = {rule.replace("-", "_"): mode for rule in breaks} | {"bad_sender": "badmail"}
    with ScriptedFilter() as server:
        w = world([], start=False, fetch={"message-size": "128K"}, clamd=at(server), **keys)
        w.ferry.start("relayd", "hygiene")
        for rule, text in breaks.items():
            pick_up(w.ferry, rule, text)
        if mode == "badmail":
            rows = w.ferry.wait_badmail(len(breaks))
            assert {row["decided_by"] for row in rows} == {f"form:{rule}" for rule in breaks}
            w.ferry.ctl_ok("badmail", "replay", *(row["id"] for row in rows))
        pick_up(w.ferry, "null", BREAKS["bad-sender"], sender="")
        wait_for(lambda: len(w.arrived()) == len(BREAKS), what="all of them")
        assert sorted(w.arrived()) == sorted(BREAKS.values())
        assert not server.asked


def test_a_hanging_filter_holds_no_drop_up(world):
    """More drops than there are places for them, each with a top to be synced, beside a full window."""
    messages = [mail(f"m{n}") for n in range(300)]
    with ScriptedFilter({"INSTREAM": HANG}) as server:
        w = world(messages, clamd=at(server), clamd_timeout="10m", clamd_sessions=1, nul="repair")
        wait_for(lambda: w.ferry.status()["hygiene"]["judging"] > 200, what="the window to be full")
        for n in range(300):
            pick_up(w.ferry, f"d{n}", b"Subject: d\r\n\r\na\0b\r\n")
        wait_for(lambda: len(w.arrived()) == 300, 60, "all drops")
        w.ferry.kill("hygiene")  # and what a stop leaves is known for what it is
        for n in range(300):
            pick_up(w.ferry, f"e{n}", b"Subject: e\r\n\r\na\0b\r\n")
        w.ferry.start("hygiene")
        wait_for(lambda: len(w.arrived()) == 600, 60, "all others")
        assert set(w.arrived()).isdisjoint(messages)
