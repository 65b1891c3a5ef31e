"""What comes with a message, from a filter, a server, or even from a daemon, steers no terminal."""

import base64
import json

import pytest

from tests.harness.quarantine import mail
from tests.harness.scripted_daemon import ScriptedDaemon
from tests.harness.scripted_filter import verdict
from tests.harness.terminal import on_terminal, steers

# clear the screen, set the title, answer back, go up: by ESC, by C1, as UTF-8; and the rest
EVIL = "\x1b[2J\x1b]0;title\x07\x1bP\x9b1A\x9d\u202egnp.exe\u2066\u200f\x7f\x08\x0e\r\x00!"
SAID = EVIL.replace("\x00", "").replace("\r", "")  # what can stand in a line
RAW = SAID.encode("latin-1", "ignore") + SAID.encode()
WORD = "=?utf-8?b?" + base64.b64encode(EVIL.encode()).decode() + "?="
LATIN = "=?iso-8859-1?q?=1B[2J=9B1A=0D=7F?="
ESCAPED = "utf-8''" + "".join(f"%{byte:02X}" for byte in EVIL.encode())

HEAD = b"\r\n".join(
    [
        b"From: %s <evil@origin.example>" % WORD.encode(),
        b"Sender: \"%s\" <evil@origin.example>" % RAW,
        b"Reply-To: %s" % RAW,
        b"To: %s <to@o.example>, \"%s\" <x@o.example>" % (LATIN.encode(), RAW),
        b"Cc: %s" % LATIN.encode(),
        b"Date: %s" % RAW,
        b"Message-ID: <%s@x>" % RAW,
    ]
)
PARTS = b"\r\n".join(
    [
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/mixed; boundary="b"',
        b"",
        b"--b",
        b'Content-Type: text/plain; charset="%s"; name="%s"' % (RAW, RAW),
        b"",
        RAW,
        EVIL.encode(),
        b"--b",
        b"Content-Type: te%sxt/pl%sain; name*=%s" % (RAW, RAW, ESCAPED.encode()),
        b"",
        b"--b",
        b'Content-Type: image/png; name="%s"' % WORD.encode(),
        b"Content-Disposition: attachment; filename*=%s" % ESCAPED.encode(),
        b"",
        b"--b--",
        b"",
    ]
)
HTML = "".join(f"&#{ord(c)};" for c in EVIL) + "&#x1b;[2J&#155;&#x202e;" + SAID


def message(subject, rest):
    return HEAD + b"\r\nSubject: " + subject + b"\r\n" + rest


MESSAGES = [
    message(RAW, PARTS),
    message(WORD.encode(), b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n" + RAW),
    message(LATIN.encode(), b"Content-Type: text/html; charset=utf-8\r\n\r\n" + HTML.encode()),
    message(SAID.encode(), b"\r\n" + EVIL.encode() + b"\r\n\tindented\r\n"),
    message(b"utf-7", b"Content-Type: text/plain; charset=utf-7\r\n\r\n+ABs-[2J+AJs-1A+IC4-\r\n"),
    message(b"utf-16", b"Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + EVIL.encode("utf-16-le")),
]
SYMBOLS = {SAID: {"name": SAID, "score": 6.0, "description": SAID}}
REJECT = {"POST *": verdict("reject", score=17.3, symbols=SYMBOLS, messages={"smtp_message": SAID})}


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
def test_no_message_steers_a_terminal(quarantine, colour):
    q = quarantine({"acc": MESSAGES}, script=REJECT, reviewer="boss@corp.example")
    ids = [row["id"] for row in q.ferry.badmail()]
    commands = [["show", id_, *more] for id_ in ids for more in ([], ["-v"], ["--json"])]
    commands += [
        ["list"], ["list", "--json"], ["list", "--sort", "subject"], ["list", "--sender", SAID],
        ["digest"], ["digest", "--by", "reason"], ["digest", "--json"],
        ["replay", "--dry-run", *ids], ["replay", "--sender", "evil", "--dry-run", "--to", SAID],
        ["replay", ids[0], "--to", SAID], ["delete", "--dry-run", "--sender", "evil"],
        ["delete", "--sender", "evil"], ["show", SAID], ["list", "--sort", SAID],
        ["list", "--older", SAID], ["digest", "--by", SAID], ["export", ids[0]],
        ["export", ids[0], "--output", f"/{SAID}/x"],
    ]  # fmt: skip
    for command in commands:
        for columns in (80, 300):
            code, out = on_terminal(
                q.ferry, "badmail", *command, answer=b"n\n", columns=columns, colour=colour
            )
            assert out and not steers(out, colour), (command, code)
    shown = b"".join(on_terminal(q.ferry, "badmail", "show", id_, columns=400)[1] for id_ in ids)
    assert shown.count(rb"\x1B") > 40 and rb"\u{009B}" in shown and rb"\u{202E}" in shown
    assert b"image/png" in shown and b"\tindented" not in shown


def test_nor_does_what_a_server_says(quarantine):
    """The refusal is the reason; the digest by mail has it in a text."""
    q = quarantine({"acc": [mail("one")]}, reviewer="boss@corp.example")
    q.smtp.script["."] = b"554 5.7.1 " + RAW + b"\r\n"
    q.ferry.ctl_ok("badmail", "replay", q.ids["one"])
    q.ferry.drain()
    (row,) = q.ferry.wait_badmail(1)
    for command in (["list"], ["show", row["id"]], ["digest"], ["delete", "--dry-run", "--reason", "5.7.1"]):
        code, out = on_terminal(q.ferry, "badmail", *command, columns=300)
        assert code == 0 and b"title" in out and not steers(out), command
    q.smtp.script.clear()
    q.ferry.ctl_ok("badmail", "digest", "--mail")
    ((*_, raw),) = q.wait_arrived(1)
    assert not steers(raw.replace(b"\r\n", b"\n"))


def lie(request):
    """Every text that there is in the answers is a bad one."""
    item = dict.fromkeys(("account", "sender", "subject", "reason", "decided_by", "origin", "path"), EVIL)
    item |= dict.fromkeys(("unreadable", "replayed_as", "replay_of", "report_of", "cut", "preview_of"), EVIL)
    item |= {"id": EVIL, "at": EVIL, "state": "held", "size": 1, "recipients": [EVIL, EVIL]}
    symbols = [{"name": EVIL, "score": 1, "description": EVIL}]
    verdict_ = {"filter": EVIL, "word": EVIL, "score": 1, "text": f"{EVIL}\n{EVIL}", "symbols": symbols}
    part = {"depth": -5, "type": EVIL, "name": EVIL, "charset": EVIL, "size": -1, "attachment": True}
    answers = {
        "badmail.list": {"items": [item]},
        "badmail.show": item | {
            "report": [verdict_], "headers": {"From": EVIL, "Subject": EVIL},
            "preview": [EVIL, EVIL], "left_out": [EVIL],
        },
        "badmail.parts": {"items": [part, part | {"depth": 1 << 40}]},
        "badmail.digest": {"text": f"{EVIL}\n{EVIL}\n", "mailed_to": EVIL, "name": EVIL},
        "badmail.recipients": {"to": [EVIL]},
        "badmail.replay": {"replayed": {EVIL.strip("\x00!"): EVIL}, "failed": {"\x1b[2J": EVIL}},
        "badmail.delete": {"deleted": [EVIL], "failed": {"\x1b[2J": EVIL}},
        "badmail.export": {"data": EVIL, "size": 3, "blake2b": EVIL},
    }  # fmt: skip
    return json.loads(json.dumps({"ok": True} | answers[request["cmd"]]).replace("\\u0000", ""))


def test_nor_does_a_daemon(make_ferry, smtp):
    ferry = make_ferry(smtp.port, start=False)
    id_ = "0" * 26
    with ScriptedDaemon(ferry, "hygiene", lie) as hygiene:
        for command in (
            ["list"], ["list", "--sort", "size"], ["show", id_], ["show", id_, "-v"],
            ["replay", id_], ["delete", id_], ["replay", id_, "--dry-run"], ["digest"],
            ["replay", id_, "--dry-run", "--to", "x"],
            ["digest", "--mail"], ["delete", "--sender", "x"],
            ["export", id_, "--output", ferry.home / "x"],
        ):  # fmt: skip
            _, out = on_terminal(ferry, "badmail", *command, answer=b"n\n", columns=300)
            assert out and not steers(out), command
        assert {one["cmd"] for one in hygiene.asked} == {
            "badmail." + name
            for name in ("list", "show", "parts", "recipients", "replay", "delete", "digest", "export")
        }


def test_what_a_daemon_leaves_is_sent_again(make_ferry, smtp):
    """It does as many as its time allows; one that does none is not asked for ever."""
    ferry = make_ferry(smtp.port, start=False)
    ids = [f"{n:026}" for n in range(120)]
    able = 7

    def some(request):
        done, left = request["ids"][:able], request["ids"][able:]
        return {"ok": True, "deleted": done, "failed": {}} | ({"left": left} if left else {})

    with ScriptedDaemon(ferry, "hygiene", some) as hygiene:
        assert ferry.ctl_json("badmail", "delete", *ids)["deleted"] == ids
        assert max(len(one["ids"]) for one in hygiene.asked) == 50
        able = 0
        code, _, err = ferry.ctl("badmail", "delete", *ids)
        assert code == 1 and "too long" in err
