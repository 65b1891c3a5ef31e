"""A private clamd that knows one virus, the EICAR text, and no other database."""

import struct

from .filter import EICAR, Filter, exchange

_CONF = """\
Foreground yes
LogTime yes
LogClean yes
DatabaseDirectory {home}/db
TemporaryDirectory {home}/tmp
LocalSocket {home}/socket
LocalSocketMode 666
TCPAddr 127.0.0.1
TCPSocket {port}
StreamMaxLength {stream_max}
CommandReadTimeout {patience}
ReadTimeout {patience}
MaxThreads {threads}
ConcurrentDatabaseReload no
SelfCheck 0
Bytecode no
PhishingSignatures no
"""


def instream(raw, piece=65536, command=b"zINSTREAM\0"):
    """The bytes that ask about a message."""
    pieces = [raw[at : at + piece] for at in range(0, len(raw), piece)]
    return command + b"".join(struct.pack(">I", len(one)) + one for one in [*pieces, b""])


class Clamd(Filter):
    """stream_max as StreamMaxLength ("100M", bytes); patience in seconds, with a client that is
    silent."""

    packages = ("clamav-daemon",)

    def __init__(self, home, stream_max="100M", patience=30, threads=4):
        super().__init__(home)
        self._conf = self.home / "etc/clamd.conf"
        more = {"stream_max": stream_max, "patience": patience, "threads": threads}
        self._conf.write_text(_CONF.format(home=self.home, port=self.port, **more))
        (self.home / "db").mkdir()
        (self.home / "db/tests.ndb").write_text(f"Eicar-Test-Text:0:*:{EICAR.hex()}\n")

    def argv(self):
        return [self.unpacked("usr/sbin/clamd"), "-c", self._conf]

    def answers(self):
        return {exchange(one, b"zPING\0") for one in (self.socket, self.port)} == {b"PONG\0"}

    def scan(self, raw, address=None, **more):
        """Its reply about a message, without the NUL that ends it."""
        return exchange(address or self.socket, instream(raw, **more)).removesuffix(b"\0").decode()
