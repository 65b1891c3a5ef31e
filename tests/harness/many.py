"""An honest POP3 server over TLS for very many mailboxes, in a process of its own.

    with ManyPop3(certificate, key, ports=20) as server:
        server.ports, server.hanging_port
        server.stats()   # {"sessions", "most_at_once", "most_at_one_port", "mail", "hanging"}

Every user is let in and has a mailbox per port; fill(n) puts a message into the mailbox of every
n-th user that logs in from then on.  hold(n) lets nobody in until n sessions are open at once.
Whoever connects to the hanging port is never greeted, and counts among the open sessions.
"""

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
PAUSE = 0.01  # the server's time to think, so that sessions overlap as they do in life


class ManyPop3:
    def __init__(self, certificate, key, ports):
        argv = [sys.executable, "-B", "-m", "tests.harness.many", certificate, key, str(ports)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=TOP)
        *self.ports, self.hanging_port = json.loads(self._process.stdout.readline())

    def _ask(self, *what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stats(self):
        return self._ask("stats")

    def fill(self, n):
        return self._ask("fill", n)

    def hold(self, n):
        return self._ask("hold", n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)


class _Server:
    def __init__(self):
        self.open = {}
        self.figures = dict.fromkeys(("sessions", "most_at_once", "most_at_one_port", "mail"), 0)
        self.mail = {}
        self.every = 0
        self.hanging_port = 0
        self.awaited = 0
        self.let_in = asyncio.Event()
        self.let_in.set()

    def stats(self):
        return self.figures | {"hanging": self.open.get(self.hanging_port, 0)}

    def hold(self, n):
        self.awaited = n
        self.let_in.clear()

    def deliver(self, user):
        self.figures["mail"] += 1
        self.mail[user] = f"Subject: {self.figures['mail']}\r\n\r\nfor {user}\r\n".encode()

    async def session(self, reader, writer):
        port = writer.get_extra_info("sockname")[1]
        if port == self.hanging_port:
            await asyncio.sleep(PAUSE)  # the end of the one before may still be unread
        self.open[port] = self.open.get(port, 0) + 1
        figures, now = self.figures, sum(self.open.values())
        figures["sessions"] += port != self.hanging_port
        figures["most_at_once"] = max(figures["most_at_once"], now)
        figures["most_at_one_port"] = max(figures["most_at_one_port"], self.open[port])
        if now >= self.awaited:
            self.let_in.set()
        try:
            if port == self.hanging_port:
                await reader.read()
            else:
                await self.converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open[port] -= 1
            writer.close()

    async def converse(self, reader, writer):
        self_user, deleted = "", False
        writer.write(b"+OK ready\r\n")
        while True:
            line = (await reader.readline()).decode().split()
            if not line:
                return
            word, mail = line[0], self.mail.get(self_user)
            size = len(mail) if mail else 0
            if word == "CAPA":
                writer.write(b"+OK\r\nUIDL\r\nUSER\r\nPIPELINING\r\n.\r\n")
            elif word == "USER":
                self_user = line[1]
                if self.every and int(self_user.strip("u")) % self.every == 0:
                    self.deliver(self_user)
                writer.write(b"+OK\r\n")
            elif word == "PASS":
                await asyncio.sleep(PAUSE)
                await self.let_in.wait()
                writer.write(b"+OK\r\n")
            elif word == "STAT":
                writer.write(b"+OK %d %d\r\n" % (bool(mail), size))
            elif word == "LIST":
                writer.write(b"+OK\r\n" + (b"1 %d\r\n" % size if mail else b"") + b".\r\n")
            elif word == "UIDL":
                uidl = b"1 %08x\r\n" % (hash(mail) & 0xFFFFFFFF) if mail else b""
                writer.write(b"+OK\r\n" + uidl + b".\r\n")
            elif word == "RETR":
                writer.write(b"+OK\r\n" + mail + b".\r\n")
            elif word == "DELE":
                deleted = True
                writer.write(b"+OK\r\n")
            elif word == "QUIT":
                if deleted:
                    self.mail.pop(self_user, None)
                writer.write(b"+OK\r\n")
                return
            else:
                writer.write(b"-ERR\r\n")


async def _serve(certificate, key, ports):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    here = _Server()

    async def listen(tls):
        one = await asyncio.start_server(here.session, "127.0.0.1", 0, ssl=tls, backlog=128)
        return one, one.sockets[0].getsockname()[1]

    listeners = [await listen(context) for _ in range(int(ports))] + [await listen(None)]
    here.hanging_port = listeners[-1][1]
    print(json.dumps([port for _, port in listeners]), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what = json.loads(line)
        if what[0] == "fill":
            here.every = what[1]
        elif what[0] == "hold":
            here.hold(what[1])
        print(json.dumps(here.stats()), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
