"""Configuration and command lines: mistakes are refused, and it is said where and why."""

import subprocess

import pytest

from tests.harness.popferry import BIN, DAEMONS, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from tests.harness.process import free_port

PROGRAMS = (*DAEMONS, "popferryctl")


def run(program, *args):
    return subprocess.run(
        [BIN / program, *map(str, args)], capture_output=True, text=True, timeout=20
    )


@pytest.fixture
def ferry(make_ferry):
    return make_ferry(free_port(), start=False)


def spoil(ferry, line, section=None):
    """Put one line at the end of the file, or into a section; its line number."""
    text = ferry.conf.read_text()
    if section:
        text += f"\n{section} {{\n  {line}\n}}\n"
        at = text.count("\n") - 1
    else:
        text += line + "\n"
        at = text.count("\n")
    ferry.conf.write_text(text)
    return at


BAD = [
    (None, 'colour = "blue"', "colour"),
    ("fetch", 'intervall = "15m"', "intervall"),
    ("relay", 'hots = "127.0.0.1"', "hots"),
    ("fetch", 'interval = "1m"', "5m"),
    ("fetch", 'interval = "25h"', "interval"),
    ("fetch", 'interval = "soon"', "interval"),
    ("fetch", "sessions = 0", "sessions"),
    ("fetch", "sessions = many", "sessions"),
    ("fetch", "messages-per-session = -1", "messages-per-session"),
    ("fetch", 'message-size = "huge"', "message-size"),
    ("fetch", 'delete = "maybe"', "delivered"),
    ("fetch", 'timeout = "5"', "timeout"),
    ("hygiene", 'bad-sender = "shrug"', "badmail"),
    ("hygiene", 'on-filter-error = "panic"', "defer"),
    ("relay", 'protocol = "uucp"', "smtp"),
    ("relay", "port = 0", "port"),
    ("relay", "port = 65536", "port"),
    ("relay", 'tls = "sometimes"', "starttls"),
    ("relay", 'host = ""', "host"),
    ("relay", 'retry-min = "1x"', "retry-min"),
    ("relay", "session-errors = 0", "session-errors"),
    (None, 'default-domain = "not a domain"', "default-domain"),
    (None, 'spool-dir = "relative/path"', "spool-dir"),
]


@pytest.mark.parametrize("section, line, word", BAD, ids=[line for _, line, _ in BAD])
def test_bad_line_is_refused_with_its_place(ferry, section, line, word):
    at = spoil(ferry, line, section)
    for program in PROGRAMS:
        done = run(program, "-c", ferry.conf, *(["status"] if program == "popferryctl" else []))
        assert done.returncode in (EXIT_FAILED, EXIT_USAGE), program
        assert f"{ferry.conf}:{at}" in done.stderr, (program, done.stderr)
        assert word in done.stderr, (program, done.stderr)


def test_syntax_error(ferry):
    ferry.conf.write_text("fetch {\n  sessions = 3\n")
    for program in PROGRAMS:
        done = run(program, "-c", ferry.conf, *(["status"] if program == "popferryctl" else []))
        assert done.returncode in (EXIT_FAILED, EXIT_USAGE)
        assert str(ferry.conf) in done.stderr


def test_missing_file(ferry):
    for program in PROGRAMS:
        args = ["-c", ferry.home / "none.conf"] + (["status"] if program == "popferryctl" else [])
        done = run(program, *args)
        assert done.returncode in (EXIT_FAILED, EXIT_USAGE)
        assert "none.conf" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_version_and_help(program):
    for option in ("-V", "--version"):
        done = run(program, option)
        assert done.returncode == EXIT_OK and program in done.stdout and not done.stderr
    for option in ("-h", "--help"):
        done = run(program, option)
        assert done.returncode == EXIT_OK and "-c" in done.stdout and not done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_option(program):
    done = run(program, "--frobnicate")
    assert done.returncode == EXIT_USAGE and "frobnicate" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("frobnicate",),
        ("account",),
        ("account", "frobnicate"),
        ("account", "show"),
        ("badmail", "replay"),
        ("status", "extra", "words"),
        ("queue", "--any"),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_usage_errors(ferry, words):
    code, _, err = ferry.ctl(*words)
    assert code == EXIT_USAGE and err.strip()


def test_init_is_safe_to_repeat(ferry):
    keys = {path: path.read_bytes() for path in ferry.state.glob("*.key")}
    assert keys
    ferry.ctl_ok("init")
    assert {path: path.read_bytes() for path in ferry.state.glob("*.key")} == keys
    for path in (ferry.spool, ferry.state, ferry.run, *ferry.spool.iterdir()):
        assert path.stat().st_mode & 0o027 == 0, path
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, path


def test_every_command_answers_in_json(make_ferry):
    ferry = make_ferry(free_port())
    for words in (("status",), ("account", "list"), ("queue",), ("badmail", "list")):
        ferry.ctl_json(*words)


def test_reload(make_ferry):
    """SIGHUP reads the file anew; a file with a mistake changes nothing and is told of."""
    import signal

    from tests.harness.process import wait_for

    ferry = make_ferry(free_port())
    ferry.conf.write_text(ferry.conf.read_text() + 'colour = "blue"\n')
    for process in ferry.processes.values():
        process.signal(signal.SIGHUP)
    for name in DAEMONS:
        wait_for(lambda: "colour" in ferry.log(name), what=f"{name} to complain")
        assert ferry.running(name)
