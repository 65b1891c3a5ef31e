"""`make run CONFIG=FILE`: the three daemons on a configuration of one's own, until Ctrl-C."""

import shlex
import subprocess
import time
from pathlib import Path

from tests.harness.popferry import BIN, DAEMONS
from tests.harness.s6 import Supervisor

from .embedded import relative


class Configured:
    def __init__(self, place, screen, conf):
        self.screen = screen
        self.conf = Path(conf).absolute()
        self.supervisor = Supervisor(place.path / "service", self.conf, place.path / "log")

    def run(self):
        """False when the configuration does not do."""
        if not self._ctl("init"):
            return False
        for name in DAEMONS:
            self.supervisor.current(name).unlink(missing_ok=True)
        self.supervisor.make().start()
        self._ctl("status")
        ctl = f"{relative(BIN / 'popferryctl')} -c {shlex.quote(relative(self.conf))}"
        self.screen.heading("Running, until Ctrl-C")
        self.screen.line(f"  steer   {ctl} help")
        self.screen.line(f"  logs    {relative(self.supervisor.log_dir)}/*/current")
        self.screen.line()
        return True

    def _ctl(self, *words):
        shown = shlex.join(["popferryctl", "-c", relative(self.conf), *words])
        self.screen.command(shown)
        done = subprocess.run([BIN / "popferryctl", "-c", self.conf, *words], capture_output=True)
        self.screen.block((done.stdout + done.stderr).decode("utf-8", "replace"))
        return done.returncode == 0

    def stay(self):
        """Show what the daemons say, as it comes."""
        read = dict.fromkeys(DAEMONS, 0)
        while self.supervisor.running():
            for name in DAEMONS:
                read[name] = self._follow(name, read[name])
            time.sleep(0.3)

    def _follow(self, name, position):
        path = self.supervisor.current(name)
        if not path.exists() or path.stat().st_size == position:
            return position
        if path.stat().st_size < position:
            position = 0  # s6-log has begun a new file
        with open(path, errors="replace") as log:
            log.seek(position)
            self.screen.block(log.read())
            return log.tell()

    def stop(self):
        self.supervisor.stop()
