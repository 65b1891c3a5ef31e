"""The three daemons under s6, as an installation has them: service directories made from the ones
that stand in each daemon's folder, a logger each, and one s6-svscan above them."""

import os
import shutil
import subprocess
from pathlib import Path

from .popferry import BIN, DAEMONS, TOP
from .process import Process, wait_for

_SHIPPED_CONF = "/etc/popferry/popferry.conf"


class Supervisor:
    def __init__(self, home, conf, log_dir, env=None):
        self.services = Path(home)
        self.conf = Path(conf)
        self.log_dir = Path(log_dir)
        # s6's programs are in /usr/bin; the daemons' run scripts look them up in PATH
        self.env = os.environ | {"PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
        self.env |= {"POPFERRY_CONF": str(self.conf)} | (env or {})
        self._process = None

    def make(self):
        """Lay out the scan directory anew."""
        shutil.rmtree(self.services, ignore_errors=True)
        for name in DAEMONS:
            service = self.services / name
            shutil.copytree(TOP / name / "s6", service)
            run = service / "run"
            run.write_text(run.read_text().replace(_SHIPPED_CONF, str(self.conf)))
            run.chmod(0o755)
            logs = self.log_dir / name
            logs.mkdir(parents=True, exist_ok=True)
            (service / "log").mkdir(exist_ok=True)
            logger = service / "log/run"
            logger.write_text(f"#!/bin/sh\nexec s6-log n5 s1000000 T '{logs}'\n")
            logger.chmod(0o755)
        return self

    def start(self, deadline=20):
        """Start, and wait until each daemon has told that it is ready."""
        log = self.log_dir / "s6-svscan.log"
        self._process = Process(["s6-svscan", "-t", "0", self.services], log, env=self.env)
        dirs = [self.services / name for name in DAEMONS]
        wait_for(
            lambda: all((one / "supervise/status").exists() for one in dirs),
            deadline,
            "s6-svscan to begin",
        )
        wait = ["s6-svwait", "-U", "-t", str(deadline * 1000), *map(str, dirs)]
        done = subprocess.run(wait, env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"the daemons did not get ready: {done.stderr}\n{self.tails()}")
        return self

    def restart(self, name):
        subprocess.run(["s6-svc", "-r", self.services / name], env=self.env, check=True)

    def running(self):
        return self._process is not None and self._process.running()

    def stop(self):
        """End the services in order, then the supervisor."""
        if self._process:
            self._process.stop(timeout=25)
            self._process = None

    def current(self, name):
        return self.log_dir / name / "current"

    def tails(self, lines=12):
        text = []
        for name in DAEMONS:
            path = self.current(name)
            last = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
            text += [f"--- {path}", *last]
        return "\n".join(text)
