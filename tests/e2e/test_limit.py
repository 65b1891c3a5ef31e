"""Messages over the size limit stay on the server, are told of once, and block nothing."""

from tests.harness.mail import assert_same, simple, sized

TOO_LARGE = 10 * 1024 * 1024 + 512 * 1024


def test_too_large_stays_and_is_told_of_once(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, fetch={"message_size": "10M"})
    box = make_box(ferry)
    box.drop(simple("before"), sized(TOO_LARGE, 1), simple("after"))
    for _ in range(3):
        assert ferry.fetch(box.name) == 0
    ferry.restart("fetcherd")
    assert ferry.fetch(box.name) == 0

    smtp.wait_count(box.name, 2)
    smtp.settle()
    assert_same([box.sent[0], box.sent[2]], box.arrived())
    assert box.on_server() == 1
    assert len(ferry.events("fetcherd", "message-too-large")) == 1
    shown = ferry.account(box.name)
    assert shown["too_large"] == 1
    assert shown["on_server"] == 1
    assert shown["failures"] == 0 and not shown["error"]
    assert box.name in ferry.ctl_ok("status")


def test_too_large_is_fetched_when_the_limit_rises(make_ferry, make_box, smtp):
    ferry = make_ferry(smtp.port, fetch={"message_size": "100K"})
    box = make_box(ferry)
    box.drop(sized(150 * 1024, 1))
    assert ferry.fetch(box.name) == 0
    assert ferry.account(box.name)["too_large"] == 1
    ferry.stop("fetcherd")
    ferry.fetch_section["message_size"] = "1M"
    ferry.write_conf()
    ferry.start("fetcherd")
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 1)
    assert ferry.account(box.name)["too_large"] == 0
    ferry.fetch(box.name)
    assert box.on_server() == 0


def test_too_large_that_goes_away_is_forgotten(make_ferry, make_box, smtp, pop3):
    ferry = make_ferry(smtp.port, fetch={"message_size": "100K"})
    box = make_box(ferry)
    box.drop(sized(150 * 1024, 1))
    assert ferry.fetch(box.name) == 0
    assert ferry.account(box.name)["too_large"] == 1
    pop3.empty(box.name)
    assert ferry.fetch(box.name) == 0
    assert ferry.account(box.name)["too_large"] == 0
