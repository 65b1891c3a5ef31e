"""POP3 and SMTP servers that do what real ones won't: wrong answers, silence, endless lines.

Each behaves well by default.  A script, {pattern: reply}, says where it does not: the first pattern
(fnmatch, upper case) that a command fits gives the answer to send instead of the usual one, as raw
bytes with their own line ends, or an action: CLOSE, RESET, HANG, Endless(...), Drip(...); a list is
done one thing after the other.  times(n, reply) wears out after n uses.

    ScriptedPop3([b"..."], {"RETR 2": b"-ERR no such message\r\n"})
    ScriptedSmtp({"GREETING": [b"421 busy\r\n", CLOSE]})
"""

import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase

CLOSE, RESET, HANG, USUAL = "CLOSE", "RESET", "HANG", "USUAL"


@dataclass
class Endless:
    """Send `piece` again and again until the client hangs up (or `limit` bytes are sent)."""

    piece: bytes
    limit: int = 1 << 30


@dataclass
class Drip:
    """Send `data` a byte at a time, `pause` seconds between them."""

    data: bytes
    pause: float = 0.3


@dataclass
class times:
    """Use `reply` n times, then the usual answer."""

    n: int
    reply: object


class Gone(Exception):
    """The conversation is over."""


class Conversation:
    """One client.  `lines` is what it said, in order."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.lines = []
        self.raw = b""
        self.encrypted = self.resumed = False
        self._buffer = b""

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def recv(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Gone
        self.raw += data
        self._buffer += data

    def line(self):
        while b"\n" not in self._buffer:
            self.recv()
        line, self._buffer = self._buffer.split(b"\n", 1)
        self.lines.append(line.rstrip(b"\r").decode("utf-8", "replace"))
        return self.lines[-1]

    def exactly(self, count):
        while len(self._buffer) < count:
            self.recv()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def until(self, mark):
        while mark not in self._buffer:
            self.recv()
        data, self._buffer = self._buffer.split(mark, 1)
        return data

    def some(self):
        """Waits until there is something to read."""
        while not self._buffer:
            self.recv()
        return self._buffer

    def start_tls(self):
        try:
            self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError):
            raise Gone from None
        self.encrypted = True
        self.resumed = self.sock.session_reused
        self._buffer = b""

    def act(self, reply):
        """Do what the script says; True when the usual answer is wanted as well."""
        usual = False
        for step in reply if isinstance(reply, list) else [reply]:
            if step == CLOSE:
                raise Gone
            elif step == RESET:
                linger = struct.pack("ii", 1, 0)
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                raise Gone
            elif step == HANG:
                self.server.stopping.wait()
                raise Gone
            elif step == USUAL:
                usual = True
            elif isinstance(step, Endless):
                for _ in range(step.limit // len(step.piece)):
                    self.send(step.piece)
            elif isinstance(step, Drip):
                for byte in step.data:
                    self.send(bytes([byte]))
                    if self.server.stopping.wait(step.pause):
                        raise Gone
            else:
                self.send(step)
        return usual


class ScriptedServer:
    """Accepts, and lives through one conversation in a thread each.  With `path` it listens on that
    Unix socket."""

    def __init__(self, script=None, tls=None, implicit=False, port=0, path=None):
        self.script = dict(script or {})
        self.tls = tls and _server_context(tls)
        self.implicit = implicit
        self.conversations = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        if path:
            self._listener = socket.create_server(str(path), family=socket.AF_UNIX, backlog=128)
        else:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
            self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            conversation = Conversation(self, sock)
            with self.lock:
                self.conversations.append(conversation)
            threading.Thread(target=self._serve, args=(conversation,), daemon=True).start()

    def _serve(self, conversation):
        try:
            if self.implicit:
                conversation.start_tls()
            self.converse(conversation)
        except Gone:
            pass
        finally:
            conversation.sock.close()

    def scripted(self, conversation, word):
        """Act by the script.  True when the command has been answered already."""
        with self.lock:
            reply = self._look_up(word)
        return reply is not None and not conversation.act(reply)

    def _look_up(self, word):
        for pattern, reply in self.script.items():
            if fnmatchcase(word.upper(), pattern.upper()):
                if not isinstance(reply, times):
                    return reply
                if reply.n > 0:
                    reply.n -= 1
                    return reply.reply
        return None

    def heard(self, pattern="*"):
        """Every line that any client said and that fits."""
        said = (line for one in list(self.conversations) for line in list(one.lines))
        return [line for line in said if fnmatchcase(line.upper(), pattern.upper())]

    def stop(self):
        self.stopping.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _server_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


class ScriptedPop3(ScriptedServer):
    """`messages` as they are to be sent, dot-stuffed here, or lists of what to do when they are
    asked for; each gets the UIDL "uid-N".  CAPA lists
    `capabilities`.  What was DELEd goes at QUIT."""

    def __init__(
        self, messages=(), script=None, capabilities=("UIDL", "USER", "PIPELINING"), **more
    ):
        self.mailbox = {f"uid-{at}": raw for at, raw in enumerate(messages, 1)}
        self.capabilities = list(capabilities)
        super().__init__(script, **more)

    def converse(self, talk):
        if not self.scripted(talk, "GREETING"):
            talk.send(b"+OK ready\r\n")
        listing, deleted = list(self.mailbox.items()), set()
        while True:
            line = talk.line()
            if self.scripted(talk, line):
                continue
            verb, _, rest = line.partition(" ")
            answer = getattr(self, "do_" + verb.lower(), None)
            if not answer:
                talk.send(b"-ERR what?\r\n")
            elif answer(talk, rest, listing, deleted):
                return

    def do_capa(self, talk, *_):
        extra = ["STLS"] if self.tls and not talk.encrypted else []
        lines = "".join(f"{word}\r\n" for word in self.capabilities + extra)
        talk.send(b"+OK\r\n" + lines.encode() + b".\r\n")

    def do_stls(self, talk, *_):
        if not self.tls or talk.encrypted:
            talk.send(b"-ERR no\r\n")
        else:
            talk.send(b"+OK go ahead\r\n")
            talk.start_tls()

    def do_user(self, talk, *_):
        talk.send(b"+OK\r\n")

    do_pass = do_noop = do_user

    def do_stat(self, talk, _, listing, deleted):
        left = [raw for at, (_, raw) in enumerate(listing, 1) if at not in deleted]
        talk.send(b"+OK %d %d\r\n" % (len(left), sum(map(_size, left))))

    def _listing(self, talk, rest, listing, deleted, show):
        rows = {at: show(*item) for at, item in enumerate(listing, 1) if at not in deleted}
        if rest:
            number = int(rest)
            known = number in rows
            talk.send(f"+OK {number} {rows[number]}\r\n".encode() if known else b"-ERR no such\r\n")
        else:
            lines = "".join(f"{at} {text}\r\n" for at, text in rows.items())
            talk.send(b"+OK\r\n" + lines.encode() + b".\r\n")

    def do_list(self, talk, rest, listing, deleted):
        self._listing(talk, rest, listing, deleted, lambda uid, raw: _size(raw))

    def do_uidl(self, talk, rest, listing, deleted):
        self._listing(talk, rest, listing, deleted, lambda uid, raw: uid)

    def do_retr(self, talk, rest, listing, deleted):
        if not 1 <= int(rest) <= len(listing):
            talk.send(b"-ERR no such message\r\n")
            return
        raw = listing[int(rest) - 1][1]
        if isinstance(raw, list):
            talk.act(raw)
        else:
            talk.send(b"+OK here it is\r\n" + stuffed(raw) + b".\r\n")

    def do_dele(self, talk, rest, listing, deleted):
        deleted.add(int(rest))
        talk.send(b"+OK gone\r\n")

    def do_rset(self, talk, rest, listing, deleted):
        deleted.clear()
        talk.send(b"+OK\r\n")

    def do_quit(self, talk, rest, listing, deleted):
        with self.lock:
            for at in deleted & set(range(1, len(listing) + 1)):
                self.mailbox.pop(listing[at - 1][0], None)
        talk.send(b"+OK bye\r\n")
        return True


class Keeping(ScriptedPop3):
    """Confirms deletions, and keeps the mail."""

    def do_quit(self, talk, rest, listing, deleted):
        deleted.clear()
        super().do_quit(talk, rest, listing, deleted)


class Numbered(ScriptedPop3):
    """A server whose UIDLs are the messages' numbers."""

    def do_uidl(self, talk, rest, listing, deleted):
        numbers = iter(range(1, len(listing) + 1))
        self._listing(talk, rest, listing, deleted, lambda *_: next(numbers))


def _size(raw):
    return 1000 if isinstance(raw, list) else len(raw)


def stuffed(raw):
    """Dot-stuffed and ended by CRLF, for sending."""
    text = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


class ScriptedSmtp(ScriptedServer):
    """Accepts everything, LMTP and BDAT too; `accepted` is [(sender, [recipient, ...], message
    bytes)], unstuffed, in LMTP for each recipient by itself.
    "GREETING" and "." (the end of a message) may be scripted like commands."""

    def __init__(self, script=None, extensions=("PIPELINING", "8BITMIME", "SIZE 52428800"), **more):
        self.extensions = list(extensions)
        self.accepted = []
        super().__init__(script, **more)

    def converse(self, talk):
        if not self.scripted(talk, "GREETING"):
            talk.send(b"220 scripted.example ESMTP\r\n")
        talk.sender, talk.recipients, talk.chunks, talk.lmtp = None, [], b"", False
        while True:
            line = talk.line()
            verb = line.split(" ", 1)[0].lower()
            if self.scripted(talk, line):
                continue
            answer = getattr(self, "do_" + verb, None)
            if not answer:
                talk.send(b"502 5.5.2 unknown\r\n")
            elif answer(talk, line):
                return

    def do_ehlo(self, talk, _):
        extra = ["STARTTLS"] if self.tls and not talk.encrypted else []
        words = ["scripted.example", *self.extensions, *extra]
        marks = ["-"] * (len(words) - 1) + [" "]
        talk.send("".join(f"250{m}{w}\r\n" for m, w in zip(marks, words)).encode())

    def do_starttls(self, talk, _):
        if not self.tls or talk.encrypted:
            talk.send(b"502 5.5.1 no\r\n")
        else:
            talk.send(b"220 2.0.0 go ahead\r\n")
            talk.start_tls()

    def do_lhlo(self, talk, line):
        talk.lmtp = True
        self.do_ehlo(talk, line)

    def do_helo(self, talk, _):
        talk.send(b"250 scripted.example\r\n")

    def do_mail(self, talk, line):
        talk.sender, talk.recipients = _path(line), []
        talk.send(b"250 2.1.0 fine\r\n")

    def do_rcpt(self, talk, line):
        talk.recipients.append(_path(line))
        talk.send(b"250 2.1.5 fine\r\n")

    def do_data(self, talk, _):
        if not talk.recipients:
            talk.send(b"554 5.5.1 no recipients\r\n")
            return
        talk.send(b"354 go ahead\r\n")
        # the empty message is ".\r\n" at once
        talk._buffer = b"\r\n" + talk._buffer
        raw = talk.until(b"\r\n.\r\n") + b"\r\n"
        talk.lines.append(".")
        self._finish(talk, raw.replace(b"\r\n.", b"\r\n")[2:])

    def do_bdat(self, talk, line):
        words = line.split()
        talk.chunks += talk.exactly(int(words[1]))
        if words[-1].upper() != "LAST":
            talk.send(b"250 2.0.0 more\r\n")
            return
        talk.lines.append(".")
        message, talk.chunks = talk.chunks, b""
        self._finish(talk, message)

    def _finish(self, talk, message):
        """The end of a message; in LMTP with a reply to each recipient, scripted as ". ADDRESS"."""
        for recipient in talk.recipients if talk.lmtp else [None]:
            if self.scripted(talk, f". {recipient}" if talk.lmtp else "."):
                continue
            with self.lock:
                to = [recipient] if talk.lmtp else talk.recipients
                self.accepted.append((talk.sender, to, message))
            talk.send(b"250 2.0.0 taken\r\n")

    def do_rset(self, talk, _):
        talk.sender, talk.recipients = None, []
        talk.send(b"250 2.0.0 ok\r\n")

    def do_xclient(self, talk, _):
        talk.send(b"220 scripted.example ESMTP\r\n")

    def do_noop(self, talk, _):
        talk.send(b"250 2.0.0 ok\r\n")

    do_xforward = do_noop

    def do_quit(self, talk, _):
        talk.send(b"221 2.0.0 bye\r\n")
        return True


def _path(line):
    return line.partition("<")[2].rpartition(">")[0]
