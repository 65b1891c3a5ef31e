"""Bodies that would like to end a message early arrive whole, at a real Postfix over one connection."""

import random

import pytest

from tests.harness.mail import assert_same, simple
from tests.harness.postfix import DOMAIN, Postfix
from tests.harness.process import wait_for
from tests.harness.scripted import ScriptedPop3

COUNT = 150
PIECES = [
    b"\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\r\n.\r\r\n", b"\n\r.\n\r",
    b"\r\n..\r\n", b"\r\n.", b".", b"\r", b"\n", b"x", b"MAIL FROM:<a@b>\r\n", b"QUIT\r\n",
    b"\r\n\0.\r\n", b"\0", b"\n\0\0.\n",
]  # fmt: skip


def bodies(count):
    dice = random.Random(20231218)
    for number in range(count):
        body = b"".join(dice.choices(PIECES, k=dice.randrange(40)))
        yield simple(f"number {number}", body="").replace(b"\n", b"\r\n") + body + b"\r\n"


@pytest.mark.parametrize("chunking", [True, False], ids=["BDAT", "DATA"])
def test_random_bodies(make_ferry, place, chunking):
    home = place / f"smuggling-{chunking}"
    extra = "" if chunking else "smtpd_discard_ehlo_keywords = chunking"
    mail = list(bodies(COUNT))
    with Postfix(home, extra=extra) as smtp, ScriptedPop3(mail) as server:
        ferry = make_ferry(smtp.port, relay={"sessions": 1})
        ferry.add_account("acc", server.port, "user", "secret", f"acc@{DOMAIN}")
        assert ferry.fetch("acc") == 0
        ferry.drain()
        smtp.wait_count("acc", COUNT)
        smtp.settle()
        assert_same(mail, smtp.messages("acc"))
        assert not smtp.protocol_errors()
        assert ferry.setbacks() == smtp.setbacks() == []  # one costs a minute
        ferry.stop("relayd")  # its session is told of in the log when it ends
        verb = "bdat" if chunking else "data"
        wait_for(lambda: f" {verb}={COUNT} " in smtp.log(), what=f"{COUNT} by {verb}")
