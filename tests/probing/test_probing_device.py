"""What a probe makes of a GPU that tells less than it might."""

import pytest
from trials import FakeSite

from autobatch.memory.facts import Device
from autobatch.probing.find import Seams, find
from autobatch.probing.question import Question
from autobatch.step.accelerator import Accelerator
from autobatch.testing import memory_reading

GIB, MIB = 2**30, 2**20


def gpu(free_bytes=12 * GIB, own=0):
    return Device(0, "GPU-0", "Fake GPU", 16 * GIB, free_bytes, own)


def probed(site, cap=4096, mode="largest", **question):
    """The answer of a probe on a machine with an empty GPU."""
    seams = Seams(lambda: memory_reading(devices=(gpu(),)), site, gpu=lambda: Accelerator("GPU:0", 0))
    return find(None, [], Question(mode, cap, **question), seams=seams)


@pytest.mark.parametrize("mode", ["largest", "auto"])
def test_without_statistics_of_the_device_the_search_does_not_double_until_it_runs_out(mode):
    """Seen to fail with a resource without a peak taken for one that always fits: 4096 was run."""
    site = FakeSite(per_sample_bytes=MIB)
    result = probed(site, mode=mode)
    assert [trial.size for trial in result.trials] == [2, 4]
    assert result.reasons[-1] == "Nothing above 4 was tried: trials do not tell what they take of the device."
    assert any("its allocator keeps no statistics" in note for note in result.notes)


def test_an_effective_batch_is_cut_small_where_the_device_tells_nothing():
    result = probed(FakeSite(per_sample_bytes=MIB), 256, "micro", effective=256)
    assert (result.batch_size, result.accumulation_steps) == (4, 64)


def test_with_statistics_there_is_no_such_note():
    result = probed(FakeSite(per_sample_bytes=MIB, device=(0, MIB)))
    assert result.largest == 4096
    assert not any("statistics" in note for note in result.notes)
