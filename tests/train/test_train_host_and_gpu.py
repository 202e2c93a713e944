"""A training watches the host and its GPU: whichever is taken by others makes it shrink, and is named."""

from types import SimpleNamespace

import pytest
from surroundings import PLAIN, Clock

from autobatch.backend.base import Accelerator
from autobatch.memory.budget import Reserve
from autobatch.memory.peak_model import PeakModel
from autobatch.memory.types import Device
from autobatch.probing.request import ProbeRequest
from autobatch.results.probe import ProbeResult
from autobatch.results.run import RunReport
from autobatch.results.trial import Outcome, Trial
from autobatch.testing import memory_reading
from autobatch.train.control.footprint import baselines
from autobatch.train.control.setup import ControllerSetup, ControlSeams
from autobatch.train.recorder import Recorder

GIB, MIB = 2**30, 2**20
EFFECTIVE = 64
ON = Accelerator("GPU:0", 1)
HOST, DEVICE = 32 * MIB, 128 * MIB  # what a sample takes


def reading(host_gib=20.0, device_gib=12.0, idle_gib=1.0, own_gib=1.0, elsewhere_gib=0.0):
    """What is free of the host, of GPU:1, where steps run, and of GPU:0; and what this process holds of both GPUs."""
    devices = (
        Device(0, "GPU-a", "Fake GPU", 16 * GIB, int(idle_gib * GIB), int(elsewhere_gib * GIB)),
        Device(1, "GPU-b", "Fake GPU", 16 * GIB, int(device_gib * GIB), int(own_gib * GIB)),
    )
    return memory_reading(host_available_bytes=int(host_gib * GIB), rss_bytes=GIB, devices=devices)


def steering_of(*readings, effective=EFFECTIVE, largest=EFFECTIVE, known=("host", "device"), gpu=ON):
    """The steering of a run whose probe knows what one or both resources are needed for, and the run's report."""
    peaks = {name: taken * largest for name, taken in (("host", HOST), ("device", DEVICE)) if name in known}
    models = {name: PeakModel(0.0, peak / largest, 0.0, largest) for name, peak in peaks.items()}
    trial = Trial(largest, Outcome.RAN, peaks)
    found = ProbeResult(largest, "micro", largest, None, (trial,), models=models)
    recorder = Recorder()
    recorder.report = report = RunReport(effective, largest, 0, found, [])
    told, clock = iter(readings), Clock(1.0)
    seams = ControlSeams(
        read=lambda: next(told),
        clock=clock,
        sleep=clock.sleep,
        release_memory=lambda: SimpleNamespace(
            host_bytes=0, device_bytes=None, holds={"device": "TensorFlow keeps it."}
        ),
        config=PLAIN,
        gpu=lambda: gpu,
    )
    question = ProbeRequest("micro", effective, effective_batch_size=effective, reserve=Reserve(0.0, 0))
    return ControllerSetup(found, question, reading(), recorder, cuttable=True, seams=seams), report


def trained(then, **options):
    """The report of a run that looks twice: at the budget of its probe, and at another one."""
    steering, report = steering_of(reading(), then, **options)
    controller = steering.controller("training", EFFECTIVE, EFFECTIVE)
    controller.look()
    assert report.decisions == []
    controller.look()
    return report


@pytest.mark.parametrize(
    ("then", "after", "names"),
    [
        (reading(device_gib=4.5), 32, "GPU:1"),
        (reading(host_gib=1.5), 32, "host"),
        (reading(host_gib=1.5, device_gib=2.5), 16, "GPU:1"),
        (reading(idle_gib=0.0), None, ""),
    ],
    ids=["the GPU", "the host", "both, and the GPU more", "another GPU"],
)
def test_it_shrinks_for_the_resource_that_others_take_and_says_which(then, after, names):
    """Seen to fail with the GPU's own number in TensorFlow taken for the driver's, and without the device's need."""
    report = trained(then)
    assert [decision.after for decision in report.decisions] == ([] if after is None else [after])
    assert all(names in decision.reason for decision in report.decisions)


def test_what_stays_held_is_that_of_the_gpu_that_steps_run_on():
    """Seen to fail with what this process holds of all GPUs: it was told as memory that a shrink does not free."""
    report = trained(reading(device_gib=0.25, own_gib=5.5, elsewhere_gib=6.0))
    assert [(one.after, one.held_bytes) for one in report.decisions] == [(32, pytest.approx(GIB // 2, rel=0.1))]


def test_a_training_keeps_to_what_the_program_lets_tensorflow_take():
    """Seen to fail with the driver's figures alone: all of what the GPU has free was room to grow into."""
    own = Accelerator("GPU:0", 1, GIB // 2, limit_bytes=5 * GIB)
    steering, report = steering_of(*[reading(device_gib=12.0)] * 30, largest=16, gpu=own)
    controller = steering.controller("training", EFFECTIVE, 16)
    for _ in range(30):
        controller.look()
    assert [decision.after for decision in report.decisions] == [22, 32]
    assert all(
        "the program's own limit on GPU:1 (5.0 GiB, and 512 MiB outside of it) leaves 5.5 GiB" in decision.reason
        for decision in report.decisions
    )


def test_nothing_larger_than_what_ran_is_entered_where_trials_told_nothing_of_the_gpu():
    """Seen to fail with the host's need alone to say that more fits."""
    steering, _ = steering_of(effective=64, largest=4, known=("host",))
    assert max(steering.policy(64).ladder) == 4
    steering, _ = steering_of(effective=64, largest=4)
    assert max(steering.policy(64).ladder) == 64


@pytest.mark.parametrize(
    ("own_gib", "in_use_gib", "counts_gib"),
    [(0.9, 0.5, 0.9), (14.0, 0.5, 1.5), (7.0, 0.5, 1.5), (None, 0.5, 0.5)],
    ids=[
        "what the driver books",
        "not a pool of the whole GPU",
        "nor of a part",
        "tensors, where the driver is silent",
    ],
)
def test_what_a_process_occupies_of_a_gpu_whatever_the_size(own_gib, in_use_gib, counts_gib):
    """Seen to fail with what the driver books, and with all but a pool of more than half of the GPU."""
    own = None if own_gib is None else int(own_gib * GIB)
    before = memory_reading(devices=(Device(1, "GPU-b", "Fake GPU", 16 * GIB, GIB, own),))
    gpu = Accelerator("GPU:0", 1, int(in_use_gib * GIB))
    assert baselines(before, 0, gpu)["device"] == int(counts_gib * GIB)


def test_a_gpu_that_cannot_be_read_has_no_baseline():
    assert set(baselines(memory_reading(), 0, Accelerator("GPU:0", 0))) == {"host"}
