"""popferryctl as a person runs it: on a terminal of its own.

    code, out = on_terminal(ferry, "badmail", "list", answer=b"y\n")
"""

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from .popferry import BIN

_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def on_terminal(ferry, *args, answer=b"", columns=80, colour=False, timeout=60):
    """(exit code, all that came out on the terminal, its line ends LF)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    mode = termios.tcgetattr(slave)
    mode[3] &= ~termios.ECHO  # what comes back is popferryctl's alone
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    env = {key: value for key, value in ferry.env.items() if key not in ("COLUMNS", "NO_COLOR")}
    env |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | ({} if colour else {"NO_COLOR": "1"})
    process = subprocess.Popen(
        [BIN / "popferryctl", "-c", ferry.conf, *map(str, args)],
        stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    os.write(master, answer)
    out = _read_all(master)
    os.close(master)
    return process.wait(timeout), out.replace(b"\r\n", b"\n")


def _read_all(master):
    out = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError as gone:
            if gone.errno != errno.EIO:
                raise
            return out
        if not piece:
            return out
        out += piece


def steers(out, colour=False):
    """What in it could steer a terminal, or turn its text round: an empty list is well."""
    if colour:
        out = _COLOUR.sub(b"", out)
    text = out.decode("utf-8", "surrogateescape")
    return [
        f"{ord(c):#x} behind {text[max(0, at - 40):at]!r}"
        for at, c in enumerate(text)
        if (ord(c) < 0x20 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0
        or c in _BIDI or 0xDC80 <= ord(c) <= 0xDCFF
    ]  # fmt: skip
