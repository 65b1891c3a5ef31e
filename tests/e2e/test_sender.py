"""A malformed From or Return-Path never costs a protocol error, and never blocks the rest."""

from tests.harness.mail import DATA, assert_same, simple

HOPELESS = (DATA / "messages/hopeless-sender.eml").read_bytes()

MALFORMED = [
    ("two ats", b"From: a@b@c.example\nSubject: 1\n\nx\n"),
    ("space and brackets", b"Return-Path: <foo bar <x>@@>\nFrom: <<>>\nSubject: 2\n\nx\n"),
    ("injection", b"Return-Path: <a@b.example>\rRCPT TO:<x@y>\nFrom: \0@b\nSubject: 3\n\nx\n"),
    ("control and 8-bit", b"From: \xff\xfe\x01 <\x80@\x81.example>\nSubject: 4\n\nx\n"),
    (
        "far too long",
        b"From: <" + b"l" * 3000 + b"@" + b"d" * 3000 + b".example>\nSubject: 5\n\nx\n",
    ),
]

MORE = [
    ("no address at all", b"Subject: 6\n\nx\n"),
    ("empty", b"From:\nReturn-Path:\nSubject: 7\n\nx\n"),
    ("undisclosed group", b"From: undisclosed-recipients:;\nSubject: 8\n\nx\n"),
    ("dots", b"From: .a..b.@c..example.\nSubject: 9\n\nx\n"),
    ("open quote", b'From: "a@b.example\nSubject: 10\n\nx\n'),
    ("domain literal nonsense", b"From: <a@[1.2.3.999]>\nSubject: 11\n\nx\n"),
    ("underscore and hyphen domain", b"From: <a@-b_.example>\nSubject: 12\n\nx\n"),
    ("option smuggling", b"Return-Path: <a@b.example> SIZE=1 AUTH=<>\nSubject: 13\n\nx\n"),
    ("utf-8", "From: <jö@mä.example>\nSubject: 14\n\nx\n".encode()),
    ("route", b"Return-Path: <@a.example,@b.example:c@d.example>\nSubject: 15\n\nx\n"),
    ("nested comments", b"From: " + b"(" * 500 + b" a@b.example\nSubject: 16\n\nx\n"),
]


def test_five_malformed_ahead_of_good_ones(ferry, box, smtp):
    box.drop(*(raw for _, raw in MALFORMED))
    box.drop(*(simple(f"good {n}") for n in range(10)))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 15)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert smtp.protocol_errors() == []
    assert ferry.badmail() == []
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_many_more_malformed_ones(ferry, box, smtp):
    box.drop(*(raw for _, raw in MORE), simple("good"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, len(MORE) + 1)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert smtp.protocol_errors() == []


def test_hopeless_sender_becomes_the_null_path(ferry, box, smtp):
    box.drop(HOPELESS)
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    assert smtp.return_paths(box.name) == [""]


def test_sender_without_domain_gets_the_default(ferry, box, smtp):
    box.drop(b"From: alice\nSubject: x\n\nx\n")
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    assert smtp.return_paths(box.name) == ["alice@corp.example"]


def test_bad_sender_badmail(make_ferry, make_box, smtp):
    """bad-sender = badmail: what has no usable sender is quarantined, the rest goes on."""
    ferry = make_ferry(smtp.port, hygiene={"bad_sender": "badmail"})
    box = make_box(ferry)
    box.drop(HOPELESS, simple("good"), b"Return-Path: <>\nSubject: a real bounce\n\nx\n")
    assert ferry.fetch(box.name) == 0
    [row] = ferry.wait_badmail(1)
    assert (
        row["decided_by"].startswith("form") and row["subject"] == "You have won" and row["reason"]
    )
    smtp.wait_count(box.name, 2)
    smtp.settle()
    assert_same(box.sent[1:], box.arrived())
    ferry.fetch(box.name)
    assert box.on_server() == 0
