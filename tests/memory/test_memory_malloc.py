"""The heap keeps what is freed until it is told to return it."""

import ctypes
import functools
import json
import subprocess
import sys

import pytest

from autobatch.memory.sensors.malloc import can_return_freed_memory, keep_freed_memory, return_freed_memory

MIB = 1 << 20

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU C library")

# A block that is freed and taken again, as a step does with its tensors; behind them something lives on.
SCENE = """
import ctypes, json, os, resource
from autobatch.memory.sensors.procfs import read_process
from autobatch.memory.sensors.malloc import keep_freed_memory, return_freed_memory

SIZE, COUNT = 40 << 20, 5
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
rss = lambda: read_process()[0].rss_bytes
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    blocks = [c.malloc(SIZE) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    high = rss()
    for block in blocks:
        c.free(block)
    return high

kept = keep_freed_memory(os.environ)[0] if KEEP else None
start = rss()
high = step()
before = faults()
step()
again, freed = faults() - before, rss()
said = return_freed_memory()
end = rss()
figures = {"high": high - start, "freed": freed - start, "end": end - start}
print(json.dumps({**figures, "kept": kept, "again": again, "said": said}))
"""


@functools.cache  # it measures one heap from its beginning to its end: each test looks at another part
def play(*, keep):
    program = SCENE.replace("KEEP", repr(keep))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@needs_glibc
def test_what_is_freed_stays_until_it_is_returned():
    """Seen to fail with M_TRIM_THRESHOLD left as it is, and with `malloc_trim` left out."""
    figures = play(keep=True)
    assert (figures["kept"], figures["said"]) == (True, True)
    assert figures["high"] > 190 * MIB
    assert figures["freed"] > 190 * MIB
    assert figures["end"] < 10 * MIB


@needs_glibc
def test_a_step_on_a_heap_that_keeps_asks_for_no_fresh_pages():
    """Seen to fail with M_MMAP_MAX left as it is: as many pages as by default."""
    assert play(keep=True)["again"] < 500
    assert play(keep=False)["again"] > 10_000


@needs_glibc
def test_without_it_large_blocks_go_back_at_once():
    figures = play(keep=False)
    assert figures["high"] > 190 * MIB
    assert figures["freed"] < 10 * MIB


@needs_glibc
@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"MALLOC_ARENA_MAX": "4"}, "MALLOC_ARENA_MAX"),
        ({"MALLOC_MMAP_MAX_": "9"}, "MALLOC_MMAP_MAX_"),
        ({"MALLOC_TOP_PAD_": "9", "MALLOC_TRIM_THRESHOLD_": "9"}, "MALLOC_TRIM_THRESHOLD_, MALLOC_TOP_PAD_"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=9"}, "GLIBC_TUNABLES"),
    ],
)
def test_what_somebody_has_set_up_is_left_alone(environ, named):
    """Seen to fail with the settings not looked up."""
    assert keep_freed_memory(environ) == (False, (f"The heap is left as {named} has set it up.",))


def test_returning_always_answers():
    assert return_freed_memory() in {True, False}
    assert can_return_freed_memory() == hasattr(ctypes.CDLL(None), "malloc_trim")
