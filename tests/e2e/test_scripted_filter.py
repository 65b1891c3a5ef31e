"""The content filter that plays the others wrongly: what it is told to do, it does."""

import socket

import pytest

from tests.harness.clamd import instream
from tests.harness.filter import exchange
from tests.harness.scripted import CLOSE, HANG, USUAL, Drip, Endless, times
from tests.harness.scripted_filter import (
    CLAMD,
    RSPAMD,
    RUBBISH,
    SPAMD,
    ScriptedFilter,
    http,
    verdict,
)
from tests.harness.spamd import request

RAW = b"From: a@origin.example\r\nSubject: hello\r\n\r\nNothing to see.\r\n"
POST = b"POST /checkv2 HTTP/1.1\r\nRcpt: <a>\r\nRcpt: <b>\r\nContent-Length: %d\r\n\r\n"
ASKS = {
    "POST /checkv2": lambda raw: POST % len(raw) + raw,
    "INSTREAM": instream,
    "CHECK SPAMC/1.5": lambda raw: request("CHECK", raw),
}
CLEAN = {
    "POST /checkv2": verdict("no action"),
    "INSTREAM": b"stream: OK\0",
    "CHECK SPAMC/1.5": b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n",
}
SCRIPTS = [
    (asks, name, script)
    for asks, table in zip(ASKS, (RUBBISH | RSPAMD, RUBBISH | CLAMD, RUBBISH | SPAMD))
    for name, script in table.items()
]


@pytest.mark.parametrize("asks", ASKS)
def test_finds_all_clean(asks):
    with ScriptedFilter() as server:
        assert exchange(server.port, ASKS[asks](RAW)) == CLEAN[asks]
        (asked,) = server.asked
        assert (asked.request, asked.message) == (asks, RAW)
        assert server.heard() == [asks]
        if asks == "POST /checkv2":
            assert asked.header("rcpt") == ["<a>", "<b>"]


def test_listens_on_a_socket(place):
    path = place / "scripted-filter"
    with ScriptedFilter({"INSTREAM": times(1, CLAMD["error"]["INSTREAM"])}, path=path):
        assert exchange(path, instream(b"x")).endswith(b" ERROR\0")
        assert exchange(path, instream(b"x")) == b"stream: OK\0"
        assert exchange(path, b"zPING\0") == b"PONG\0"


def test_acts_at_each_point():
    with ScriptedFilter({"CONNECT": times(1, CLOSE), "BODY": [b"early ", USUAL]}) as server:
        ask = ASKS["CHECK SPAMC/1.5"](RAW)
        assert exchange(server.port, ask) == b""
        assert exchange(server.port, ask) == b"early " + CLEAN["CHECK SPAMC/1.5"]
        assert len(server.asked) == 1
        server.script = {"*": http(b"no", "503 busy")}
        assert exchange(server.port, ask) == b"HTTP/1.1 503 busy\r\nContent-Length: 2\r\n\r\nno"


def begin(port, data, enough, patience):
    """What comes back at first: `enough` bytes, or less when it ends or there is a silence."""
    heard = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as sock:
            sock.sendall(data)
            while len(heard) < enough and (more := sock.recv(65536)):
                heard += more
    except OSError:
        pass
    return heard


def test_talks_rubbish():
    """Each script is played, and none of them is a verdict."""
    for asks, name, script in SCRIPTS:
        (reply,) = script.values()
        steps = reply if isinstance(reply, list) else [reply]
        said = b"".join(one for one in steps if isinstance(one, bytes))
        more = any(isinstance(one, (Drip, Endless)) for one in steps)
        with ScriptedFilter(script) as server:
            patience = 0.1 if HANG in steps else 20
            heard = begin(server.port, ASKS[asks](RAW), len(said) + 2, patience)
        assert heard.startswith(said) and heard != CLEAN[asks], (asks, name)
        assert (len(heard) > len(said)) == more, (asks, name)
