"""The sample messages: which mailbox each lies in, and what must become of it."""

import re
from dataclasses import dataclass

from tests.harness.mail import DATA, corpus, normalised, odd_shapes, sized

DELIVERED, BADMAIL, REPLAYED, STAYS = "delivered", "badmail", "replayed", "stays"
WRITTEN = DATA / "messages"


_PLAIN_SENDER = re.compile(
    rb"(?mi)^(?:Return-Path|From):[^\n]*<[\w.+-]+@[\w-]+(?:\.[\w-]+)+>[ \t]*\r?$"
)


@dataclass
class Sample:
    mailbox: str
    name: str
    raw: bytes
    fate: str = DELIVERED
    served: bytes = b""  # as the POP3 server gives it; known when it is dropped there

    def as_dumped(self):
        """The bytes that smtp-sink keeps of it: normalised, and without any CR."""
        return normalised(self.served).replace(b"\r", b"")


def has_plain_sender(raw):
    header = re.split(rb"\r?\n\r?\n", raw, 1)[0] + b"\n"
    return _PLAIN_SENDER.search(header) is not None


def samples():
    """A message that the company's server will refuse at first; forty odd but honest ones out of
    the corpus; and an inbox of hard cases: odd shapes, large ones, one that is too large, and
    one whose sender is no address."""
    found = [Sample("invoices", "invoice", (WRITTEN / "invoice.eml").read_bytes(), REPLAYED)]
    honest = [(name, raw) for name, raw in corpus() if has_plain_sender(raw)]
    found += [Sample("sales", name, raw) for name, raw in honest[:40]]
    shapes = [(name, raw) for name, raw in odd_shapes() if raw.startswith(b"From: ")]
    found += [Sample("info", name, raw) for name, raw in shapes]
    found += [Sample("info", f"{size} bytes", sized(size)) for size in (1_000_000, 4_000_000)]
    hopeless = (WRITTEN / "hopeless-sender.eml").read_bytes()
    found.append(Sample("info", "hopeless sender", hopeless, BADMAIL))
    found.append(Sample("info", "10.5 MB", sized(10_752 * 1024), STAYS))
    return found
