"""What the micro-batches of a run need: by its trials, in one piece and in several."""

from dataclasses import replace

import pytest

from autobatch._text import GIB
from autobatch.backend.base import Accelerator
from autobatch.memory.peak_model import AllocationProfile, fit_peak
from autobatch.memory.types import Device, OwnFrom
from autobatch.probing.trials.measure import WORST
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial
from autobatch.train.control.footprint import RunFootprints, device_baseline
from autobatch.train.schedule import choose_sizes

BASELINE, KEPT = 1000, 200


def found(peaks: dict[int, int], *, again: tuple[int, int] | None = None, worst: float = 0.0) -> ProbeResult:
    trials = [Trial(size, Outcome.RAN, {"host": peak}) for size, peak in peaks.items()]
    trials += [Trial(again[0], Outcome.RAN, {"host": again[1]})] if again else []
    models = {"host": fit_peak(list(peaks.items()))}
    if worst:
        trials = [replace(one, peaks={**one.peaks, WORST: int(worst * one.peaks["host"])}) for one in trials]
    return ProbeResult(max(peaks), "largest", max(peaks), None, tuple(trials), models=models, reserves={"host": 50})


def needs(result: ProbeResult, *, accumulated: int | None = None, kept: int = KEPT) -> RunFootprints:
    return RunFootprints(result, {"host": BASELINE}, accumulated=accumulated, gradient_bytes=kept, gradients_on="host")


def test_an_update_in_several_micro_batches_keeps_gradients() -> None:
    """Measured: 1.33 times their bytes. Seen to fail with the need bounded by that of the update in one piece."""
    need = needs(found({4: 500, 8: 540, 16: 620})).of(16)["host"]
    assert need(16) == BASELINE + 620
    assert need(8) == BASELINE + 540 + int(1.35 * KEPT)
    assert need(8) > need(16)


def test_trials_that_kept_gradients_need_nothing_added() -> None:
    """Seen to fail with the whole batch, which kept none, as a bound for the parts."""
    need = needs(found({4: 700, 8: 740, 16: 620}), accumulated=16).of(16)["host"]
    assert need(16) == BASELINE + 620
    assert need(8) == BASELINE + 740


def test_the_worst_peak_of_a_size_counts() -> None:
    """Seen to fail with the last."""
    need = needs(found({4: 500, 8: 900}, again=(8, 700))).of(8)["host"]
    assert need(8) == BASELINE + 900


def test_untried_sizes_have_to_fit_at_worst_with_the_reserve() -> None:
    """Seen to fail with the reserve left out."""
    need = needs(found({4: 400, 8: 800}, worst=1.5), kept=0).of(64)["host"]
    careful, plain = need(16), needs(found({4: 400, 8: 800}), kept=0).of(64)["host"](16)
    assert need(8) == BASELINE + 800
    assert plain < careful < plain * 1.5


def test_beyond_what_was_tried_peaks_may_bend_upwards() -> None:
    """Parameters hid what samples need. Seen to fail with the line through the trials: it says 1,040 for 64."""
    result = found({2: 1000, 4: 1000, 8: 1010})
    moments = AllocationProfile(((1000.0, 0.0), (0.0, 120.0)))
    told = replace(result, trials=tuple(replace(one, profiles={"host": moments}) for one in result.trials))
    assert needs(result, kept=0).of(64)["host"](64) >= BASELINE + 8 * 1010
    recorded = needs(told, kept=0).of(64)["host"]
    assert BASELINE + 64 * 120 <= recorded(64) < needs(result, kept=0).of(64)["host"](64) * 1.3
    assert recorded(8) == BASELINE + 1010


def test_what_was_not_measured_has_no_need() -> None:
    nothing = ProbeResult(8, "largest", 8, None, (Trial(8, Outcome.RAN),))
    assert needs(nothing).of(8) == {}


@pytest.mark.parametrize(
    ("asked", "found_size", "schedule", "first", "expected"),
    [
        (None, 48, None, 0, (48, 48, 48, 48)),
        (256, 100, None, 0, (256, 86, 256, 256)),
        (256, 300, None, 0, (256, 256, 256, 256)),
        (32, 20, {0: 8, 1: 32}, 0, (8, 8, 32, 8)),
        (32, 20, {0: 8, 1: 32}, 1, (32, 16, 32, 8)),
        (32, 32, {0: 8, 1: 500}, 1, (100, 25, 32, 8)),
    ],
)
def test_the_sizes_of_a_run(asked, found_size, schedule, first, expected) -> None:
    """(effective, micro, largest, reference)."""
    from autobatch.train.schedule import Schedule

    changing = None if schedule is None else Schedule(schedule.__getitem__)
    sizes = choose_sizes(asked, found_size, changing, samples=100, first_epoch=first)
    assert (sizes.effective_batch_size, sizes.micro_batch_size, sizes.largest, sizes.reference) == expected


@pytest.mark.parametrize(
    ("used_gib", "own_from", "kept_gib"),
    [
        (3, "driver", 3),
        (90, "driver", 3),
        (None, None, 2),
        (30, "pool", 2),
        (2, "allocator", 2),
    ],
    ids=["with its context", "took all at its start", "nobody tells", "a pool may be empty", "in use"],
)
def test_what_is_kept_of_a_gpu_is_no_pools_hoard(used_gib: int | None, own_from: OwnFrom | None, kept_gib: int) -> None:
    """Seen to fail with all that a pool holds: after trials in this process, that was what the largest of them took."""
    used = None if used_gib is None else used_gib * GIB
    device = Device(0, "GPU-1", "Fake", 100 * GIB, 5 * GIB, used, own_from=own_from)
    assert device_baseline(device, Accelerator("GPU:0", 0, 2 * GIB)) == kept_gib * GIB
