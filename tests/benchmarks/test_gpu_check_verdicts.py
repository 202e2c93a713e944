"""What the checks on a GPU say of what they have seen: told from made-up curves, without TensorFlow."""

from dataclasses import replace

import pytest
from gpu_check import bystander, joint, neighbour, readings, sharing, suite, trials
from gpu_check.bystander import CONTROL, Beside
from gpu_check.stage import MIB, Played, Sample
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
    ceiling = oom_limit_of(64, "device", None, 0.02)
    played = Played(0, [0], [OUT, changed(64, 16, ceiling.set_by(None)), changed(64, 16, f"{HIT}, with 1 GiB")])
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
