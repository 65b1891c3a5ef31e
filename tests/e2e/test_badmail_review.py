"""Looking through quarantine: lists by what is sought, one message in full, its octets, a digest."""

import email
import email.policy
import subprocess

import pytest

from tests.harness.mail import normalised
from tests.harness.popferry import BIN, EXIT_FAILED, EXIT_USAGE
from tests.harness.process import wait_for
from tests.harness.quarantine import mail
from tests.harness.terminal import on_terminal

INVOICE = normalised(
    """From: =?utf-8?q?M=C3=BCller_GmbH?= <rechnung@mueller.example>
To: sales@corp.example
Subject: =?utf-8?q?Rechnung_f=C3=BCr_Oktober?=
Message-ID: <1@mueller.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1

--b1
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

anbei die Rechnung f=FCr Oktober.
--b1
Content-Type: application/zip
Content-Disposition: attachment; filename="Rechnung.pdf.exe"
Content-Transfer-Encoding: base64

UEsDBAoAAAAAAA==
--b1--
""".encode()
)


@pytest.fixture
def five(quarantine):
    """Of two accounts, several senders and sizes, by two rules; from youngest to oldest."""
    messages = {
        "sales": [
            mail("offer A", "ann@origin.example", "x" * 300),
            mail("=?utf-8?q?=C3=84rger?=", "bob@Elsewhere.example", "x" * 100),
            mail("offer c", "carl@origin.example", "x" * 200),
        ],
        "support": [
            mail("Zebra", "dora@origin.example", "x" * 400),
            mail("nul", "emil@origin.example", "x\0x"),
        ],
    }
    q = quarantine(messages, nul="badmail")
    q.age({"offer A": 0.5, "Ärger": 1.5, "offer c": 3, "Zebra": 10, "nul": 20})
    return q


def test_lists_by_what_is_sought(five):
    for options, subjects in (
        ([], {"offer A", "Ärger", "offer c", "Zebra", "nul"}),
        (["--account", "support"], {"Zebra", "nul"}),
        (["--sender", "ELSEWHERE"], {"Ärger"}),
        (["--subject", "ärg"], {"Ärger"}),
        (["--subject", "a\u0308RGER"], {"Ärger"}),
        (["--subject", "offer", "--newer", "1d"], {"offer A"}),
        (["--decided-by", "form"], {"nul"}),
        (["--decided-by", "form:nul"], {"nul"}),
        (["--decided-by", "Form:Nul"], {"nul"}),
        (["--decided-by", "unknown"], set()),
        (["--decided-by", "rspamd", "--older", "2d"], {"offer c", "Zebra"}),
        (["--reason", "symbol_1", "--older", "5d"], {"Zebra"}),
        (["--older", "1d", "--newer", "4d"], {"Ärger", "offer c"}),
        (["--subject", "%"], set()),
        (["--state", "expired"], set()),
    ):
        found = five.subjects(*options)
        assert set(found) == subjects and len(found) == len(subjects), options


def test_sorts(five):
    for by, subjects in (
        ("age", ["offer A", "Ärger", "offer c", "Zebra", "nul"]),
        ("subject", ["nul", "offer A", "offer c", "Zebra", "Ärger"]),
        ("sender", ["offer A", "Ärger", "offer c", "Zebra", "nul"]),
        ("size", ["nul", "Ärger", "offer c", "offer A", "Zebra"]),
    ):
        assert five.subjects("--sort", by) == subjects, by
        assert five.subjects("--sort", by, "--reverse") == subjects[::-1], by
    ids = sorted(five.ids.values())
    listed = lambda *more: [r["id"] for r in five.ferry.ctl_json("badmail", "list", *more)]  # noqa: E731
    assert listed() == listed("--sort", "id") == ids and listed("--reverse") == ids[::-1]
    accounts = five.ferry.ctl_json("badmail", "list", "--sort", "account")
    assert [row["account"] for row in accounts] == ["sales"] * 3 + ["support"] * 2
    out = five.ferry.ctl_ok("badmail", "list", "--sort", "size", "--sender", "origin.example")
    assert out.index("nul") < out.index("offer c") < out.index("offer A") < out.index("Zebra")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--sort", "colour"], "--sort colour"),
        (["--older", "soon"], "--older soon"),
        (["--newer", "3"], "--newer 3"),
        (["--state", "gone"], "state"),
        (["--decided-by", "rspmd"], "rspamd, clamd, spamd, relay, form, form:nul"),
        (["--decided-by", "form:"], "form:bad-sender"),
        (["--sender", ""], "sender"),
        (["--to", "a@b.example"], "--to"),
    ],
)
def test_what_is_no_list(ferry, options, said):
    code, out, err = ferry.ctl("badmail", "list", *options)
    assert (code, out) == (EXIT_USAGE, "") and said in err


def test_show(quarantine):
    q = quarantine({"acc": [INVOICE]})
    (id_,) = q.ids.values()
    shown = q.ferry.ctl_ok("badmail", "show", id_)
    for text in (
        "reject: 17.3 points", "17.3 of 15.0", "SYMBOL_0", "sign number 0", "and 4 more",
        "Müller GmbH <rechnung@mueller.example>", "Rechnung für Oktober", "<1@mueller.example>",
        "multipart/mixed", "    text/plain", "Rechnung.pdf.exe", "attachment",
        "anbei die Rechnung für Oktober.", f"badmail replay {id_}", f"badmail delete {id_}",
    ):  # fmt: skip
        assert text in shown, text
    assert "SYMBOL_11" in shown  # -5.0
    assert "SYMBOL_6" not in shown and "SYMBOL_6" in q.ferry.ctl_ok("badmail", "show", id_, "-v")

    assert '"score": 17.3,' in q.ferry.ctl_ok("badmail", "show", id_, "--json")
    item = q.ferry.ctl_json("badmail", "show", id_)
    assert [(part["depth"], part["type"]) for part in item["parts"]] == [
        (0, "multipart/mixed"), (1, "text/plain"), (1, "application/zip"),
    ]  # fmt: skip
    assert item["parts"][2] | {"name": "Rechnung.pdf.exe", "size": 10, "attachment": True} == item["parts"][2]
    assert item["headers"]["Subject"] == "Rechnung für Oktober"
    assert item["preview"] == ["anbei die Rechnung für Oktober."]
    assert item["report"][0]["filter"] == "rspamd" and item["report"][0]["score"] == 17.3


def test_show_says_what_it_cut(quarantine):
    """A thousand parts and more: the first ones, how many more, and that a bound was met."""
    parts = "".join(f"--b\nContent-Type: text/x-p{n}\n\n{n}\n" for n in range(1500))
    q = quarantine({"acc": [mail("many", body=parts + "--b--\n", head="Content-Type: multipart/mixed; boundary=b\n")]})
    shown = q.ferry.ctl_ok("badmail", "show", q.ids["many"])
    item = q.ferry.ctl_json("badmail", "show", q.ids["many"])
    assert len(item["parts"]) == 1000 and item["cut"] and item["cut"] in shown
    assert "text/x-p10 " in shown and "text/x-p100" not in shown and "... and 960 more" in shown
    assert "text/x-p900" in q.ferry.ctl_ok("badmail", "show", q.ids["many"], "-v")


def test_show_of_a_file_that_is_damaged_or_gone(quarantine):
    q = quarantine({"acc": [mail("one")]})
    path = q.path(q.ids["one"])
    path.write_bytes(path.read_bytes()[:-3])
    shown = q.ferry.ctl_ok("badmail", "show", q.ids["one"])
    assert "unreadable:" in shown and "damaged" in shown and "17.3 of 15.0" in shown
    assert_only_delete(shown)
    path.unlink()
    shown = q.ferry.ctl_ok("badmail", "show", q.ids["one"])
    assert "unreadable:" in shown and "No such file" in shown
    assert_only_delete(shown)
    status = q.ferry.ctl_ok("status")  # removed by hand: two numbers, one source
    assert "0 in quarantine" in status and "badmail 0" in status


def assert_only_delete(shown):
    assert "badmail delete" in shown
    assert "badmail replay" not in shown and "badmail export" not in shown


def test_show_of_a_file_with_another_octet(quarantine):
    """What would fail is not advised; its form is well."""
    q = quarantine({"acc": [mail("one")]})
    path = q.path(q.ids["one"])
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo"))
    assert_only_delete(q.ferry.ctl_ok("badmail", "show", q.ids["one"]))
    assert q.ferry.ctl_json("badmail", "show", q.ids["one"])["damaged"] is True


def test_while_hygiene_is_down(quarantine):
    """All that needs only the ledger and the files is there all the same."""
    q = quarantine({"acc": [INVOICE]})
    (id_,) = q.ids.values()
    q.ferry.stop("hygiene")
    assert q.subjects("--sender", "mueller") == ["Rechnung für Oktober"]
    assert "Rechnung.pdf.exe" in q.ferry.ctl_ok("badmail", "show", id_)
    assert "1 message came" in q.ferry.ctl_ok("badmail", "digest")
    q.ferry.ctl_ok("badmail", "export", id_, "--output", q.ferry.home / "copy")
    assert (q.ferry.home / "copy").read_bytes() == INVOICE
    assert q.ferry.ctl("badmail", "replay", id_)[0] == 69
    assert q.ferry.ctl("badmail", "replay", "--sender", "mueller", "--yes")[0] == 69


# --- export ---


@pytest.fixture(scope="module")
def odd():
    """Bytes of all kinds, several pages of them."""
    return b"Subject: odd\r\n\r\n" + bytes(range(1, 256)) * 5000 + b"\r\n.\r\nend\r\n"


@pytest.fixture
def exported(quarantine, odd):
    q = quarantine({"acc": [odd, mail("empty", body="")]})
    q.file = q.ferry.home / "copy.eml"
    return q


def export(q, *options, subject="odd"):
    command = [BIN / "popferryctl", "-c", q.ferry.conf, "badmail", "export", q.ids[subject]]
    return subprocess.run([*command, *map(str, options)], capture_output=True, timeout=60)


def leftovers(q):
    return sorted(path.name for path in q.ferry.home.glob("copy*"))


def test_export_octet_for_octet(exported, odd):
    q = exported
    done = export(q, "--output", q.file)
    assert done.returncode == 0 and q.ids["odd"] in done.stdout.decode()
    assert q.file.read_bytes() == odd == export(q).stdout == export(q, "--output", "-").stdout
    assert q.file.stat().st_mode & 0o777 == 0o600 and leftovers(q) == ["copy.eml"]
    told = q.ferry.ctl_json("badmail", "export", q.ids["empty"], "--output", q.file, "--force")
    assert told["size"] == len(q.file.read_bytes()) and told["file"] == str(q.file)
    assert q.file.read_bytes() == mail("empty", body="")


def test_export_while_hygiene_is_down(exported, odd):
    """By pages that are larger, since each is a start of hygiene."""
    q = exported
    q.ferry.stop("hygiene")
    assert export(q).stdout == odd
    assert export(q, subject="empty").stdout == mail("empty", body="")


def test_export_spares_a_file_that_is_there(exported, odd):
    q = exported
    q.file.write_bytes(b"mine")
    done = export(q, "--output", q.file)
    assert done.returncode == EXIT_FAILED and b"--force" in done.stderr
    assert q.file.read_bytes() == b"mine" and leftovers(q) == ["copy.eml"]
    target = q.ferry.home / "target"
    target.write_bytes(b"theirs")
    q.file.unlink()
    q.file.symlink_to(target)
    assert export(q, "--output", q.file).returncode == EXIT_FAILED
    q.file.unlink()
    q.file.symlink_to(q.ferry.home / "nothing")  # seen when the file is to get its name
    done = export(q, "--output", q.file)
    assert done.returncode == EXIT_FAILED and b"--force" in done.stderr
    assert q.file.is_symlink() and leftovers(q) == ["copy.eml"]
    assert export(q, "--output", q.file, "--force").returncode == 0
    assert not q.file.is_symlink() and target.read_bytes() == b"theirs"
    assert export(q, "--output", q.ferry.home / "none" / "x").returncode == EXIT_FAILED
    assert export(q, "--output", "/dev/null", "--force").returncode == EXIT_FAILED
    assert export(q, "--output", "").returncode == EXIT_USAGE


def test_export_of_a_damaged_message_leaves_no_file(exported):
    """One octet is another one: size and preface are well."""
    q = exported
    path = q.path(q.ids["odd"])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    done = export(q, "--output", q.file)
    assert done.returncode == EXIT_FAILED and b"damaged" in done.stderr
    assert export(q).returncode == EXIT_FAILED and leftovers(q) == []
    path.write_bytes(raw[:-1])
    assert export(q, "--output", q.file).returncode == EXIT_FAILED and leftovers(q) == []


def test_export_onto_a_terminal(exported):
    q = exported
    code, out = on_terminal(q.ferry, "badmail", "export", q.ids["empty"])
    assert code == EXIT_USAGE and b"--output" in out and b"Subject: empty" not in out
    code, out = on_terminal(q.ferry, "badmail", "export", q.ids["empty"], "--output", "-")
    assert code == 0 and b"Subject: empty" in out
    assert "terminal" in q.ferry.ctl_ok("badmail", "export", "--help")
    for options in (["--json"], ["--force"], ["--output", "-", "--json"]):
        assert export(q, *options).returncode == EXIT_USAGE


# --- the digest ---


def test_digest(five):
    text = five.ferry.ctl_ok("badmail", "digest")
    assert text.startswith("1 message came") and five.ids["offer A"] in text and "account sales: 1" in text
    text = five.ferry.ctl_ok("badmail", "digest", "--since", "5d", "--by", "reason")
    assert text.startswith("3 messages came") and "decided by rspamd: 3" in text
    assert all(five.ids[one] in text for one in ("offer A", "Ärger", "offer c"))
    assert five.ids["Zebra"] not in text
    told = five.ferry.ctl_json("badmail", "digest", "--since", "15d")
    assert (told["fresh"], told["expiring"]) == (4, 0) and told["text"].startswith("4 messages")
    for options in (["--since", "x"], ["--by", "colour"]):
        assert five.ferry.ctl("badmail", "digest", *options)[0] == EXIT_USAGE


def test_digest_of_what_will_soon_be_removed(five):
    five.ferry.hygiene_section["badmail-keep"] = "22d"
    five.ferry.write_conf()
    five.ferry.reload("hygiene")
    text = five.ferry.ctl_ok("badmail", "digest", "--since", "1h")
    soon = text.split("hygiene.badmail-keep will remove 1")[1]
    assert five.ids["nul"] in soon and five.ids["Zebra"] not in soon


def test_digest_by_mail(quarantine):
    q = quarantine({"acc": [mail("=?utf-8?q?R=C3=A4tsel?="), mail("two")]}, reviewer="boss@corp.example")
    assert "boss@corp.example" in q.ferry.ctl_ok("badmail", "digest", "--mail")
    ((sender, to, raw),) = q.wait_arrived(1)
    assert (sender, to) == ("", ["boss@corp.example"])
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["To"] == "boss@corp.example" and message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == "Quarantine: 2 new, 0 to be removed soon"
    text = message.get_content()
    assert all(id_ in text for id_ in q.ids.values()) and "Rätsel" in text
    assert max(map(len, raw.split(b"\r\n"))) <= 78 and len(q.filter.asked) == 2
    assert len(q.ferry.badmail()) == 2  # a digest changes nothing
    (event,) = q.ferry.events("hygiene", "digest-mailed")
    assert event["to"] == "boss@corp.example"


def test_a_digest_that_is_refused_makes_no_mail(quarantine):
    q = quarantine({"acc": [mail("one")]}, reviewer="boss@corp.example")
    q.smtp.script["RCPT TO:<BOSS*"] = b"550 5.1.1 no such boss\r\n"
    q.ferry.ctl_ok("badmail", "digest", "--mail")
    rows = q.ferry.wait_badmail(2)
    assert [row["sender"] for row in rows if row["subject"].startswith("Quarantine:")] == [""]
    assert q.ferry.in_flight() == 0 and not q.arrived()
    assert len(q.smtp.heard("RCPT*")) == 1


def test_digest_without_a_reviewer(quarantine):
    q = quarantine({"acc": [mail("one")]})
    code, out, err = q.ferry.ctl("badmail", "digest", "--mail")
    assert (code, out) == (EXIT_FAILED, "") and "reviewer" in err and str(q.ferry.conf) in err
    q.ferry.hygiene_section["reviewer"] = "no address"
    q.ferry.write_conf()
    q.ferry.reload("hygiene")
    assert q.ferry.events("hygiene", "reviewer-invalid")
    code, _, err = q.ferry.ctl("badmail", "digest", "--mail")
    assert code == EXIT_FAILED and "no address" in err
    q.ferry.stop("hygiene")
    done = subprocess.run([BIN / "hygiene", "-c", q.ferry.conf], capture_output=True, timeout=20)
    assert done.returncode == 1 and b"hygiene.reviewer" in done.stderr
    q.ferry.hygiene_section["reviewer"] = "boss@corp.example"
    q.ferry.write_conf()
    q.ferry.start("hygiene")


def test_no_digest_is_mailed_of_nothing(make_ferry, smtp):
    ferry = make_ferry(smtp.port, hygiene={"reviewer": "boss@corp.example"})
    assert "nothing" in ferry.ctl_ok("badmail", "digest", "--mail")
    assert ferry.ctl_json("badmail", "digest", "--mail")["fresh"] == 0
    assert not list((ferry.spool / "pickup").iterdir())
    assert wait_for(lambda: ferry.in_flight() == 0, what="nothing on its way")
