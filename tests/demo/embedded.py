"""The demonstration: a POP3 server with sample mail, an SMTP server that first refuses and then
takes, and popferry between them.  Every sample must end where it belongs."""

import os
import shlex
import time
from collections import Counter

from tests.harness.dovecot import Dovecot
from tests.harness.popferry import BIN, DAEMONS, TOP, Popferry
from tests.harness.process import free_port, wait_for
from tests.harness.s6 import Supervisor
from tests.harness.sink import Sink

from .samples import BADMAIL, DELIVERED, REPLAYED, STAYS, WRITTEN, samples

MAILBOXES = ("sales", "info")  # beside invoices, which goes ahead
REFUSAL = "554 5.7.1 Invoices are not taken on Mondays"
PATIENCE = 90


class Demonstration:
    def __init__(self, place, screen):
        self.place, self.screen = place, screen
        self.samples = samples()
        servers = place.short("servers")
        self.pop3 = Dovecot(servers / "pop3")
        self.sink = Sink(servers / "smtp", free_port())
        self.ferry = Popferry(
            place.path,
            self.sink.port,
            relay={"retry_min": "1s", "retry_max": "5s"},
            hygiene={"bad_sender": "badmail"},
            run_dir=place.short("bus"),
            env={"COLUMNS": str(screen.room)},
        )
        self.supervisor = Supervisor(place.path / "service", self.ferry.conf, place.path / "log")

    def run(self):
        """True when every sample is accounted for."""
        self.set_up()
        refused = self.refusal()
        self.the_rest()
        self.replay(refused)
        return self.account_for()

    def stop(self):
        self.supervisor.stop()
        self.sink.stop()
        self.pop3.stop()

    # the steps

    def set_up(self):
        say = self.screen
        say.line(say.bold("popferry") + ": mail from a POP3 server to a company's SMTP server")
        say.heading("1  Two private servers, and popferry between them")
        self.sink.refuse_from_now_on("DATA", REFUSAL)
        self.pop3.start()
        for sample in self.samples:
            if sample.mailbox not in self.pop3.passwords:
                self.pop3.add_user(sample.mailbox)
            sample.served = self.pop3.drop(sample.mailbox, sample.raw)
        boxes = Counter(sample.mailbox for sample in self.samples)
        holds = ", ".join(f"{name} {count}" for name, count in boxes.items())
        say.note(
            f"Dovecot, POP3 on 127.0.0.1:{self.pop3.port}, with {boxes.total()} messages ({holds})"
        )
        say.note(
            f"smtp-sink, SMTP on 127.0.0.1:{self.sink.port}, in the place of the company's server"
        )
        self.show("init", quiet=True)
        self.supervisor.make().start()
        say.note(f"{', '.join(DAEMONS)} are up, under s6")

    def add_account(self, name):
        where = ("--server", "127.0.0.1", "--port", self.pop3.port)
        how = ("--tls", "none", "--auth", "basic")
        who = ("--user", name, "--deliver-to", f"{name}@corp.example", "--password-stdin")
        self.show("account", "add", name, *where, *how, *who, stdin="secret\n")

    def refusal(self):
        say = self.screen
        say.heading("2  A message that the company's server refuses")
        self.add_account("invoices")
        self.show("fetch", "invoices", "--wait")
        row = self.wait(lambda: self.ferry.badmail(), "the refused message in badmail")[0]
        say.note("It is kept in badmail, with the server's reply as the reason, and it is gone")
        say.note("from the POP3 server:")
        self.show("badmail", "show", row["id"])
        return row["id"]

    def the_rest(self):
        say = self.screen
        say.heading("3  All the rest, while that server takes everything")
        self.sink.accept_from_now_on()
        for name in MAILBOXES:
            self.add_account(name)
        self.ferry.ctl_ok("retry", "--all")
        self.show("fetch", "--all", quiet=True)
        total = len(self.samples)

        def done():
            here = self.where()
            text = f"delivered {here['delivered']}, in badmail {here['badmail']}, "
            text += f"on the way {here['on the way']}, on the POP3 server {here['server']}"
            moved = min(here["delivered"] + here["badmail"], total)
            say.progress(moved, total, text)
            if here["on the way"] or here["server"] > self.expected(STAYS):
                return False
            return moved >= total - self.expected(STAYS)

        asked = time.monotonic()

        def done_or_ask_again():
            """What was delivered behind a session's end goes from the server at the next poll."""
            nonlocal asked
            if done():
                return True
            if time.monotonic() - asked > 5:
                asked = time.monotonic()
                self.ferry.ctl("fetch", "--all")
            return False

        try:
            self.wait(done_or_ask_again, "the mail to move")
        finally:
            say.progress_end()

    def replay(self, ident):
        say = self.screen
        say.heading("4  The refused one again: it is replayed")
        before = len(self.sink.dumps())
        self.show("badmail", "replay", ident)
        self.wait(lambda: len(self.sink.dumps()) > before, "the replayed message to arrive")
        say.note("It has arrived.")

    def account_for(self):
        say = self.screen
        say.heading("5  What became of it all")
        self.wait(lambda: self.where()["on the way"] == 0, "the spool to be empty")
        self.show("status")
        self.show("badmail", "list")
        say.line()
        faults = self.faults()
        for fate, words in FATES.items():
            mark = say.bad("✗") if fate in faults else say.good("✓")
            say.line(f"  {mark} {self.expected(fate):3d} {faults.get(fate, words)}")
        say.line()
        count = len(self.samples)
        if faults:
            say.line("  " + say.bad(f"Not all of the {count} samples are accounted for."))
            say.block(self.supervisor.tails())
        else:
            say.line("  " + say.good(f"All {count} samples are accounted for."))
        self.where_it_lies()
        return not faults

    # how things stand

    def expected(self, *fates):
        return sum(sample.fate in fates for sample in self.samples)

    def where(self):
        counts = self.ferry.counts()
        moving = ("tmp", "incoming", "outgoing", "rejected", "pickup")
        return {
            "delivered": len(self.sink.dumps()),
            "badmail": counts["badmail"],
            "on the way": sum(counts[name] for name in moving),
            "server": sum(self.pop3.count(name) for name in self.pop3.passwords),
        }

    def faults(self):
        """{fate: what is wrong}: each sample looked for, byte for byte, where it should be."""
        faults = {}
        arrived = Counter((dump.recipients[0], dump.message) for dump in self.sink.dumps())
        for fate in (DELIVERED, REPLAYED):
            wanted = Counter(
                (f"{sample.mailbox}@corp.example", sample.as_dumped())
                for sample in self.samples
                if sample.fate == fate
            )
            missing = wanted - arrived
            if missing:
                faults[fate] = f"{missing.total()} of these did not arrive as they were"
            arrived -= wanted
        if arrived:
            faults.setdefault(DELIVERED, f"{arrived.total()} more arrived than were sent")
        rows = self.ferry.badmail()
        if [row["subject"] for row in rows] != ["You have won"]:
            faults[BADMAIL] = f"badmail holds {len(rows)} messages"
        left = sum(self.pop3.count(name) for name in self.pop3.passwords)
        large = sum(one["too_large"] for one in self.ferry.status()["accounts"])
        if left != self.expected(STAYS) or large != left:
            faults[STAYS] = f"{left} are left on the POP3 server, {large} known as too large"
        return faults

    # helpers

    def wait(self, predicate, what):
        return wait_for(predicate, PATIENCE, what, interval=0.1)

    def show(self, *words, stdin="", quiet=False):
        """Run a command as a person would, and show it with what it says."""
        shown = shlex.join(map(str, words)).replace(
            "--password-stdin", "--password-stdin <<< secret"
        )
        self.screen.command(f"popferryctl {shown}")
        out = self.ferry.ctl_ok(*words, stdin=stdin, timeout=PATIENCE)
        if not quiet:
            self.screen.block(out)

    def where_it_lies(self):
        say = self.screen
        say.heading("Where everything lies")
        rows = (
            ("configuration", self.ferry.conf),
            ("spool", self.ferry.spool),
            ("ledgers, keys", self.ferry.state),
            ("logs", self.place.path / "log"),
            ("s6 services", self.place.path / "service"),
            ("delivered mail", self.place.path / "servers/smtp/mail"),
            ("POP3 mailboxes", self.place.path / "servers/pop3/mail"),
        )
        for name, path in rows:
            say.line(f"  {name:15s} {relative(path)}")

    def stay(self):
        """On a terminal: until Ctrl-C, with something to try."""
        say = self.screen
        say.heading("Still running, until Ctrl-C. In another terminal, try")
        ctl = f"{relative(BIN / 'popferryctl')} -c {relative(self.ferry.conf)}"
        corpus = relative(TOP / "tests/data/corpus/plain_emails--basic_email.eml")
        maildir = relative(self.place.path / "servers/pop3/mail/sales/Maildir/new")
        row = self.ferry.badmail()[0]["id"]
        for text, command in (
            ("how things stand", f"{ctl} status"),
            ("why a message is in quarantine", f"{ctl} badmail show {row}"),
            ("new mail arrives at the POP3 server", f"cp {corpus} {maildir}/"),
            ("... and is fetched", f"{ctl} fetch sales --wait"),
            (
                "a program drops a message",
                f"cp {relative(WRITTEN / 'hello.eml')} {relative(self.ferry.spool)}/pickup/",
            ),
            (
                "one daemon dies; s6 starts it anew",
                f"s6-svc -k {relative(self.place.path)}/service/relayd",
            ),
        ):
            say.line(f"  {say.faint('# ' + text)}\n  {command}")
        say.line()
        while self.supervisor.running():
            time.sleep(0.5)


FATES = {
    DELIVERED: "delivered, byte for byte",
    REPLAYED: "refused by the company's server, kept in badmail, replayed and delivered",
    BADMAIL: 'in badmail: its sender is no address (bad-sender = "badmail")',
    STAYS: "left on the POP3 server: larger than the limit, told of once",
}


def relative(path):
    """As short as it can be said from here."""
    return min(str(path), os.path.relpath(path), key=len)
