"""Directories in the spool, where files are expected: they are told of, and stop nobody."""

import stat

from tests.harness.mail import simple

IDS = ["01JD0VSM7N4C2T8RZ5K3W9XQH" + digit for digit in "BCDEF"]


def test_directories_stop_nobody(ferry, box, smtp):
    names = ["tmp/%s.eml", "incoming/%s.eml", "outgoing/%s.eml", "rejected/%s.eml", "badmail/%s.eml"]
    paths = [ferry.spool / (name % id) for name, id in zip(names, IDS)]
    paths.append(ferry.spool / f"outgoing/{IDS[0]}.top")
    ferry.stop()
    for path in paths:
        path.mkdir(mode=0o750)
    ferry.start()
    box.drop(simple("one"), simple("two"))
    assert ferry.fetch(box.name) == 0
    smtp.wait_count(box.name, 2)
    ferry.wait_badmail(4)
    [alarm] = ferry.events("fetcherd", "remove-failed")
    assert f"{IDS[0]}.eml from tmp" in alarm["error"]
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
        ferry.ctl("badmail", "delete", row["id"])
    for one in kept:
        one.rmdir()
    ferry.restart("hygiene")
    assert ferry.badmail() == []
