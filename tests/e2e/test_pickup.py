"""pickup/: people and programs drop messages; the envelope comes in one of three ways."""

import os

import pytest

from tests.harness.mail import as_delivered, simple
from tests.harness.popferry import sleep
from tests.harness.process import wait_for

PLAIN = b"From: Ann <ann@corp.example>\nSubject: dropped\n\nHello.\n"


@pytest.fixture
def to(request):
    """A recipient of the test's own."""
    return "p-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:40]


def drop(ferry, raw, name="drop.eml"):
    """Move a complete file in."""
    draft = ferry.home / name
    draft.write_bytes(raw)
    os.rename(draft, ferry.spool / "pickup" / name)


def is_empty(ferry):
    return not list((ferry.spool / "pickup").iterdir())


def test_envelope_lines_on_top(ferry, smtp, to):
    lines = f"X-Sender: <path@origin.example>\nX-Receiver: <{to}@corp.example>\n"
    lines += f"X-Receiver: <{to}-2@corp.example>\n"
    drop(ferry, lines.encode() + PLAIN)
    for user in (to, to + "-2"):
        smtp.wait_count(user, 1)
        assert smtp.messages(user) == [as_delivered(PLAIN)]
        assert smtp.return_paths(user) == ["path@origin.example"]
    assert is_empty(ferry)
    assert smtp.protocol_errors() == []


def test_envelope_lines_with_crlf_and_null_sender(ferry, smtp, to):
    lines = f"x-sender: <>\r\nx-receiver: {to}@corp.example\r\n"
    message = PLAIN.replace(b"\n", b"\r\n")
    drop(ferry, lines.encode() + message)
    smtp.wait_count(to, 1)
    assert smtp.messages(to) == [as_delivered(message)] and smtp.return_paths(to) == [""]


def test_envelope_from_the_header(ferry, smtp, to):
    """From; To, Cc and Bcc; and Bcc is taken off."""
    fields = (
        f"To: <{to}-1@corp.example>, Two <{to}-2@corp.example>\n"
        f"Cc: =?utf-8?q?Dr=C3=A9?= <{to}-3@corp.example>\n"
    ).encode()
    hidden = f"Bcc: {to}-4@corp.example,\n {to}-5@corp.example\n".encode()
    head, body = PLAIN.split(b"\n\n", 1)
    drop(ferry, head + b"\n" + fields + hidden + b"\n" + body)
    want = as_delivered(head + b"\n" + fields + b"\n" + body)
    for n in range(1, 6):
        smtp.wait_count(f"{to}-{n}", 1)
        assert smtp.messages(f"{to}-{n}") == [want]
        assert smtp.return_paths(f"{to}-{n}") == ["ann@corp.example"]
    smtp.settle()
    assert smtp.count(f"{to}-1") == 1


def test_envelope_lines_deeper_in_the_header_are_content(ferry, smtp, to):
    raw = PLAIN.replace(
        b"\n\n", f"\nTo: {to}@corp.example\nX-Receiver: <x@corp.example>\n\n".encode(), 1
    )
    drop(ferry, raw)
    smtp.wait_count(to, 1)
    assert smtp.messages(to) == [as_delivered(raw)]


def test_closed_after_writing(ferry, smtp, to):
    """A file that is still being written is left alone until it is closed."""
    path = ferry.spool / "pickup/slow.eml"
    head = f"X-Sender: <a@origin.example>\nX-Receiver: <{to}@corp.example>\n".encode() + PLAIN
    with open(path, "wb") as out:
        for piece in (head, b"second part\n", b"third part\n"):
            out.write(piece)
            out.flush()
            sleep(0.4)
            assert smtp.count(to) == 0 and path.exists()
    smtp.wait_count(to, 1)
    assert smtp.messages(to) == [as_delivered(PLAIN + b"second part\nthird part\n")]


def test_dropped_while_hygiene_is_down(ferry, smtp, to):
    ferry.stop("hygiene")
    for n in range(3):
        drop(ferry, f"X-Receiver: <{to}@corp.example>\n".encode() + simple(f"no {n}"), f"d{n}.eml")
    assert ferry.status()["spool"]["pickup"] == 3
    ferry.start("hygiene")
    smtp.wait_count(to, 3)
    assert is_empty(ferry)


@pytest.mark.parametrize(
    "raw",
    [
        b"\n",
        b"From: a@corp.example\nSubject: nobody to send it to\n\nx\n",
        b"X-Sender: <a@corp.example>\nX-Receiver: <not an address>\n\nx\n",
        b"X-Sender: <a@b@c>\nX-Receiver: <ok@corp.example>\n" + PLAIN,
        b"To: <<>>, nonsense@\n\nx\n",
        b"X-Popferry: 1 lines=5 id=01JD account=x\r\nX-Sender: <a@b>\r\n\r\nx\r\n",
        os.urandom(3000),
        b"X-Receiver: <one@corp.example>, <two@corp.example>\n" + PLAIN,
        b"X-Receiver: <one@corp.example> <two@corp.example>\n" + PLAIN,
        b"X-Sender: <a@corp.example>\rX-Receiver: <one@corp.example>\r\n" + PLAIN,
        b"X-Sender: <a@corp.example>\nX Receiver: <one@corp.example>\nX-Receiver: <two@corp.example>\n" + PLAIN,
        b"\xef\xbb\xbfX-Sender: <a@corp.example>\nX-Receiver: <one@corp.example>\n" + PLAIN,
        b"X-Sender: <a@corp.example>\nX-Sender: <b@corp.example>\nX-Receiver: <one@corp.example>\n" + PLAIN,
        b"X-Sender: <a@corp.example>\nX-Mailer: y\nX-Receiver: <one@corp.example>\n" + PLAIN,
    ],
    ids=[
        "blank",
        "no recipient",
        "bad receiver",
        "bad sender",
        "bad To",
        "torn preface",
        "noise",
        "two on a line",
        "two and a blank",
        "bare CR",
        "no field between",
        "BOM",
        "two senders",
        "receiver below",
    ],
)
def test_what_cannot_be_understood_is_renamed(ferry, smtp, raw):
    drop(ferry, raw, "odd.eml")
    bad = ferry.spool / "pickup/odd.eml.bad"
    alternative = ferry.spool / "pickup/odd.bad"
    wait_for(lambda: bad.exists() or alternative.exists(), what="the file to be set aside")
    kept = bad if bad.exists() else alternative
    assert kept.read_bytes() == raw
    assert not (ferry.spool / "pickup/odd.eml").exists()
    wait_for(lambda: ferry.events("hygiene", "pickup-refused"), what="the event")
    # and the next one is taken all the same
    drop(ferry, b"X-Receiver: <after-odd@corp.example>\n" + PLAIN, "good.eml")
    smtp.wait_count("after-odd", 1)


def test_what_is_no_message_is_left_alone(ferry, smtp, to):
    box = ferry.spool / "pickup"
    (box / "notes.txt").write_bytes(PLAIN)
    (box / "upper.EML.part").write_bytes(PLAIN)
    (box / "empty.eml").touch()  # somebody is about to write it
    drop(ferry, f"X-Receiver: <{to}@corp.example>\n".encode() + PLAIN)
    smtp.wait_count(to, 1)
    assert sorted(path.name for path in box.iterdir()) == [
        "empty.eml",
        "notes.txt",
        "upper.EML.part",
    ]


def test_things_that_are_no_files(ferry, smtp, to):
    """A directory, a FIFO and a symlink named *.eml: never followed, never waited for."""
    box = ferry.spool / "pickup"
    secret = ferry.home / "secret"
    secret.write_bytes(f"X-Receiver: <{to}@corp.example>\n".encode() + PLAIN)
    os.symlink(secret, box / "link.eml")
    os.mkfifo(box / "pipe.eml")
    (box / "dir.eml").mkdir()
    drop(ferry, f"X-Receiver: <{to}@corp.example>\n".encode() + PLAIN, "real.eml")
    smtp.wait_count(to, 1)
    smtp.settle()
    assert smtp.count(to) == 1
    assert secret.exists()


def test_many_drops_at_once(ferry, smtp, to):
    for n in range(100):
        raw = f"X-Receiver: <{to}@corp.example>\n".encode() + simple(f"number {n}")
        drop(ferry, raw, f"many-{n}.eml")
    smtp.wait_count(to, 100)
    ferry.drain()
    smtp.settle()
    want = sorted(as_delivered(simple(f"number {n}")) for n in range(100))
    assert sorted(smtp.messages(to)) == want
    assert is_empty(ferry)


def test_refused_drop_goes_to_badmail(ferry, smtp, to):
    smtp.refuse("550 5.7.1 not you", sender="bad@")
    lines = f"X-Sender: <bad@corp.example>\nX-Receiver: <{to}@corp.example>\n".encode()
    drop(ferry, lines + PLAIN)
    [row] = ferry.wait_badmail(1)
    assert "not you" in row["reason"] and not row["account"]
    smtp.pardon()
    ferry.ctl_ok("badmail", "replay", row["id"])
    smtp.wait_count(to, 1)
    assert smtp.messages(to) == [as_delivered(PLAIN)]
