"""A server that ends each session after five errors, and a crowd of messages that it refuses."""

import os
from collections import Counter

import pytest

from tests.harness.mail import as_delivered, simple
from tests.harness.postfix import Postfix
from tests.harness.process import wait_for

CROWD = 500
LIMIT = 5  # Postfix's smtpd_hard_error_limit

# By sender; where Postfix says so, and in which words. The first two come as errors of RCPT and of
# the DATA that was sent with it, the others after the final dot.
REFUSALS = {
    "rcpt": ("550 5.7.1 ", "your kind of recipient is not served"),
    "access": ("554 5.7.1 ", "this sender is on a list"),
    "dot": ("550 5.7.0 ", "what this says is not wanted"),
    "header": ("550 5.7.1 ", "a subject like this is not wanted"),
}


@pytest.fixture(scope="module")
def strict(place):
    """Not started yet."""
    reason = Postfix.why_not()
    if reason:
        pytest.skip(reason)
    home = place / "strict"
    home.mkdir()
    (home / "headers").write_text(f"/^Subject: bad.*header/ REJECT {REFUSALS['header'][1]}\n")
    (home / "senders").write_text(f"/^access/ {''.join(REFUSALS['access'])}\n")
    extra = (
        f"header_checks = regexp:{home}/headers\n"
        f"smtpd_sender_restrictions = check_sender_access regexp:{home}/senders\n"
    )
    server = Postfix(home, hard_error_limit=LIMIT, extra=extra)
    server.refuse("".join(REFUSALS["rcpt"]), at="RCPT", sender="^rcpt")
    server.refuse("".join(REFUSALS["dot"]), sender="^dot")
    yield server
    server.stop()


def drop_crowd(ferry, senders, subject):
    """Whole messages into pickup/; until all lie in outgoing/."""
    before = ferry.counts()["outgoing"]
    for sender in senders:
        head = f"X-Sender: <{sender}@origin.example>\nX-Receiver: <crowd@corp.example>\n"
        draft = ferry.home / f"{sender}.eml"
        draft.write_bytes(head.encode() + body_of(subject, sender))
        os.rename(draft, ferry.spool / "pickup" / draft.name)
    wait_for(
        lambda: ferry.counts()["outgoing"] == before + CROWD, 120, f"{CROWD} messages to wait"
    )


def body_of(subject, sender):
    return simple(f"{subject} of {sender}", sender=f"{sender}@origin.example")


def test_five_hundred_refused_ones_ahead_of_five_hundred_good_ones(make_ferry, strict):
    kinds = list(REFUSALS)
    bad = [f"{kinds[n % len(kinds)]}-{n}" for n in range(CROWD)]
    good = [f"good-{n}" for n in range(CROWD)]
    ferry = make_ferry(strict.port)  # nobody listens there yet: all have to wait
    drop_crowd(ferry, bad, "bad")
    drop_crowd(ferry, good, "fine")
    strict.start()
    ferry.ctl_ok("retry", "--all")
    ferry.drain(240)
    strict.settle()

    # The good ones: each once, whole, and none was ever put off.
    arrived = strict.deliveries("crowd")
    assert Counter(one.message for one in arrived) == Counter(
        as_delivered(body_of("fine", name)) for name in good
    )
    delivered = ferry.events("relayd", "delivered")
    assert [one["attempts"] for one in delivered] == ["1"] * CROWD
    assert not ferry.events("relayd", "deferred")
    assert ferry.status()["relayd"]["deferrals"] == 0

    # The refused ones: in quarantine, with the server's words, after one attempt each.
    rows = ferry.badmail()
    assert sorted(row["sender"].partition("@")[0] for row in rows) == sorted(bad)
    for row in rows:
        code, words = REFUSALS[row["sender"].partition("-")[0]]
        assert row["reason"].startswith(code) and words in row["reason"], row
    assert {one["attempts"] for one in ferry.events("relayd", "rejected")} == {"1"}

    # They did come first, and no session came to the limit, which would have cost it a connection.
    asked = [one["sender"] for one in strict.attempts("RCPT")]
    assert not [sender for sender in asked[: CROWD // 2] if sender.startswith("good")]
    assert "too many errors" not in strict.log()
    assert strict.protocol_errors() == []
