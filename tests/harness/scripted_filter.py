"""A content filter that does what real ones won't, in the protocols of all three.

ScriptedFilter tells Rspamd's HTTP, clamd's INSTREAM and SPAMC apart by how a request begins, and
finds each message clean.  Scripts are as in scripted.py; what a pattern has to fit is the request
("POST /checkv2", "INSTREAM", "CHECK SPAMC/1.5"), which is acted on once all of the message is here,
or one of two points that stand in a script by name alone: "CONNECT", before anything is read, and
"BODY", when the first bytes of a message are here.

    ScriptedFilter({"POST *": http(b"", "503 Service Unavailable")})
    ScriptedFilter(CLAMD["size limit"], path=home / "socket")

RUBBISH, RSPAMD, CLAMD, SPAMD: {name: script} with nothing in them that is a verdict.
"""

import json
from dataclasses import dataclass

from .scripted import CLOSE, HANG, RESET, Drip, Endless, ScriptedServer

_POINTS = ("CONNECT", "BODY")


@dataclass
class Asked:
    """One request: its headers are pairs, as they came."""

    request: str
    headers: list
    message: bytes

    def header(self, name):
        """The values of a header."""
        return [value for one, value in self.headers if one.lower() == name.lower()]

    def size(self):
        return int((self.header("Content-Length") or ["0"])[0])


class ScriptedFilter(ScriptedServer):
    """`asked` is what it was asked, in order.  With `only`, what it answers to a request is the
    script's only for messages with these bytes in them."""

    def __init__(self, script=None, only=b"", **more):
        self.asked = []
        self.only = only
        super().__init__(script, **more)

    def _look_up(self, word):
        return super()._look_up(word) if word not in _POINTS or word in self.script else None

    def converse(self, talk):
        if self.scripted(talk, "CONNECT"):
            return
        asked, body, usual = (self._clamd if talk.some()[:1] in (b"z", b"n") else self._lines)(talk)
        talk.lines.append(asked.request)
        if body:
            talk.some()
            if self.scripted(talk, "BODY"):
                return
            asked.message = body(talk, asked)
        with self.lock:
            self.asked.append(asked)
        if self.only not in asked.message or not self.scripted(talk, asked.request):
            talk.send(usual)

    def _clamd(self, talk):
        """(the request, what reads its message if there is one, the usual answer)"""
        end = {b"z": b"\0", b"n": b"\n"}[talk.exactly(1)]
        command = talk.until(end).decode("latin-1")
        if command == "INSTREAM":
            return Asked(command, [], b""), self._pieces, b"stream: OK" + end
        return Asked(command, [], b""), None, (b"PONG" if command == "PING" else b"?") + end

    def _lines(self, talk):
        first, *lines = talk.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        http_request, _, version = first.rpartition(" ")
        spamc = version.startswith("SPAMC/")
        asked = Asked(first if spamc else http_request, headers, b"")
        usual = _spamd_usual(first) if spamc else verdict("no action")
        return asked, self._counted if asked.size() else None, usual

    @staticmethod
    def _pieces(talk, _):
        message = b""
        while size := int.from_bytes(talk.exactly(4), "big"):
            message += talk.exactly(size)
        return message

    @staticmethod
    def _counted(talk, asked):
        return talk.exactly(asked.size())


def http(body, status="200 OK", length=None, headers=()):
    """A reply; `length`, where it shall be another one, as text or number."""
    length = len(body) if length is None else length
    more = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode() + body


def verdict(action, **more):
    """What Rspamd answers, with other fields than the usual ones."""
    usual = {
        "is_skipped": False,
        "score": 0.0,
        "required_score": 15.0,
        "action": action,
        "symbols": {},
        "messages": {},
        "message-id": "undef",
        "time_real": 0.0002,
    }
    body = json.dumps(usual | more, separators=(",", ":")).encode()
    return http(body, headers=["Connection: close", "Content-Type: application/json"])


def _spamd_usual(first):
    if first.startswith("PING"):
        return b"SPAMD/1.5 0 PONG\r\n"
    return b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n"


def _each(pattern, replies):
    return {name: {pattern: reply} for name, reply in replies.items()}


# Of any of the three.
RUBBISH = {
    "silent": {"CONNECT": HANG},
    "closes": {"CONNECT": CLOSE},
    "resets": {"CONNECT": RESET},
    "closes within the message": {"BODY": CLOSE},
    "resets within the message": {"BODY": RESET},
    "silent within the message": {"BODY": HANG},
    **_each(
        "*",
        {
            "closes behind the message": CLOSE,
            "resets behind the message": RESET,
            "silent behind the message": HANG,
            "an empty line": b"\r\n",
            "every byte": bytes(range(256)) * 16,
            "another protocol": b"220 mail.example ESMTP\r\n",
            "endless": Endless(b"x" * 65536),
            "endless lines": Endless(b"x: y\r\n" * 10000),
            "endless NULs": Endless(bytes(65536)),
            "drips": Drip(b"x" * 100_000),
        },
    ),
}

_OK = b'{"action":"no action","score":0.0,"required_score":15.0,"symbols":{}}'
_HEAD = b"HTTP/1.1 200 OK\r\n"

RSPAMD = _each(
    "POST *",
    {
        "500": http(b'{"error":"oops","error_domain":"protocol-error"}', "500 oops"),
        "403": http(b'{"error":"Unauthorized"}', "403 Unauthorized"),
        "404": http(b"", "404 Not found"),
        "500 with a verdict": http(_OK, "500 oops"),
        "redirect": http(b"", "302 Found", headers=["Location: http://127.0.0.1:1/"]),
        "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "no status": b"HTTP/1.1\r\n\r\n" + _OK,
        "half a header": [_HEAD + b"Content-Le", CLOSE],
        "length too long": [http(_OK, length=len(_OK) + 1), CLOSE],
        "length too short": http(_OK, length=len(_OK) - 1),
        "length absurd": http(_OK, length="9" * 30),
        "length negative": http(_OK, length="-1"),
        "length no number": http(_OK, length="x"),
        "chunks that are none": _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + _OK,
        "endless header": [_HEAD, Endless(b"X-A: b\r\n" * 8192)],
        "endless body": [_HEAD + b"\r\n", Endless(b" " * 65536)],
        "endless JSON": [_HEAD + b'\r\n{"symbols":[', Endless(b"1," * 32768)],
        "drips": Drip(http(_OK + b" " * 100_000)),
        "empty": http(b""),
        "cut": http(_OK[:20]),
        "no JSON": http(b"<html>It works!</html>"),
        "bad UTF-8": http(b'{"action":"no action\xff"}'),
        "deep": http(b"[" * 100_000),
        "null": http(b"null"),
        "list": http(b"[%s]" % _OK),
        "text": http(b'"no action"'),
        "no action": http(b'{"score":0.0}'),
        "action no text": http(b'{"action":0}'),
        "action empty": http(b'{"action":""}'),
        "action unknown": http(b'{"action":"explode"}'),
        "error for a verdict": http(b'{"error":"oops"}'),
    },
)

CLAMD = _each(
    "INSTREAM",
    {
        "size limit": b"INSTREAM size limit exceeded. ERROR\0",
        "unknown command": b"UNKNOWN COMMAND\0",
        "timed out": b"COMMAND READ TIMED OUT\n",
        "error": b"stream: Can't allocate memory ERROR\0",
        "empty": b"\0",
        "unknown word": b"stream: MAYBE\0",
        "no name": b"OK\0",
        "cut": [b"stream: O", CLOSE],
        "without its end": [b"stream: OK", CLOSE],
        "found nothing": b"stream: FOUND\0",
        "drips": Drip(b"stream: " + b"x" * 100_000 + b" FOUND\0"),
        "endless name": [b"stream: ", Endless(b"x" * 65536)],
    },
) | {
    # as the real one does: it says why, and reads no further
    "size limit within the message": {"BODY": b"INSTREAM size limit exceeded. ERROR\0"},
}

_EX_OK = b"SPAMD/1.1 0 EX_OK\r\n"
_HAM = b"Spam: False ; 0.0 / 5.0\r\n\r\n"

SPAMD = _each(
    "* SPAMC/*",
    {
        "EX_TEMPFAIL": b"SPAMD/1.5 74 EX_TEMPFAIL\r\n\r\n",
        "EX_TIMEOUT": b"SPAMD/1.0 79 Timeout: (30 second timeout while trying to CHECK)\r\n",
        "EX_PROTOCOL": b"SPAMD/1.0 76 Bad header line: (Content-Length mismatch)\r\n",
        "unavailable": b"SPAMD/1.0 69 Service Unavailable: no\r\n",
        "error with a verdict": b"SPAMD/1.1 74 EX_IOERR\r\n" + _HAM,
        "code no number": b"SPAMD/1.1 x EX_OK\r\n" + _HAM,
        "cut": [b"SPAMD/1.1 0 EX", CLOSE],
        "half a header": [_EX_OK + b"Spam: Fal", CLOSE],
        "header without end": [_EX_OK + _HAM[:-2], CLOSE],
        "no verdict": _EX_OK + b"Content-length: 0\r\n\r\n",
        "verdict unknown": _EX_OK + b"Spam: Maybe ; 0.0 / 5.0\r\n\r\n",
        "score no number": _EX_OK + b"Spam: False ; x / y\r\n\r\n",
        "length too long": [_EX_OK + b"Content-length: 9\r\n" + _HAM + b"x", CLOSE],
        "length absurd": _EX_OK + b"Content-length: " + b"9" * 30 + b"\r\n" + _HAM,
        "length negative": _EX_OK + b"Content-length: -1\r\n" + _HAM,
        "endless header": [_EX_OK, Endless(b"X-A: b\r\n" * 8192)],
        "endless body": [_EX_OK + b"Content-length: 4000000000\r\n" + _HAM, Endless(bytes(65536))],
        "drips": Drip(_EX_OK + b"X: " + b"x" * 100_000),
    },
)
