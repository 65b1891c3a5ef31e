"""Writers that hand in mail by pickup/, each a process of its own: python -m tests.harness.dropper
WRITER FILES PICKUP RECIPIENT.

Every second file is moved in, from a hidden name beside it; the others are written in place, in two
pieces. Files 4k and 4k+1 of a writer have the same content: they are two messages all the same."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .popferry import TOP


def token(writer, number):
    return f"w{writer}n{number - 1 if number % 4 == 1 else number}"


def content(writer, number, recipient):
    word = token(writer, number)
    head = f"X-Sender: <{word}@origin.example>\nX-Receiver: <{recipient}>\nSubject: {word}\n\n"
    return head.encode(), f"{word} begins\n{'x' * 70}\nand {word} ends\n".encode()


def expected(writers, files):
    """How often each token is to arrive."""
    return Counter(token(w, n) for w in range(writers) for n in range(files))


def start(writers, files, pickup, recipient):
    argv = [sys.executable, "-B", "-m", "tests.harness.dropper"]
    return [
        subprocess.Popen([*argv, str(w), str(files), str(pickup), recipient], cwd=TOP)
        for w in range(writers)
    ]


def _move_in(pickup, name, pieces):
    draft = pickup / f".{name}"
    draft.write_bytes(b"".join(pieces))
    os.rename(draft, pickup / name)


def _write_in_place(pickup, name, pieces):
    with open(pickup / name, "xb", buffering=0) as out:
        for piece in pieces:
            out.write(piece)


def main(writer, files, pickup, recipient):
    for number in range(files):
        put = _move_in if number % 2 else _write_in_place
        put(Path(pickup), f"w{writer}-{number}.eml", content(writer, number, recipient))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
