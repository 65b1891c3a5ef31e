"""Any one daemon down: the others work on, and catch up when it is back."""

import json
import re
import signal
import subprocess
import time

import pytest

from tests.harness.mail import assert_same, normalised, simple
from tests.harness.popferry import BIN, DAEMONS, EXIT_DOWN, EXIT_FAILED, EXIT_OK, sleep
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedPop3
from tests.harness.scripted_daemon import ScriptedDaemon


@pytest.mark.parametrize("name", DAEMONS)
def test_status_tells_who_is_down(ferry, name):
    ferry.stop(name)
    status = ferry.status()
    assert {each: status[each]["up"] for each in DAEMONS} == {
        each: each != name for each in DAEMONS
    }
    code, out, _ = ferry.ctl("status")
    assert code == EXIT_OK and name in out


def test_all_down_status_still_answers(make_ferry, smtp):
    ferry = make_ferry(smtp.port, start=False)
    status = ferry.status()
    assert not any(status[name]["up"] for name in DAEMONS)
    assert status["spool"] == dict.fromkeys(
        ("incoming", "outgoing", "rejected", "badmail", "pickup"), 0
    )


def test_fetch_needs_fetcherd(ferry, box):
    ferry.stop("fetcherd")
    code, _, err = ferry.ctl("fetch", box.name)
    assert code == EXIT_DOWN and "fetcherd" in err


def test_retry_with_relayd_down(ferry):
    ferry.stop("relayd")
    code, _, err = ferry.ctl("retry", "--all")
    assert code in (EXIT_OK, EXIT_DOWN)
    assert code == EXIT_OK or "relayd" in err


def test_what_needs_only_the_ledger_works(ferry, box, smtp, pop3):
    """Accounts, queue and badmail can be looked at and changed while the owner is down."""
    ferry.stop()
    assert [one["name"] for one in ferry.ctl_json("account", "list")] == [box.name]
    assert ferry.ctl_json("account", "show", box.name)["name"] == box.name
    assert ferry.queue() == []
    assert ferry.badmail() == []
    pop3.add_user("added-while-down")
    address = "added-while-down@corp.example"
    ferry.add_account("while-down", pop3.port, "added-while-down", "secret", address)
    pop3.drop("added-while-down", simple("x"))
    ferry.start()
    assert ferry.fetch("while-down") == 0
    smtp.wait_count("added-while-down", 1)


def test_fetcherd_down_the_rest_delivers(ferry, box, smtp):
    ferry.stop("hygiene")
    box.drop(simple("one"))
    ferry.fetch(box.name)
    assert ferry.counts()["incoming"] == 1
    ferry.stop("fetcherd")
    ferry.start("hygiene")
    smtp.wait_count(box.name, 1)
    ferry.drain()
    assert box.on_server() == 1
    ferry.start("fetcherd")
    ferry.fetch(box.name)
    assert box.on_server() == 0
    smtp.settle()
    assert smtp.count(box.name) == 1


def test_hygiene_down_fetching_goes_on(ferry, box, smtp):
    ferry.stop("hygiene")
    box.drop(*(simple(f"number {n}") for n in range(5)))
    ferry.fetch(box.name)
    assert ferry.counts()["incoming"] == 5
    assert box.on_server() == 5, "nothing is deleted before its outcome is known"
    ferry.fetch(box.name)
    assert ferry.counts()["incoming"] == 5, "nothing is fetched twice"
    ferry.start("hygiene")
    smtp.wait_count(box.name, 5)
    ferry.drain()
    ferry.fetch(box.name)
    assert box.on_server() == 0
    smtp.settle()
    assert_same(box.sent, box.arrived())


def test_relayd_down_the_rest_goes_on(ferry, box, smtp):
    ferry.stop("relayd")
    box.drop(*(simple(f"number {n}") for n in range(5)))
    ferry.fetch(box.name)
    wait_for(lambda: ferry.counts()["outgoing"] == 5, what="five files in outgoing/")
    assert box.on_server() == 5
    ferry.start("relayd")
    smtp.wait_count(box.name, 5)
    ferry.drain()
    ferry.fetch(box.name)
    assert box.on_server() == 0
    smtp.settle()
    assert_same(box.sent, box.arrived())


def test_hygiene_down_while_mail_is_refused(ferry, box, smtp):
    """What relayd rejects waits in rejected/ for hygiene, its reason with it."""
    ferry.stop("relayd")
    smtp.refuse("550 5.7.1 no such luck", sender="bad@")
    box.drop(simple("bad", sender="bad@origin.example"))
    ferry.fetch(box.name)
    wait_for(lambda: ferry.counts()["outgoing"] == 1, what="a file in outgoing/")
    ferry.stop("hygiene")
    ferry.start("relayd")
    wait_for(lambda: ferry.counts()["rejected"] == 1, what="a file in rejected/")
    ferry.stop("relayd")
    ferry.start("hygiene")
    assert ferry.counts()["rejected"] == 1, "only relayd knows the reason: the file waits"
    ferry.start("relayd")
    [row] = ferry.wait_badmail(1)
    assert "no such luck" in row["reason"]
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_status_of_one_that_hangs(ferry, figure):
    """It is waited for once: for its accounts nobody asks it again. As long as with relayd hanging,
    which is asked but once."""
    took = {}
    for name in ("relayd", "fetcherd"):
        process = ferry.processes[name]
        process.signal(signal.SIGSTOP)
        begun = time.monotonic()
        status = ferry.status()
        took[name] = time.monotonic() - begun
        process.signal(signal.SIGCONT)
        assert not status[name]["up"] and "stopped answering" in status[name]["error"]
        assert ("accounts_error" in status) == (name == "fetcherd")
    figure(f"status took {took['fetcherd']:.1f} s with fetcherd hanging, {took['relayd']:.1f} s with relayd")
    assert took["fetcherd"] < 2 * took["relayd"]


@pytest.mark.parametrize(
    "words, code, says",
    [
        (["queue"], EXIT_OK, ""),
        (["relay", "test"], EXIT_DOWN, "is not running|ended before it answered"),  # it had asked, or not
    ],
)
def test_one_that_ends_while_it_is_asked(ferry, words, code, says):
    """It hangs, and is killed: nobody waits for it any more. What its ledger can answer is answered."""
    ferry.processes["relayd"].signal(signal.SIGSTOP)
    command = [BIN / "popferryctl", "-c", ferry.conf, *words]
    asking = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    sleep(1)  # until it asks
    assert asking.poll() is None
    ferry.kill("relayd")
    _, said = asking.communicate(timeout=60)
    assert asking.returncode == code and re.search(says, said) and "it listens" not in said


def test_second_instance_is_refused(ferry):
    """A ledger has one owner: a second daemon on the same state ends at once, and says why."""
    for name in DAEMONS:
        done = subprocess.run(
            [BIN / name, "-c", ferry.conf], capture_output=True, text=True, timeout=20
        )
        assert done.returncode not in (0, 2), name
        assert done.stderr.strip(), name
    assert all(ferry.status()[name]["up"] for name in DAEMONS)


# --- one that fails does not stand in the way of the other ---

NOBODY = "01JD0VSM7N4C2T8RZ5K3W9XQHB"


def failing(_):
    return {"ok": False, "code": "failed", "error": "the ledger is damaged"}


@pytest.fixture
def two_waiting(make_ferry, smtp):
    """For a filter that is down; relayd is not started."""
    ferry = make_ferry(smtp.port, hygiene={"rspamd": "127.0.0.1:9"}, start=False)
    ferry.start("fetcherd", "hygiene")
    with ScriptedPop3([normalised(simple(each)) for each in ("one", "two")]) as pop3:
        ferry.add_account("two", pop3.port, "user", "secret", "two@corp.example")
        ferry.fetch("two")
        wait_for(lambda: ferry.status()["hygiene"]["waiting"] == 2, what="two to wait for the filter")
        yield ferry


def test_queue_with_relayd_failing(two_waiting):
    ferry = two_waiting
    with ScriptedDaemon(ferry, "relayd", failing):
        code, out, said = ferry.ctl("queue", "--json")
        ids = [one["id"] for one in json.loads(out)]
        assert code == EXIT_FAILED and len(ids) == 2 and "the ledger is damaged" in said
        code, out, said = ferry.ctl("queue")
        assert code == EXIT_FAILED and all(id in out for id in ids) and "the ledger is damaged" in said
        assert ferry.ctl_json("queue", "show", ids[0])["state"] == "waiting"
        code, out, said = ferry.ctl("queue", "show", NOBODY)
        assert code == EXIT_FAILED and "the ledger is damaged" in said
        code, out, said = ferry.ctl("retry", "--all")
        assert code == EXIT_FAILED and out.startswith("2 to be tried") and "damaged" in said
        assert ferry.ctl("retry", ids[0])[0] == EXIT_OK, "relayd need not be asked"


def test_queue_with_hygiene_failing(make_ferry):
    """relayd has one of two ids, and lists nothing."""
    ferry = make_ferry(25, start=False)
    known = NOBODY[:-1] + "C"

    def relayd(request):
        if request["cmd"] == "queue.show":
            return {"ok": False, "code": "notfound", "error": f"no message {NOBODY} in the queue"}
        if request["cmd"] == "queue.list":
            return {"ok": True, "items": [], "total": 0}
        others = [id for id in request.get("ids", []) if id != known]
        return {"ok": True, "count": 1, "others": others, "failed": {}}

    with ScriptedDaemon(ferry, "relayd", relayd), ScriptedDaemon(ferry, "hygiene", failing):
        for words in (["queue"], ["queue", "--json"]):
            code, out, said = ferry.ctl(*words)
            assert (code, out) == (EXIT_FAILED, "") and "the ledger is damaged" in said
        code, _, said = ferry.ctl("queue", "show", NOBODY)
        assert code == EXIT_FAILED and "damaged" in said and "no message" not in said
        code, out, said = ferry.ctl("retry", known, NOBODY)
        assert code == EXIT_FAILED and out.startswith("1 to be tried") and "damaged" in said
        assert f"{NOBODY}: it is not in outgoing/, and hygiene can't be asked" in said
        code, out, said = ferry.ctl("retry", "--all")
        assert code == EXIT_FAILED and out.startswith("1 to be tried") and "damaged" in said


@pytest.mark.parametrize("hangs", ["hygiene", "relayd"])
def test_retry_and_queue_with_one_that_hangs(two_waiting, hangs):
    ferry = two_waiting
    ferry.start("relayd")
    ids = [one["id"] for one in ferry.queue()]
    process = ferry.processes[hangs]
    process.signal(signal.SIGSTOP)
    try:
        code, out, said = ferry.ctl("queue", timeout=60)
        assert code == EXIT_DOWN and hangs in said
        assert "empty" not in out and all((id in out) == (hangs == "relayd") for id in ids)
        code, out, said = ferry.ctl("retry", "--all", timeout=60)
        assert code == EXIT_DOWN and hangs in said
        assert out == ("2 to be tried again now\n" if hangs == "relayd" else "")
    finally:
        process.signal(signal.SIGCONT)


def test_what_waits_for_a_filter_and_what_is_nowhere(two_waiting):
    ferry = two_waiting
    ferry.start("relayd")
    ids = [one["id"] for one in ferry.queue()]
    for words in ("hold", "release"):
        code, _, said = ferry.ctl("queue", words, ids[0])
        assert code == EXIT_FAILED and f"{ids[0]}: it waits for a filter's verdict" in said
    code, _, said = ferry.ctl("queue", "hold", NOBODY)
    assert code == EXIT_FAILED and "not in the queue" in said
    code, out, said = ferry.ctl("retry", ids[0], NOBODY)
    assert code == EXIT_FAILED and out == "1 to be tried again now\n"
    assert f"{NOBODY}: it is not in the queue" in said and ids[0] not in said
    code, out, _ = ferry.ctl("retry", NOBODY, "--json")
    assert code == EXIT_FAILED
    assert json.loads(out) == {"ok": False, "count": 0, "failed": {NOBODY: "it is not in the queue"}}
