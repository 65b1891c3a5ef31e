"""The directory that a run lives in: for one run at a time, and made anew only when it is ours."""

import fcntl
import os
import shutil
from pathlib import Path

from tests.harness.process import work_dir

_MARK = ".popferry-run"
_SOCKET_MAX = 100  # a Unix socket's whole path has 107 bytes


class PlaceError(Exception):
    """It can't be used; the text says why, and what to do."""


class Place:
    def __init__(self, path, fresh):
        self.path = Path(path).absolute()
        self._temporary = None
        self._take()
        if fresh:
            self._empty()

    def _take(self):
        if self.path.exists() and not (self.path / _MARK).exists() and any(self.path.iterdir()):
            raise PlaceError(f"{self.path} holds something else: remove it, or name another --dir")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / _MARK, "w")
        except OSError as error:
            raise PlaceError(
                f"{self.path} can't be written ({error.strerror}): remove it"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PlaceError(f"another run is using {self.path}: end that one first") from None

    def _empty(self):
        for path in self.path.iterdir():
            if path.name == _MARK:
                continue
            try:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            except OSError as error:
                text = f"{error.filename or path} can't be removed ({error.strerror})"
                raise PlaceError(f"{text}: remove {self.path} yourself") from None

    def short(self, name):
        """A directory below ours when sockets fit there and every user may walk to it (the servers
        run as several); otherwise one in the system's temporary directory, with a link to it."""
        path = self.path / name
        if len(str(path)) + 40 < _SOCKET_MAX and _open_to_all(self.path):
            path.mkdir(exist_ok=True)
            return path
        if not self._temporary:
            self._temporary = work_dir()
        real = self._temporary / name
        real.mkdir()
        path.symlink_to(real)
        return real

    def leave(self):
        """Bring home what lies in the temporary directory, and let go."""
        if self._temporary:
            for real in self._temporary.iterdir():
                link = self.path / real.name
                link.unlink(missing_ok=True)
                shutil.copytree(real, link, ignore=_sockets, dirs_exist_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._lock.close()


def _sockets(directory, names):
    """For copytree: nothing but files and directories."""
    paths = [Path(directory) / name for name in names]
    return [one.name for one in paths if not (one.is_file() or one.is_dir())]


def _open_to_all(path):
    return os.geteuid() != 0 or all(
        one.stat().st_mode & 0o001 for one in (path, *path.parents) if one.exists()
    )
