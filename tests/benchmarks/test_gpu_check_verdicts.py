"""What the checks on a GPU say of what they have seen, and their actors on a driver with a finite card."""

import ctypes
import itertools
import json
from dataclasses import replace

import pytest
from gpu_check import actors, bystander, cycles, joint, neighbour, readings, rollback, sharing, suite, trials
from gpu_check.actors import Cuda, Host, OutOfMemoryError
from gpu_check.bystander import CONTROL, Beside
from gpu_check.stage import MIB, Played, Sample
from hypothesis import given
from hypothesis import strategies as st
from support.adapting_scene import IMAGES

from autobatch.train.control.state import oom_limit_of

SHRINK = sharing.Shrink(at_s=10.0, before=64, after=16, micro_s=0.1, expected_bytes=1000)
HELD = [(9.8, 2000), (9.9, 2000)]


@pytest.mark.parametrize(
    ("curve", "met"),
    [
        ([*HELD, (10.01, 1000), (10.2, 1000)], True),
        ([*HELD, (10.05, 2000), (10.1, 1200)], True),
        ([*HELD, (10.05, 2000), (10.1, 1201)], False),
        ([*HELD, (10.05, 2000), (10.11, 1000)], False),
        ([*HELD, (10.05, 2000), (10.3, 2000)], False),
        ([*HELD, (10.3, 1000)], None),
        ([(10.05, 1000), (10.1, 1000)], None),
        ([(9.9, 0), (10.05, 0)], None),
        ([], None),
    ],
    ids=[
        "at once",
        "at its end",
        "a byte too few",
        "too late",
        "never",
        "a gap",
        "nobody before",
        "not booked",
        "none",
    ],
)
def test_bytes_count_as_back_only_if_somebody_saw_them_back_within_the_micro_batch(curve, met):
    """Seen to fail with the first look after the deadline counted, and with a gap taken for success."""
    assert sharing.verdict(curve, SHRINK)[0] is met


def test_what_was_held_for_larger_micro_batches_still_is_not_what_a_second_shrink_gives_back():
    curve = [(9.0, 9000), (9.6, 2000), (9.9, 2000), (10.05, 1900)]
    assert sharing.verdict(curve, replace(SHRINK, since_s=9.5))[0] is False


def test_bytes_that_nobody_books_are_what_is_taken_less_what_the_neighbour_says():
    free = [(1.0, 1000), (2.0, 400), (3.0, 100), (4.0, 500)]
    told = [[{"kind": "held", "at_s": 2.5, "held": 300}]]
    played = Played(held=told, samples=[Sample(at_s, left) for at_s, left in free], pid=7)
    assert sharing.curve_of(played)[0] == [(1.0, 0), (2.0, 600), (3.0, 600), (4.0, 200)]


def test_a_shrink_is_judged_by_what_a_sample_adds_and_how_long_one_takes():
    events = [
        {"kind": "models", "at_s": 0.0, "per_sample": {"device": 10.0}},
        *({"kind": "update", "at_s": at_s} for at_s in (1.0, 2.0)),
        {"kind": "changed", "at_s": 2.1, "before": 8, "after": 2},
        *({"kind": "update", "at_s": at_s} for at_s in (3.0, 5.0, 9.0)),
        {"kind": "changed", "at_s": 9.1, "before": 2, "after": 8},
        {"kind": "end", "at_s": 10.0, "effective_batch_size": 8},
    ]
    assert sharing.shrinks_of(Played(events=events), "device") == [sharing.Shrink(2.1, 8, 2, 0.5, 60)]
    assert sharing.shrinks_of(Played(events=events), "host") == []


def changed(before, after, reason="it needs up to"):
    return {"kind": "changed", "before": before, "after": after, "reason": reason}


def epoch(used):
    return {"kind": "epoch", "used_once": used}


HIT = "64 samples ran out of device memory before"
FELL, GREW, OUT = (
    changed(64, 16),
    changed(16, 64),
    changed(64, 16, "a micro-batch of 64 samples ran out of device memory"),
)


@pytest.mark.parametrize(
    ("played", "met"),
    [
        (Played(0, [0], [FELL, epoch(IMAGES), GREW]), [True, True, True, True, True]),
        (Played(0, [0], [OUT, epoch(IMAGES), GREW]), [True, True, True, True, True]),
        (Played(-9, [0], [FELL]), [False, True, True, None, False]),
        (Played(0, [1], [FELL, GREW]), [True, False, True, None, True]),
        (Played(0, [], []), [True, False, False, None, None]),
        (Played(0, [0], [FELL, epoch(IMAGES), epoch(IMAGES - 1), GREW]), [True, True, True, False, True]),
    ],
    ids=["shrank", "rolled back", "died", "took no memory", "nobody came", "lost a sample"],
)
def test_a_neighbour_is_outlived_only_if_room_was_made_and_nothing_was_lost(played, met):
    """Seen to fail with the epochs that were whole counted alone, and with no neighbour as one that lived."""
    assert [goal.met for goal in neighbour.goals_of([neighbour.told(played)])] == met


def test_only_what_ran_out_itself_was_rolled_back():
    """Seen to fail with the reasons that tell of an earlier failure, and by other words than those of the product."""
    limit = oom_limit_of(64, "device", None, 0.02)
    played = Played(0, [0], [OUT, changed(64, 16, limit.set_by(None)), changed(64, 16, f"{HIT}, with 1 GiB")])
    assert (neighbour.told(played).rolled_back, neighbour.told(played).shrank) == (2, 1)


OURS, KILLS = Beside("autobatch", True, 90, 0, 256, 0), Beside(CONTROL, False, 9, 0)


@pytest.mark.parametrize(
    ("others", "met"),
    [
        ([OURS, KILLS, Beside("accelerate", False, 9, 0)], [True, True, True]),
        ([OURS, KILLS, Beside("accelerate", True, 90, 0)], [True, True, False]),
        ([OURS, KILLS, Beside("accelerate", True, 90, 1)], [True, True, None]),
        ([OURS, KILLS, Beside("accelerate", True, 90, 0, why="no torch")], [True, True, None]),
        ([OURS, replace(KILLS, lived=True)], [None, True, None]),
        ([replace(OURS, lived=False), KILLS], [False, True, None]),
        ([replace(OURS, ended=1, ran_out=None), KILLS], [False, None, None]),
        ([replace(OURS, ended=None, ran_out=None), KILLS], [None, None, None]),
        ([replace(OURS, lived=False, why="the bystander cannot live alone"), KILLS], [None, True, None]),
        ([replace(OURS, ran_out=1), KILLS], [True, False, None]),
    ],
)
def test_a_bystander_that_nothing_can_kill_has_shown_nothing(others, met):
    """Seen to fail with the control left out: the bystander could sleep through everything."""
    assert [goal.met for goal in bystander.goals_of(others)] == met


def trial(size, at_s, peak, where="worker"):
    return {"kind": "tried", "size": size, "at_s": at_s, "where": where, "peaks": {"device": peak}}


def test_a_trial_is_compared_with_what_its_worker_held_more_than_before():
    events = [
        {"kind": "trying", "at_s": 1.0},
        trial(8, 2.0, 500),
        {"kind": "trying", "at_s": 3.0},
        trial(16, 4.0, 900),
        {"kind": "found", "at_s": 4.0, "budgets": {"device": 1000}, "reserves": {"device": 10}},
    ]
    held = [(0.9, 100), (1.5, 600), (1.9, 300), (3.5, 1100)]
    samples = [Sample(at_s, 0, {1: 7000, 2: bytes_}) for at_s, bytes_ in held]
    rows = trials.seen_of(events, samples, 1, "device")
    assert [(one.told_bytes, one.seen_bytes) for one in rows] == [(500, 500), (900, 1000)]
    assert trials.within_budget(rows, 10)[0] is True
    assert trials.within_budget([replace(rows[1], seen_bytes=1011)], 10)[0] is False
    assert trials.within_budget([], 10)[0] is None
    assert trials.seen_of(events, [], 1, "device")[0].seen_bytes is None


def test_who_holds_the_whole_gpu_is_seen_to_start_nobody():
    found = {"kind": "found", "at_s": 9.0, "same": True}
    run = {"events": [trial(8, 2.0, 500, "caller"), found], "samples": [Sample(1.0, 0, {1: 900})], "pid": 1}
    assert [goal.met for goal in trials.whole_goals(run)] == [True, True]
    seen = run | {"samples": [Sample(1.0, 0, {1: 900, 2: 1})]}
    assert [goal.met for goal in trials.whole_goals(seen)] == [False, True]
    assert [goal.met for goal in trials.whole_goals(run | {"events": []})] == [None, None]


def test_a_reading_in_a_container_says_whose_figure_it_is():
    """Seen to fail with any figure that is large enough."""
    told = {"taken": 512 * MIB, "own": 512 * MIB, "own_from": "pool", "notes": []}
    assert readings.says_so(told) is False
    assert readings.says_so(told | {"notes": ["GPU:0: what this process holds is what the pool tells."]}) is True
    assert readings.says_so(told | {"own_from": "driver"}) is True
    assert readings.says_so(told | {"own": 400 * MIB, "own_from": "driver"}) is False
    assert readings.says_so(told | {"own": None}) is False


def test_a_training_has_to_live_at_the_answer_of_its_probe():
    trained = [{"kind": "trained", "updates": 3}]
    assert joint.trains(trained, 0, 0)[0] is True
    assert [joint.trains(*case)[0] for case in (([], 0, 0), (trained, -9, 0), (trained, 0, 1))] == [False] * 3
    assert joint.binds([], "host")[0] is False


def test_tests_that_were_all_skipped_have_shown_nothing():
    report = '<r><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></r>'
    assert suite.goal(suite.outcomes(report)).met is False
    assert suite.goal([]).met is None


NEAR = [100, 97, 94, 91]


def reached(goals):
    return [goal.met for goal in goals]


def played(**other):
    cuts = [[128, 128], [128, 128], [40]]
    calm = {"decisions": [[256, 128]], "messages": ["OOM"], "cuts": cuts, "same_cuts": True, "differences": []}
    return {"bfc": calm | {"loss": 1.5} | other}


@pytest.mark.parametrize(
    ("other", "met"),
    [
        ({}, [True, True, True]),
        ({"decisions": []}, [False, False, True]),
        ({"differences": ["0 kernel"]}, [True, False, True]),
        ({"same_cuts": False}, [True, False, True]),
        ({"cuts": [[128, 128], [40]]}, [True, True, False]),
        ({"cuts": [[128, 128, 128], [128, 128], [40]]}, [True, True, False]),
        ({"loss": float("nan")}, [True, True, False]),
    ],
)
def test_rolled_back_is_what_really_ran_out_and_is_the_same_and_went_on(other, met):
    """Seen to fail with weights that count as the same though nothing ran out."""
    assert reached(rollback.verdict(played(**other))) == met


def test_one_allocator_that_leaves_a_trace_is_enough():
    both = played() | {"cuda_malloc_async": played(differences=["3 momentum"])["bfc"]}
    assert reached(rollback.verdict(both)) == [True, False, True]
    assert "3 momentum" in rollback.verdict(both)[1].measured


def test_without_a_training_nothing_is_reached():
    assert reached(rollback.verdict({})) == [None, None, None]


def test_of_a_message_the_line_is_shown_that_tells_of_the_memory():
    messages = ["ResourceExhaustedError: Graph execution error:\nDetected at node x\nOOM when allocating tensor"]
    assert rollback.table_of(played(messages=messages)).rows[0][-1] == "OOM when allocating tensor"


def told(count=20, **other):
    state = {"speeds": [100.0, 101.0, 99.0, 100.0], "largest": 97, "held": MIB}
    one = {"fell": [[130, 65]], "calm": True, "held": MIB, "seconds": 11.0}
    return {
        "before": state,
        "after": state | other,
        "cycles": [one] * count,
        "near": NEAR,
        "half": 50,
        "too_large": 130,
    }


@pytest.mark.parametrize(
    ("other", "met"),
    [
        ({}, [True, True, True, True]),
        ({"largest": 100}, [True, True, True, True]),
        ({"largest": 94}, [True, True, True, True]),
        ({"largest": 91}, [True, False, True, True]),
        ({"largest": None}, [True, False, True, True]),
        ({"speeds": [97.0] * 4}, [True, True, False, True]),
        ({"held": MIB + 1}, [True, True, True, False]),
    ],
)
def test_twenty_cycles_may_cost_neither_room_nor_speed_nor_memory(other, met):
    """Seen to fail with a largest size that may be anything as long as there is one."""
    assert reached(cycles.verdict(told(**other), 20, "gpu")) == met


@pytest.mark.parametrize("spoilt", [{"fell": []}, {"calm": False}])
def test_a_cycle_in_which_nothing_ran_out_or_after_which_nothing_ran_is_none(spoilt):
    """Seen to fail with the cycles counted, and not what became of them."""
    values = told()
    values["cycles"] = [*values["cycles"][:-1], values["cycles"][-1] | spoilt]
    assert reached(cycles.verdict(values, 20, "gpu"))[0] is False


def test_fewer_cycles_than_were_asked_for_are_not_enough():
    assert reached(cycles.verdict(told(19), 20, "gpu"))[0] is False


def test_memory_that_a_cycle_keeps_counts_even_if_it_is_given_back_in_the_end():
    values = told()
    values["cycles"] = [values["cycles"][0] | {"held": 2 * MIB}, *values["cycles"][1:]]
    assert reached(cycles.verdict(values, 20, "gpu"))[-1] is False


def test_a_cpus_speed_is_no_verdict_on_a_gpu():
    assert reached(cycles.verdict(told(speeds=[10.0] * 4), 20, "cpu"))[2] is None


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 5_000))
def test_a_size_is_told_from_a_line_to_the_sample(fixed, slope, size):
    points = [(n, fixed + slope * n) for n in (4, 16)]
    assert abs(cycles.size_at(fixed + slope * size, points) - size) <= 1


class Line:
    """A training whose peaks are on a line."""

    def __init__(self, fixed):
        self.fixed, self.tried = fixed, []

    def peak_bytes(self, size):
        self.tried.append(size)
        return self.fixed + 10 * size


def test_sizes_are_told_from_peaks_near_half_of_the_limit_and_none_beyond_it():
    """Seen to fail with the two smallest sizes, whose peaks are mostly what any step needs."""
    line = Line(fixed=100)
    (_, lower), (_, upper) = cycles.two_points(line, 10_000)
    assert 0.4 * 10_000 <= upper < 0.9 * 10_000
    assert lower < upper
    assert line.tried == sorted(set(line.tried))


def test_a_limit_that_any_step_fills_is_said_to_be_too_small():
    with pytest.raises(ValueError, match="Received: limit_bytes=1000"):
        cycles.two_points(Line(fixed=900), 1000)


MIB = 1 << 20


class FakeDriver:
    """libcuda with a finite card: what is not there is refused with the driver's own code."""

    def __init__(self, total=8 * MIB, spoils=False):
        self.total, self.spoils, self.taken = total, spoils, {}
        self._places = itertools.count(1 << 32)

    def __getattr__(self, name):
        if name in ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuCtxSynchronize"):
            return lambda *_: 0
        raise AttributeError(name)

    def cuMemAlloc_v2(self, pointer, size):  # noqa: N802 - the driver's name
        if sum(self.taken.values()) + size.value > self.total:
            return 2
        pointer._obj.value = next(self._places)
        self.taken[pointer._obj.value] = size.value
        return 0

    def cuMemFree_v2(self, pointer):  # noqa: N802
        del self.taken[pointer.value]
        return 0

    def cuMemsetD8_v2(self, *_):  # noqa: N802
        return 0

    def cuMemcpyDtoH_v2(self, page, _, size):  # noqa: N802
        ctypes.memset(page, 0 if self.spoils else 0xA5, size.value)
        return 0


def test_a_bystander_ends_at_the_first_time_that_it_is_refused(capsys):
    """Seen to fail with a bystander that tries again."""
    driver = FakeDriver()
    memory = Cuda(driver)
    others = memory.take(6 * MIB)
    assert actors.churn(memory, {"amount": 4 * MIB}) == actors.FAILED
    assert json.loads(capsys.readouterr().out)["kind"] == "failed"
    assert list(driver.taken) == [others[0]]
    assert actors.churn(Cuda(FakeDriver(spoils=True)), {"amount": MIB}) == actors.FAILED
    assert json.loads(capsys.readouterr().out)["kind"] == "spoiled"


def test_a_neighbour_takes_the_last_of_a_card_and_gives_all_of_it_back(capsys):
    """Seen to fail with steps of one size: a training that left less than that free was never pressed."""
    driver = FakeDriver()
    part = {"amount": 64 * MIB, "rate": 64 * MIB, "hold_s": 0.0, "patience_s": 0.1}
    assert actors.take(Cuda(driver), part) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert max(event["held"] for event in said) == driver.total
    assert driver.taken == {}


def test_a_search_by_running_out_takes_all_there_is_and_what_others_let_go_of_until_it_is_told_to_stop(
    capsys, tmp_path, monkeypatch
):
    """Seen to fail with a search that ends once there is no more."""
    driver = FakeDriver()
    others = [Cuda(driver).take(2 * MIB)]

    def later(_):
        if others:
            Cuda(driver).give(others.pop())
        elif sum(driver.taken.values()) == driver.total:
            (tmp_path / "stop").touch()

    monkeypatch.setattr(actors.time, "sleep", later)
    assert actors.search(Cuda(driver), {"amount": MIB, "stop": str(tmp_path / "stop")}) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["held"] == driver.total
    with pytest.raises(OutOfMemoryError):
        Cuda(driver).take(driver.total + 1)


def test_a_group_that_stands_for_a_gpu_refuses_before_the_kernel_kills(tmp_path):
    """Seen to fail with the last bytes given away: whoever asked next, within a step, was killed."""
    (tmp_path / "memory.max").write_text(str(1024 * MIB), encoding="utf-8")
    (tmp_path / "memory.stat").write_text(f"anon {800 * MIB}\nfile {200 * MIB}\n", encoding="utf-8")
    memory = Host(tmp_path)
    handle = memory.take(3 * MIB + 4096)
    assert memory.is_intact(handle)
    memory.give(handle)
    with pytest.raises(OutOfMemoryError):
        memory.take(100 * MIB)
