"""What trials have taken of a GPU is free again when the answer is there, or the answer says that it is not."""

import pytest
from surroundings import Clock
from trials import FakeExecutor

from autobatch.backend.base import Accelerator
from autobatch.memory.types import Device
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials.executor import wait_until_free
from autobatch.probing.tuner import TunerSeams, find_batch_size
from autobatch.testing import memory_reading

GIB, MIB = 2**30, 2**20


def device(free, own=0):
    return Device(0, "GPU-0", "Fake GPU", 16 * GIB, free, own)


BEFORE = device(12 * GIB)


def waited(*devices, timeout_s=2.0, before=BEFORE):
    """What is said, and the seconds waited; the last reading stays."""
    clock, left = Clock(), list(devices)
    said = wait_until_free(lambda: left.pop(0) if len(left) > 1 else left[0], before, timeout_s, clock, clock.sleep)
    return said, clock.now_s


def test_at_once_nothing_is_waited_for_and_nothing_said():
    assert waited(BEFORE) == (None, 0.0)
    assert waited(device(12 * GIB - 64 * MIB)) == (None, 0.0)


def test_late_is_waited_for_and_nothing_said():
    """Seen to fail with a single reading: the driver takes its time."""
    said, waited_s = waited(*[device(9 * GIB)] * 3, device(11 * GIB), BEFORE)
    assert said is None
    assert 0.0 < waited_s < 0.2


def test_never_is_said_with_how_much_and_after_how_long():
    """Seen to fail with the end of the wait taken for the memory's return."""
    said, waited_s = waited(device(9 * GIB))
    assert "2.0 s later GPU:0 has 3.0 GiB less free than before" in said
    assert 2.0 <= waited_s < 2.1


def test_what_this_process_has_taken_itself_is_not_missing():
    """Seen to fail with free bytes alone."""
    assert waited(device(9 * GIB, own=3 * GIB)) == (None, 0.0)
    assert waited(device(9 * GIB, own=None))[0] is not None


def test_nothing_is_said_of_a_gpu_that_cannot_be_read_any_more():
    assert waited(device(9 * GIB), None)[0] is None


@pytest.mark.parametrize(("stays", "said"), [(0, False), (2 * GIB, True)])
def test_the_answer_says_what_has_not_come_back(stays, said):
    """Seen to fail with nobody looking after the worker has ended."""
    executor, opened = FakeExecutor(device=(0, 10 * MIB)), []

    def read():
        opened.append(executor.open)
        taken = 3 * GIB if executor.open else stays if any(opened) else 0
        return memory_reading(devices=(device(12 * GIB - taken),))

    seams = TunerSeams(read, executor, gpu=lambda: Accelerator("GPU:0", 0), patience_s=0.0)
    notes = find_batch_size(None, [], ProbeRequest("largest", 64), seams=seams).notes
    assert any("2.0 GiB less free than before" in note for note in notes) is said
    assert opened[-1] is False


def test_trials_in_the_caller_leave_nothing_to_wait_for():
    """Its allocator keeps what it has grown by, and is to have it. Seen to fail with any site looked after."""
    executor = FakeExecutor(device=(0, 10 * MIB))
    readings = iter([memory_reading(devices=(device(3 * GIB, 12 * GIB),))])
    last = memory_reading(devices=(device(GIB, None),))
    gpu = Accelerator("GPU:0", 0, GIB, grows=False)
    seams = TunerSeams(lambda: next(readings, last), executor, gpu=lambda: gpu, patience_s=0.0)
    result = find_batch_size(None, [], ProbeRequest("largest", 4), seams=seams)
    assert executor.where == "caller"
    assert not any("less free" in note for note in result.notes)
