"""What the demonstration shows: a line at a time, in colour and with a live bar on a terminal."""

import os
import shutil
import sys
import textwrap
import time

_BAR = 28


class Screen:
    def __init__(self, out=sys.stdout):
        self._out = out
        self.live = out.isatty()
        self._colour = self.live and "NO_COLOR" not in os.environ
        self._began = time.monotonic()
        self._last = None

    def _paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def bold(self, text):
        return self._paint("1", text)

    def faint(self, text):
        return self._paint("2", text)

    def good(self, text):
        return self._paint("32", text)

    def bad(self, text):
        return self._paint("31", text)

    def line(self, text=""):
        print(text, file=self._out, flush=True)

    def heading(self, text):
        self.line()
        self.line(self.bold(text))

    def note(self, text):
        for line in textwrap.wrap(text, min(self.room, 96)):
            self.line("  " + line)

    def command(self, words):
        self.line("  " + self.faint("$ ") + words)

    def block(self, text):
        for line in text.rstrip("\n").splitlines():
            self.line("    " + line)

    @property
    def room(self):
        """Columns that a block may take."""
        return self._width() - 4

    def _width(self):
        return shutil.get_terminal_size((100, 24)).columns if self.live else 160

    def progress(self, done, total, words):
        """One state of the work: redrawn in place on a terminal, else a line when it changed."""
        if (done, words) == self._last:
            return
        self._last = (done, words)
        if self.live:
            filled = _BAR * done // max(total, 1)
            bar = self.good("━" * filled) + self.faint("━" * (_BAR - filled))
            room = max(self._width() - _BAR - 14, 10)
            print(f"\r\033[K  {bar} {done:3d}/{total}  {words[:room]}", end="", file=self._out)
            self._out.flush()
        else:
            self.line(f"  {time.monotonic() - self._began:5.1f}s  {done:3d} of {total}  {words}")

    def progress_end(self):
        if self.live and self._last:
            self.line()
        self._last = None
