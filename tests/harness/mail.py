"""Messages: what SMTP makes of them, how to compare them, and how to make them."""

import random
import re
from collections import Counter
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
CORPUS = DATA / "corpus"

_DELIVERY = (b"Return-Path:", b"X-Original-To:", b"Delivered-To:", b"Received:")


def corpus():
    """The 103 real and odd messages, [(name, bytes)]."""
    return [(path.stem, path.read_bytes()) for path in sorted(CORPUS.glob("*.eml"))]


def normalised(raw):
    """The line-end normalisation that SMTP demands: bare CR, bare LF -> CRLF, CRLF at the end."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


def strip_delivery_headers(raw):
    """Take off the four fields that Postfix's delivery puts in front, by position: fields of the
    same names that the message itself brings stay."""
    rest = raw
    for name in _DELIVERY:
        if not rest.lower().startswith(name.lower()):
            raise AssertionError(f"no {name.decode()} in front of {rest[:80]!r}")
        rest = re.sub(rb"\A[^\n]*\n(?:[ \t][^\n]*\n)*", b"", rest, count=1)
    return rest


_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*(:.*)\Z", re.S)


def as_delivered(raw):
    """The bytes that Postfix lays into a Maildir for a message submitted as normalised(raw).

    Three things it does to a message whatever it is told (found by giving it all of the corpus,
    and more, directly; everything else arrives as it was):
      - a first line "From ..." or ">From ..." becomes "X-Mailbox-Line: From ...";
      - blanks between a field's name and its colon go away;
      - the header section ends at the first line that is no field: a blank line is put in.
    """
    lines = normalised(raw).replace(b"\r\n", b"\n").splitlines(keepends=True)
    if lines and lines[0].lstrip(b">").startswith(b"From "):
        lines[0] = b"X-Mailbox-Line: " + lines[0]
    for at, line in enumerate(lines):
        if line == b"\n":
            break
        field = _FIELD.match(line)
        if field:
            lines[at] = field[1] + field[2]
        elif at == 0 or line[:1] not in b" \t":
            lines.insert(at, b"\n")
            break
    return b"".join(lines)


def assert_same(sent, received):
    """That exactly the messages `sent` (as POP3 serves them) arrived, each once, in any order."""
    missing = Counter(as_delivered(raw) for raw in sent)
    missing.subtract(Counter(received))
    lost = [raw for raw, count in missing.items() if count > 0]
    strange = [raw for raw, count in missing.items() if count < 0]
    assert not lost and not strange, (
        f"{len(lost)} of {len(sent)} messages lost or altered, {len(strange)} unexpected;"
        f" first lost {lost[:1]!r:.500}; first unexpected {strange[:1]!r:.500}"
    )


def duplicates(sent, received):
    """How many more messages arrived than were sent; AssertionError when one is lost or altered."""
    want, got = Counter(as_delivered(raw) for raw in sent), Counter(received)
    lost, strange = want - got, set(got) - set(want)
    assert not lost, f"{lost.total()} of {len(sent)} lost; first {next(iter(lost))!r:.500}"
    assert not strange, f"{len(strange)} arrived altered; first {next(iter(strange))!r:.500}"
    return (got - want).total()


def simple(subject="hello", sender="someone@origin.example", body="One line.\n", fields=""):
    """A small well-formed message with LF line ends."""
    return (
        f"From: Someone <{sender}>\nTo: you@corp.example\nSubject: {subject}\n"
        f"Message-ID: <{subject.replace(' ', '.')}@origin.example>\n{fields}\n{body}"
    ).encode()


def odd_shapes():
    """[(name, bytes)]: messages whose form, not whose content, is hard."""
    head = b"From: a@origin.example\nSubject: odd\n"
    return [
        ("one byte body", head + b"\nx"),
        ("no body", head),
        ("no body, no last line end", head[:-1]),
        ("empty line only", b"\n"),
        ("no header at all", b"just a line of text\nand one more\n"),
        ("dots", head + b"\n.\n..\n.x\n...\n. \n.\n"),
        ("dot at the very end", head + b"\nx\n."),
        ("terminator look-alike", head + b"\n\r\n.\r.\nx\n"),
        ("bare CR", head + b"\na\rb\r\r\nc\r"),
        ("NUL", head + b"\nnul \0 here\n\0\n"),
        ("8-bit header and body", head + "X-Ort: Gruß\n\nÄrger\n".encode("latin-1")),
        ("line of 999", head + b"\n" + b"l" * 999 + b"\n"),
        ("line of 2050", head + b"\n" + b"l" * 2050 + b"\n"),
        ("line of 70000", head + b"\n" + b"l" * 70000 + b"\n"),
        ("long line of dots", head + b"\n" + b"." * 5000 + b"\n"),
        ("header line of 5000", head + b"X-Long: " + b"h" * 5000 + b"\n\nx\n"),
        ("header section of 120 KiB", head + b"X-Many: %s\n" % (b"m" * 90) * 1200 + b"\nx\n"),
        (
            "envelope lines of its own",
            b"X-Sender: <evil@x>\nX-Receiver: <evil@x>\n" + head + b"\nx\n",
        ),
        ("a preface of its own", b"X-Popferry: 1 lines=9 id=x account=y\n" + head + b"\nx\n"),
        ("ends in blank lines", head + b"\nx\n\n\n\n"),
    ]


def sized(size, number=0, seed=1):
    """A message of about `size` bytes, different for each number, the same in each run."""
    dice = random.Random(f"{seed}/{number}/{size}")
    head = simple(f"sized {size} number {number}", body="")
    body = []
    left = max(size - len(head), 1)
    while left > 0:
        line = dice.randbytes(min(left, dice.choice((0, 1, 57, 57, 300)))).hex()[: left - 1]
        if dice.random() < 0.1:
            line = "." + line
        body.append(line + "\n")
        left -= len(line) + 1
    return head + "".join(body).encode()
