"""What does not belong in the spool: directories where files are expected, and names that are not
ours.  It is told of, and stops nobody."""

import stat

from tests.harness.mail import simple
from tests.harness.popferry import sleep
from tests.harness.process import wait_for

IDS = ["01JD0VSM7N4C2T8RZ5K3W9XQH" + digit for digit in "BCDEF"]


def test_directories_stop_nobody(ferry, box, smtp):
    names = ["tmp/%s.eml", "incoming/%s.eml", "outgoing/%s.eml", "rejected/%s.eml", "badmail/%s.eml"]
    paths = [ferry.spool / (name % id) for name, id in zip(names, IDS)]
    paths.append(ferry.spool / f"outgoing/{IDS[0]}.top")
    ferry.stop()
    for path in paths:
        path.mkdir(mode=0o750)
    (paths[0] / "x").mkdir()  # an empty one is removed like a file
    ferry.start()
    box.drop(simple("one"), simple("two"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)
    ferry.wait_badmail(4)
    [alarm] = ferry.events("fetcherd", "remove-failed")
    assert f"rm -r {paths[0]}" in alarm["error"]
    [alarm] = ferry.events("hygiene", "remove-failed")
    assert f"outgoing/{IDS[0]}.top" in alarm["error"]

    # a start behind it, and people
    ferry.restart()
    box.drop(simple("three"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 3)
    kept = sorted(one for one in (ferry.spool / "badmail").iterdir())
    assert [one.stem for one in kept] == IDS[1:]
    assert all(stat.S_ISDIR(one.stat().st_mode) for one in kept)
    for row in ferry.badmail():
        assert row["decided_by"] == "form:damaged"
        ferry.ctl("badmail", "show", row["id"])
        ferry.ctl_ok("badmail", "delete", row["id"])
    assert not any(one.exists() for one in kept)
    ferry.restart("hygiene")
    assert ferry.badmail() == []


def test_foreign_names_are_told_of_once(ferry, box, smtp):
    ferry.stop()
    for directory in ("incoming", "outgoing", "rejected", "badmail"):
        (ferry.spool / directory / "letter.eml").write_bytes(b"Subject: x\n\n")
        (ferry.spool / directory / "notes.txt").write_bytes(b"")
    ferry.start()
    for subject in ("one", "two"):
        box.drop(simple(subject))
        assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)

    def told():
        names = ("hygiene", "relayd")
        return [one for name in names for one in ferry.events(name, "spool-foreign-name")]

    wait_for(lambda: len(told()) == 4, what="four warnings")
    sleep(5)  # two more walks
    assert sorted(one["dir"] for one in told()) == ["badmail", "incoming", "outgoing", "rejected"]
    assert all(one["names"] == "2" and one["level"] == "warning" for one in told())
    assert len(list(ferry.spool.glob("*/letter.eml"))) == 4
