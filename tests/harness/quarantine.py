"""popferry with mail in quarantine: a scripted filter rejects what is fetched.

    q = Quarantine(make_ferry, {"sales": [mail("one"), mail("two")]})
    q.ids["one"], q.arrived(), q.filter.asked
"""

import sqlite3
from contextlib import closing

from .mail import normalised
from .process import wait_for
from .scripted import ScriptedPop3, ScriptedSmtp
from .scripted_filter import ScriptedFilter, verdict

DAY = 86_400_000
SYMBOLS = {
    f"SYMBOL_{n}": {"name": f"SYMBOL_{n}", "score": 6.0 - n, "description": f"sign number {n}"}
    for n in range(12)
}
REJECT = {"POST *": verdict("reject", score=17.3, required_score=15.0, symbols=SYMBOLS)}


def mail(subject, sender="a@origin.example", body="hello\n", head=""):
    text = f"{head}From: {sender}\nTo: acc@corp.example\nSubject: {subject}\n\n{body}"
    return normalised(text.encode())


class Quarantine:
    """`messages` is {account: [bytes]}; each account delivers to NAME@corp.example."""

    def __init__(self, make_ferry, messages, script=None, **hygiene):
        self.smtp = ScriptedSmtp()
        self.filter = ScriptedFilter(REJECT if script is None else script)
        self.servers = {name: ScriptedPop3(some) for name, some in messages.items()}
        self.ferry = make_ferry(
            self.smtp.port, hygiene={"rspamd": f"127.0.0.1:{self.filter.port}"} | hygiene
        )
        for name, server in self.servers.items():
            self.ferry.add_account(name, server.port, "u", "secret", f"{name}@corp.example")
        self.ferry.fetch()
        rows = self.ferry.wait_badmail(sum(map(len, messages.values())))
        self.ids = {row["subject"]: row["id"] for row in rows}

    def stop(self):
        for server in (self.smtp, self.filter, *self.servers.values()):
            server.stop()

    def arrived(self):
        """[(sender, [recipient], message)], as the SMTP server took them."""
        return list(self.smtp.accepted)

    def wait_arrived(self, count, deadline=30):
        return wait_for(
            lambda: len(self.arrived()) == count and self.arrived(), deadline, f"{count} messages"
        )

    def subjects(self, *options):
        """Those that `badmail list` names with these options, in its order."""
        return [row["subject"] for row in self.ferry.ctl_json("badmail", "list", *options)]

    def path(self, message_id):
        return self.ferry.spool / "badmail" / f"{message_id}.eml"

    def age(self, days):
        """{subject: days}: as if they had lain there for so much longer."""
        self.ferry.stop("hygiene")
        with closing(sqlite3.connect(self.ferry.state / "hygiene.db")) as db, db:
            for subject, more in days.items():
                older = (int(more * DAY), self.ids[subject])
                db.execute("UPDATE badmail SET at = at - ? WHERE id = ?", older)
        self.ferry.start("hygiene")
