"""Mail from a real POP3 server arrives at a real SMTP server, byte for byte."""

from tests.harness.mail import assert_same, corpus, odd_shapes, simple, sized


def two_hundred():
    """All of the corpus, the odd shapes, and the rest in sizes from one byte to some megabytes."""
    messages = [raw for _, raw in corpus() + odd_shapes()]
    sizes = [0, 1, 100, 1000, 1023, 4096, 5000, 16384, 20480, 65536, 131072, 3000000, 6000000]
    number = 0
    while len(messages) < 200:
        size = sizes[number % len(sizes)] if number < 2 * len(sizes) else 3000 + 977 * number
        messages.append(sized(size, number))
        number += 1
    return messages


def test_two_hundred_messages_arrive_byte_for_byte(ferry, box, smtp):
    box.drop(*two_hundred())
    assert len(box.sent) == 200
    assert ferry.fetch(box.name, timeout=240) == 0
    ferry.drain(120)
    smtp.wait_count(box.name, 200)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert ferry.badmail() == []
    assert smtp.protocol_errors() == []

    # at most one more poll takes away what was in flight when the session ended
    assert ferry.fetch(box.name) == 0
    assert box.on_server() == 0

    # and the next fetches nothing
    assert ferry.fetch(box.name) == 0
    ferry.drain()
    smtp.settle()
    assert smtp.count(box.name) == 200


def test_a_few_messages_are_gone_after_one_poll(ferry, box, smtp):
    """The outcomes come back within the session, so that it can DELE."""
    box.drop(*(simple(f"number {n}") for n in range(5)))
    assert ferry.fetch(box.name) == 0
    assert box.on_server() == 0
    smtp.wait_count(box.name, 5)
    assert_same(box.sent, box.arrived())


def test_mail_that_comes_between_polls(ferry, box, smtp):
    for n in range(4):
        box.drop(simple(f"round {n}"))
        assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 4)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert box.on_server() == 0


def test_return_path_and_recipient(ferry, box, smtp):
    box.drop(
        simple("plain", sender="from@origin.example"),
        b"Return-Path: <path@origin.example>\n" + simple("path", sender="from@origin.example"),
        b"Return-Path: <>\n" + simple("null", sender="from@origin.example"),
    )
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 3)
    paths = sorted(smtp.return_paths(box.name))
    assert paths == ["", "from@origin.example", "path@origin.example"]


def test_equal_messages_are_all_delivered(ferry, box, smtp):
    """The same bytes three times are three messages: each has a UIDL of its own."""
    box.drop(*[simple("the same")] * 3)
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 3)
    smtp.settle()
    assert_same(box.sent, box.arrived())


def test_session_cap_goes_on_at_the_next_poll(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, fetch={"messages_per_session": 4})
    box = make_box(ferry)
    box.drop(*(simple(f"number {n}") for n in range(10)))
    for _ in range(4):
        assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 10)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert box.on_server() == 0


def test_everything_survives_a_restart(ferry, box, smtp):
    """An orderly stop and start changes nothing: no second copy, no forgotten account."""
    box.drop(simple("before"))
    assert ferry.fetch(box.name) == 0
    assert ferry.stop() == {"fetcherd": 0, "hygiene": 0, "relayd": 0}
    ferry.start()
    box.drop(simple("after"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)
    smtp.settle()
    assert_same(box.sent, box.arrived())
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_delete_never_leaves_and_does_not_fetch_twice(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, fetch={"delete": "never"})
    box = make_box(ferry)
    box.drop(simple("one"), simple("two"))
    for _ in range(3):
        assert ferry.fetch(box.name) == 0
    ferry.restart("fetcherd")
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)
    ferry.drain()
    smtp.settle()
    assert_same(box.sent, box.arrived())
    assert box.on_server() == 2


def test_stderr_of_a_good_run_has_no_warning(ferry, box, smtp):
    box.drop(*(simple(f"number {n}") for n in range(3)))
    assert ferry.fetch(box.name) == 0
    ferry.drain()
    for name in ("fetcherd", "hygiene", "relayd"):
        loud = [one for one in ferry.events(name) if one["level"] in ("warning", "alarm")]
        assert loud == []
