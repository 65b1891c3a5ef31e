"""python3 -m tests.demo [--dir run] [--config FILE] [--stay | --no-stay]

Without --config: the demonstration, which ends by itself unless it is on a terminal.  Exit codes:
0 every sample message is accounted for, 1 not so, 2 it could not begin.
"""

import argparse
import signal
import sys

from tests.harness.popferry import BIN, DAEMONS, TOP

from .configured import Configured
from .embedded import Demonstration
from .place import Place, PlaceError
from .screen import Screen


class Stopped(Exception):
    """Ctrl-C, or a request to end."""


def _stop(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the clean-up is not to be interrupted
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def arguments():
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.demo", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--dir", default=TOP / "run", help="where to live (default: run)")
    parser.add_argument("--config", metavar="FILE", help="run the daemons on this configuration")
    parser.add_argument("--no-stay", action="store_true", help="end by itself on a terminal too")
    return parser.parse_args()


def main():
    given, screen = arguments(), Screen()
    missing = [name for name in (*DAEMONS, "popferryctl") if not (BIN / name).exists()]
    if missing:
        screen.line(f"Not built: {', '.join(missing)}. Run `make all` first.")
        return 2
    try:
        place = Place(given.dir, fresh=not given.config)
    except PlaceError as error:
        screen.line(str(error))
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    if given.config:
        show = Configured(place, screen, given.config)
    else:
        show = Demonstration(place, screen)
    return perform(
        show, place, screen, stay=bool(given.config) or (screen.live and not given.no_stay)
    )


def perform(show, place, screen, stay):
    good = False
    try:
        good = show.run()
        if stay and good:
            show.stay()
    except Stopped:
        screen.progress_end()
        screen.line()
        screen.line("Stopping.")
    except AssertionError as error:  # a wait that ran out, a command that failed
        screen.progress_end()
        screen.line(screen.bad(f"It went wrong: {error}"))
        screen.block(show.supervisor.tails())
    finally:
        show.stop()
        place.leave()
    return 0 if good else 1


sys.exit(main())
