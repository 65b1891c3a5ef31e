"""relayd's memory does not grow with the queue; tests/bench/queue_memory.py shows it with a million."""

import pytest

from tests.bench.queue_memory import Bench, fill, home_for
from tests.harness.process import remove_dir

FEW, MANY = 1_000, 50_000
MAY_GROW = 1024  # KiB; an id of each would be 1300, and what the queue keeps with it 6000


def peak(files):
    home = home_for(files, "/dev/shm", "/tmp")
    if not home:
        pytest.skip(f"no room for {files} files")
    bench = Bench(home)
    try:
        fill(bench.outgoing, 0, files)
        bench.start()
        bench.wait_window(files)
        bench.serve(FEW)
        return bench.memory().peak
    finally:
        bench.stop()
        remove_dir(home)


def test_many_files_take_no_more_memory_than_few():
    few, many = peak(FEW), peak(MANY)
    assert many < few + MAY_GROW
