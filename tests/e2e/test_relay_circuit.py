"""When the SMTP server does not take mail: what holds fetching off, and what does not."""

from tests.harness.mail import normalised, simple
from tests.harness.process import wait_for
from tests.harness.scripted import CLOSE, Gone, ScriptedPop3, ScriptedSmtp

PUT_OFF = 20  # messages in a row that open the circuit
LATER = b"451 4.7.1 not now\r\n"


def messages(count):
    return [normalised(simple(f"number {n}")) for n in range(1, count + 1)]


def add_account(ferry, server, name="acc"):
    ferry.add_account(name, server.port, "user", "secret", f"{name}@corp.example")


def circuit(ferry):
    return ferry.status()["relayd"]["circuit"]


def put_off_once(ferry, count):
    wait_for(
        lambda: len([one for one in ferry.queue() if one["attempts"]]) >= count,
        what=f"{count} messages put off",
    )


def test_one_message_that_is_never_taken_stops_nothing(make_ferry):
    with ScriptedSmtp({".": LATER}) as smtp, ScriptedPop3(messages(1)) as server:
        ferry = make_ferry(smtp.port, relay={"retry_min": "1h", "retry_max": "1h"})
        add_account(ferry, server)
        ferry.fetch("acc")
        for attempts in range(1, PUT_OFF + 3):
            wait_for(lambda: ferry.queue()[0]["attempts"] >= attempts, what="one more attempt")
            ferry.ctl_ok("retry", "--all")
        assert circuit(ferry) == "closed"
        assert not ferry.events("relayd", "relay-down")


def test_a_new_message_is_the_probe_when_all_are_put_off(make_ferry):
    """4xx to one after the other: the circuit is tried with new mail, and fetching goes on."""
    with ScriptedSmtp({".": LATER}) as smtp, ScriptedPop3(messages(PUT_OFF)) as server:
        relay = {"retry_min": "1h", "retry_max": "1h", "sessions": 1}
        ferry = make_ferry(smtp.port, relay=relay)
        add_account(ferry, server)
        ferry.fetch("acc")
        put_off_once(ferry, PUT_OFF)
        assert circuit(ferry) == "probing"
        assert "takes none" in ferry.ctl_ok("status")
        ferry.restart("fetcherd")  # it asks relayd at its start
        assert not ferry.status()["fetcherd"]["holding_off"]

        del smtp.script["."]
        server.mailbox["uid-new"] = normalised(simple("new", sender="new@origin.example"))
        ferry.fetch("acc")
        wait_for(
            lambda: [sender for sender, *_ in smtp.accepted if sender == "new@origin.example"],
            what="the new message to be taken",
        )
        wait_for(lambda: circuit(ferry) == "closed", what="the circuit to close")
        assert not ferry.events("fetcherd", "holding-off")


def test_a_server_that_takes_no_session_holds_fetching_off(make_ferry):
    with ScriptedSmtp({"GREETING": [b"421 no\r\n", CLOSE]}) as smtp:
        ferry = make_ferry(smtp.port, relay={"retry_min": "1s", "retry_max": "1s"})
        wait_for(lambda: circuit(ferry) == "open", 30, "the circuit to open")
        ferry.restart("fetcherd")
        wait_for(lambda: ferry.status()["fetcherd"]["holding_off"], what="fetcherd to hold off")
        smtp.script.clear()
        wait_for(lambda: circuit(ferry) == "closed", 30, "the circuit to close")


class Narrow(ScriptedSmtp):
    """Allows `room` connections at a time, and takes a while for each message."""

    room = 3

    def __init__(self):
        self.up = self.peak = self.refused = 0
        super().__init__()

    def converse(self, talk):
        with self.lock:
            full = self.up >= self.room
            self.refused += full
            self.up += not full
            self.peak = max(self.peak, self.up)
        if full:
            talk.send(b"421 4.3.2 too many connections\r\n")
            raise Gone
        try:
            super().converse(talk)
        finally:
            with self.lock:
                self.up -= 1

    def do_data(self, talk, line):
        self.stopping.wait(0.1)
        super().do_data(talk, line)


def test_a_server_that_allows_fewer_connections(make_ferry):
    """They go on; it is asked for no more than it allows, and seldom whether that has changed."""
    count = 120
    with Narrow() as smtp, ScriptedPop3(messages(count)) as server:
        ferry = make_ferry(smtp.port, relay={"sessions": 10})
        ferry.stop("relayd")
        add_account(ferry, server)
        ferry.fetch("acc")
        wait_for(lambda: ferry.counts()["outgoing"] == count, what="all to wait")
        ferry.start("relayd")
        ferry.drain()
        assert len(smtp.accepted) == count
        assert smtp.peak == smtp.room
        assert smtp.refused <= 10 - smtp.room + 1
        [said, *_] = ferry.events("relayd", "relay-allows-fewer")
        assert said["error"].startswith("421 4.3.2")
        assert not ferry.events("relayd", "relay-failed")
        assert not ferry.events("relayd", "deferred")

        smtp.room = 100
        ferry.ctl_ok("retry", "--all")
        for n in range(count):
            server.mailbox[f"more-{n}"] = normalised(simple(f"more {n}"))
        ferry.fetch("acc")
        ferry.drain()
        assert smtp.peak > 3
