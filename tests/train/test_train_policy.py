"""The policy, decision by decision."""

from dataclasses import FrozenInstanceError, replace

import pytest

from autobatch.errors import ArgumentError
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import ResourceBudget, Snapshot

MIB = 1 << 20
LADDER = (64, 32, 22, 16, 11, 8, 6, 4, 3, 2, 1)
RESERVE = 128 * MIB


def need(size):
    """100 MiB, and 20 MiB a sample: 1380 MiB at 64, 740 at 32, 120 at 1."""
    return (100 + 20 * size) * MIB


POLICY = Policy(LADDER, {"host": need})


def snapshot(budget_mib, at_s=0.0, micro_s=None, micro_size=None, **more):
    budgets = {"host": ResourceBudget(budget_mib * MIB, RESERVE, "group /x", 0)}
    budgets |= {name: ResourceBudget(budget * MIB, RESERVE, f"the {name}", 0) for name, budget in more.items()}
    return Snapshot(at_s, budgets, micro_s, micro_size)


def after(policy, state, *snapshots):
    """The state after the snapshots, and the decisions they caused."""
    decisions = []
    for one in snapshots:
        state, decision = policy.saw(state, one)
        decisions += [decision] if decision else []
    return state, decisions


def steadily(budget_mib, readings, start_s=0.0):
    """Readings of one budget, a second apart."""
    return [snapshot(budget_mib, start_s + number) for number in range(readings)]


# Shrinking


@pytest.mark.parametrize(
    ("micro", "budget_mib", "size"),
    [
        (64, 1380, 64),  # to the byte
        (64, 1379, 32),
        (64, 400, 11),  # four rungs at once
        (64, 200, 4),
        (64, 120, 1),
        (64, 50, 1),  # nothing fits
        (64, -900, 1),
        (32, 739, 22),
    ],
)
def test_a_size_that_does_not_fit_is_left_at_once_for_the_largest_that_does(micro, budget_mib, size):
    """Seen to fail with one rung down at a time."""
    state, _ = POLICY.saw(POLICY.start(micro), snapshot(budget_mib))
    assert state.micro_batch_size == size


def test_the_resource_with_the_least_room_decides():
    policy = Policy(LADDER, {"host": need, "device": lambda size: 2 * need(size)})
    state, decision = policy.saw(policy.start(64), snapshot(9999, device=1000))
    assert (state.micro_batch_size, decision.resource) == (16, "device")


@pytest.mark.parametrize("footprints", [{}, {"device": need}])
def test_a_resource_without_a_need_or_a_budget_is_not_judged(footprints):
    policy = Policy(LADDER, footprints)
    assert policy.saw(policy.start(64), snapshot(1))[1] is None


def test_what_others_take_during_the_micro_batch_counts_as_needed():
    """Seen to fail without foresight: the kernel would kill during the next second.

    100 MiB/s, for 1.5 times the second that 64 samples take, is 150 MiB: 1380 + 150 > 1500.
    """
    _, decisions = after(POLICY, POLICY.start(64), snapshot(1600, 0.0, 1.0, 64), snapshot(1500, 1.0, 1.0, 64))
    assert [(decision.before, decision.after) for decision in decisions] == [(64, 32)]


def test_the_time_of_a_micro_batch_is_scaled_to_the_size_in_question():
    """800 MiB/s for 1.5 s would be 1200 MiB at 64 samples; of 11 it is 206 MiB, of 16 it is 300."""
    _, decisions = after(POLICY, POLICY.start(64), snapshot(1400, 0.0, 0.5, 32), snapshot(600, 1.0, 0.5, 32))
    assert [(decision.before, decision.after) for decision in decisions] == [(64, 11)]


def test_the_time_until_the_next_reading_counts_where_a_micro_batch_is_shorter():
    seen = [replace(snapshot(budget, at_s, 0.001, 64), next_s=1.0) for at_s, budget in [(0.0, 1600), (1.0, 1500)]]
    assert [decision.after for decision in after(POLICY, POLICY.start(64), *seen)[1]] == [32]


def test_the_last_known_time_of_a_micro_batch_counts_where_a_reading_has_none():
    _, decisions = after(POLICY, POLICY.start(64), snapshot(1600, 0.0, 1.0, 64), snapshot(1500, 1.0))
    assert [decision.after for decision in decisions] == [32]


# Stuck


@pytest.mark.parametrize(
    ("budget_mib", "said"),
    [(120, 0), (119, 0), (-8, 0), (-9, 3)],  # 120 MiB are needed; the reach is 128 MiB above the budget
)
def test_the_smallest_size_is_stuck_only_where_memory_would_run_out(budget_mib, said):
    """Seen to fail with the budget in place of the reach: the reserve is there to be used before giving up."""
    state, decisions = after(POLICY, POLICY.start(1), *steadily(budget_mib, 3))
    assert [decision.kind for decision in decisions] == ["stuck"] * said
    assert state.micro_batch_size == 1


# Growing


def test_growing_takes_patience_and_goes_one_rung_at_a_time_where_nothing_is_proven():
    state, decisions = after(POLICY, POLICY.start(16), *steadily(2000, 29))
    assert [(one.kind, one.before, one.after) for one in decisions] == [
        ("grow", 16, 22),
        ("grow", 22, 32),
    ]
    assert state.micro_batch_size == 32


def test_up_to_what_a_trial_has_proven_growing_goes_to_the_largest_that_fitted_throughout():
    """Seen to fail with the last reading alone: 64 would be entered though one reading had room for 32."""
    policy = replace(POLICY, proven=64)
    seen = [*steadily(2000, 4), snapshot(756, 4.0), *steadily(2000, 5, 5.0)]
    state, decisions = after(policy, policy.start(4), *seen)
    assert [(decision.before, decision.after) for decision in decisions] == [(4, 32)]
    assert [decision.after for decision in after(policy, state, *steadily(2000, 10, 10.0))[1]] == [64]


def test_beyond_what_is_proven_growing_goes_one_rung_at_a_time():
    """Seen to fail with the bound left out."""
    policy = replace(POLICY, proven=20)
    decisions = after(policy, policy.start(4), *steadily(2000, 40))[1]
    assert [decision.after for decision in decisions] == [16, 22, 32, 64]


def test_a_count_that_starts_again_forgets_what_fitted_before():
    """Seen to fail with what was reachable in an earlier row of readings kept."""
    policy = replace(POLICY, proven=64)
    state, _ = after(policy, policy.start(4), *steadily(756, 5))
    state = policy.missed(state)
    assert [decision.after for decision in after(policy, state, *steadily(2000, 10, 10.0))[1]] == [64]


def test_growing_leaves_the_margin_over():
    """32 samples need 740 MiB: 755 leave less than 2 % over, 756 leave more."""
    assert after(POLICY, POLICY.start(22), *steadily(755, 50))[1] == []
    assert len(after(POLICY, POLICY.start(22), *steadily(756, 50))[1]) == 1


@pytest.mark.parametrize("interruption", [POLICY.missed, lambda state: POLICY.saw(state, snapshot(745, 9.0))[0]])
def test_a_reading_that_is_missing_or_not_good_starts_the_count_again(interruption):
    """Seen to fail with `missed` leaving the count alone."""
    state, decisions = after(POLICY, POLICY.start(22), *steadily(2000, 9))
    state, more = after(POLICY, interruption(state), *steadily(2000, 9, 10.0))
    assert (decisions, more) == ([], [])
    assert [decision.after for decision in after(POLICY, state, snapshot(2000, 19.0))[1]] == [32]


def test_growing_waits_for_a_resource_that_is_not_seen_any_more():
    """Seen to fail with each snapshot judged by itself."""
    policy = Policy(LADDER, {"host": need, "device": need})
    state, _ = policy.saw(policy.start(22), snapshot(2000, device=740))
    assert after(policy, state, *steadily(2000, 50, 1.0))[1] == []


def test_nothing_grows_where_nothing_is_known():
    policy = Policy(LADDER, {})
    assert after(policy, policy.start(22), *steadily(2000, 50))[1] == []


# The patience


def bumps(policy, state, swings, good, bad=1):
    """The decisions of each swing: `good` readings with room for 64 samples, then `bad` ones with room for 32."""
    decisions, now = [], 0.0
    for _ in range(swings):
        seen = [*steadily(2000, good, now), *steadily(745, bad, now + good)]
        state, caused = after(policy, state, *seen)
        decisions.append([decision.kind for decision in caused])
        now += good + bad
    return state, decisions


def test_growing_that_does_not_last_doubles_the_patience():
    """Seen to fail without the doubling: every swing moved twice."""
    state, decisions = bumps(POLICY, POLICY.start(32), 20, good=45)
    assert decisions == [["grow", "shrink"]] * 3 + [[]] * 17
    assert state.backoff == 8


def test_the_patience_has_a_bound():
    policy = replace(POLICY, config=ControllerConfig(patience=1, longest=4))
    state, decisions = bumps(policy, policy.start(32), 12, good=4)
    assert state.backoff == 4
    assert decisions == [["grow", "shrink"]] * 12


def test_a_size_that_lasts_brings_the_patience_back():
    """Seen to fail with a patience that never comes back."""
    state, _ = bumps(POLICY, POLICY.start(32), 2, good=45)
    assert state.backoff == 4
    state, decisions = after(POLICY, state, *steadily(2000, 40 + 199, 100.0))
    assert ([decision.after for decision in decisions], state.backoff) == ([64], 4)
    assert POLICY.saw(state, snapshot(2000, 400.0))[0].backoff == 1


def test_running_out_of_memory_after_growing_is_growing_that_did_not_last():
    state, _ = after(POLICY, POLICY.start(32), *steadily(2000, 12))
    state, _ = POLICY.ran_out(state, 64, snapshot(2000, 12.0), "host")
    assert state.backoff == 2


# Running out of memory


@pytest.mark.parametrize(
    ("failed", "budget_mib", "after_it"),
    [
        (64, 9999, 32),  # at least one rung down, whatever the model says
        (64, 400, 11),  # further, if the snapshot says so
        (64, None, 32),
        (21, 9999, 16),  # the rest of an update is smaller than its rung
        (200, 9999, 32),  # whatever ran out, something has to be smaller
        (1, 9999, 1),
    ],
)
def test_the_size_falls_below_the_one_that_ran_out(failed, budget_mib, after_it):
    seen = None if budget_mib is None else snapshot(budget_mib)
    state, decision = POLICY.ran_out(POLICY.start(64), failed, seen, "host")
    assert (decision.kind, decision.before, decision.after) == ("shrink", 64, after_it)
    assert state.micro_batch_size == after_it


def test_there_is_nothing_below_the_smallest_size():
    state, decision = POLICY.ran_out(POLICY.start(1), 1, snapshot(9999), "host")
    assert (state.micro_batch_size, decision) == (1, None)


def sizes_at(policy, state, budget_mib, start_s):
    """The size after many readings of one budget."""
    return after(policy, state, *steadily(budget_mib, 700, start_s))[0]


def test_a_size_that_ran_out_is_tried_again_when_the_budget_has_clearly_grown():
    """Seen to fail without OOM limits."""
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    state = sizes_at(POLICY, state, 2200, 0.0)
    assert state.micro_batch_size == 32
    assert sizes_at(POLICY, state, 2201, 1000.0).micro_batch_size == 64


def test_a_size_that_ran_out_is_left_when_the_budget_comes_back_to_where_it_was():
    """Seen to fail with an OOM limit that is forgotten once it was passed."""
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    state = sizes_at(POLICY, state, 2300, 0.0)
    assert POLICY.saw(state, snapshot(2001, 1000.0))[0].micro_batch_size == 64
    assert POLICY.saw(state, snapshot(2000, 1000.0))[0].micro_batch_size == 32


@pytest.mark.parametrize("again", [64, 60])
def test_running_out_again_at_a_rung_raises_the_bar(again):
    """Seen to fail with each failure taken by itself; 60 samples are what is left of an update at the rung of 64."""
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    state = sizes_at(POLICY, state, 2300, 0.0)
    state, _ = POLICY.ran_out(state, again, snapshot(1900, 800.0), "host")  # others took some just before
    assert len(state.oom_limits) == 1
    state = sizes_at(POLICY, state, 2400, 1000.0)
    assert state.micro_batch_size == 32
    assert sizes_at(POLICY, state, 2421, 2000.0).micro_batch_size == 64


@pytest.mark.parametrize("seen", [None, snapshot(2000)])
def test_a_size_that_ran_out_without_a_reading_is_out_for_good(seen):
    state, _ = POLICY.ran_out(POLICY.start(64), 64, None, "device")
    state, _ = POLICY.ran_out(state, 64, seen, "device")
    assert sizes_at(POLICY, state, 99_999, 1.0).micro_batch_size == 32


def test_each_size_has_an_oom_limit_of_its_own():
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    state, _ = POLICY.ran_out(state, 32, snapshot(1000), "host")
    assert state.smallest_oom_size == 32
    assert sizes_at(POLICY, state, 1150, 0.0).micro_batch_size == 32
    assert sizes_at(POLICY, state, 2300, 0.0).micro_batch_size == 64


# What else it tells


@pytest.mark.parametrize(("budget_mib", "headroom_mib"), [(2000, 748), (1000, -252)])
def test_the_headroom_is_the_reach_beyond_the_need(budget_mib, headroom_mib):
    policy = Policy(LADDER, {"host": need, "device": need})
    assert policy.headroom_bytes(policy.start(64), snapshot(5000, device=budget_mib)) == headroom_mib * MIB


def test_the_headroom_of_nothing_known_is_unknown():
    assert Policy(LADDER, {}).headroom_bytes(POLICY.start(64), snapshot(1000)) is None


# Another policy


@pytest.mark.parametrize(
    ("micro", "budget_mib", "size"),
    [
        (64, 9999, 128),
        (64, 2660, 64),  # 128 samples would fit exactly: that leaves no margin
        (64, 1379, 43),
        (16, 1379, 43),
        (64, 10, 1),
    ],
)
def test_the_size_carried_over_is_the_largest_that_fits(micro, budget_mib, size):
    wider = Policy((128, 64, 43, 32, 22, 16, 8, 1), {"host": need})
    state, _ = POLICY.saw(POLICY.start(micro), snapshot(budget_mib))
    assert wider.settle(state, snapshot(budget_mib)).micro_batch_size == size


def test_the_size_carried_over_is_below_the_oom_limits():
    """Seen to fail with needs alone."""
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    wider = Policy((128, 64, 43, 32), {"host": need})
    assert wider.settle(state, snapshot(2100)).micro_batch_size == 43
    assert wider.settle(state, snapshot(2201)).micro_batch_size == 64


def test_without_sensors_the_size_carried_over_is_bounded_by_what_ran_out():
    wider = Policy((128, 64, 43, 32), {})
    assert wider.settle(POLICY.start(64), None).micro_batch_size == 128
    state, _ = POLICY.ran_out(POLICY.start(64), 64, None, "host")
    assert wider.settle(state, None).micro_batch_size == 43


def test_without_the_last_reading_nothing_larger_is_carried_over():
    state, _ = POLICY.saw(POLICY.start(64), snapshot(9999))
    wider = Policy((128, 64, 43, 32), {"host": need})
    assert wider.settle(state, None).micro_batch_size == 64


def test_settling_at_the_same_size_changes_nothing():
    state, _ = after(POLICY, POLICY.start(32), *steadily(2000, 15))
    assert POLICY.settle(state, snapshot(2000, 15.0)) == state


# What it says


GONE = "64 samples need up to 1.3 GiB and the group /x leaves 900 MiB beside a reserve of 128 MiB"
NEARLY = "64 samples need up to 1.3 GiB and the group /x leaves 1.3 GiB beside a reserve of 128 MiB, 10 MiB too little"
GOING = (
    "64 samples need up to 1.3 GiB, the group /x leaves 1.4 GiB beside a reserve of 128 MiB, and others have been "
    "taking 152 MiB/s, 228 MiB ahead"
)


@pytest.mark.parametrize(
    ("snapshots", "reason"),
    [([snapshot(900)], GONE), ([snapshot(1370)], NEARLY), ([snapshot(1552, 0.0, 1.0, 64), snapshot(1400, 1.0)], GOING)],
)
def test_a_shrink_says_what_was_needed_and_what_there_was(snapshots, reason):
    assert [decision.reason for decision in after(POLICY, POLICY.start(64), *snapshots)[1]] == [reason]


def test_a_growth_says_what_there_was_to_spare():
    _, decisions = after(POLICY, POLICY.start(32), *steadily(2000, 10))
    assert decisions[0].reason == (
        "64 samples need up to 1.3 GiB and the group /x leaves 2.0 GiB beside a reserve of 128 MiB, "
        "620 MiB to spare, for 10 readings in a row"
    )


def test_being_stuck_says_what_is_missing():
    assert POLICY.saw(POLICY.start(1), snapshot(-28))[1].reason == (
        "1 sample needs up to 120 MiB and the group /x has 100 MiB, the reserve of 128 MiB included: 20 MiB are missing"
    )


UNTIL = (
    "a micro-batch of 64 samples ran out of host memory and the group /x leaves 2.0 GiB beside a reserve of 128 MiB: "
    "so many are tried again above 2.1 GiB"
)
NEVER = (
    "a micro-batch of 64 samples ran out of host memory and no reading says how much there was: so many are not tried "
    "again"
)


@pytest.mark.parametrize(("seen", "reason"), [(snapshot(2000), UNTIL), (None, NEVER)])
def test_running_out_says_when_the_size_is_tried_again(seen, reason):
    assert POLICY.ran_out(POLICY.start(64), 64, seen, "host")[1].reason == reason


def test_coming_back_to_an_oom_limit_says_so():
    state, _ = POLICY.ran_out(POLICY.start(64), 64, snapshot(2000), "host")
    state = sizes_at(POLICY, state, 2300, 0.0)
    assert POLICY.saw(state, snapshot(1990, 800.0))[1].reason == (
        "64 samples ran out of host memory before, with 2.0 GiB, and the group /x leaves 1.9 GiB beside "
        "a reserve of 128 MiB"
    )


def test_without_sensors_nothing_is_carried_over_to_that_has_not_run_in_a_trial():
    """Seen to fail with the top of the ladder taken: a size that nobody had tried."""
    policy = replace(POLICY, proven=22)
    assert policy.settle(policy.start(4), None).micro_batch_size == 22


# A smaller size that needs more


def keeping(size):
    """Gradients that are kept for an update of 64 in several micro-batches outweigh what these save."""
    return need(size) + (0 if size == 64 else need(64))


def test_a_shrink_that_would_need_more_is_not_made():
    """Seen to fail with the shrink to the smallest size made, as if it helped."""
    policy = replace(POLICY, footprints={"host": keeping})
    state, decision = policy.saw(policy.start(64), snapshot(need(64) // MIB - 10))
    assert (state.micro_batch_size, decision) == (64, None)


def test_it_is_made_after_a_real_failure():
    policy = replace(POLICY, footprints={"host": keeping})
    state, decision = policy.ran_out(policy.start(64), 64, snapshot(need(64) // MIB - 10), "host")
    assert state.micro_batch_size == decision.after < 64


def test_whether_it_is_stuck_can_be_asked_right_after_a_shrink():
    nothing = snapshot(-1000)
    state, decision = POLICY.saw(POLICY.start(64), nothing)
    assert (decision.kind, state.micro_batch_size) == ("shrink", 1)
    assert POLICY.stuck(state, nothing).kind == "stuck"
    assert POLICY.stuck(POLICY.start(64), nothing) is None


# What it is made of


@pytest.mark.parametrize(("micro", "size"), [(64, 64), (999, 64), (63, 32), (7, 6), (1, 1), (0, 1)])
def test_it_starts_on_a_rung(micro, size):
    assert POLICY.start(micro).micro_batch_size == size


@pytest.mark.parametrize("ladder", [(), (4, 4), (2, 4), (4, 2, 0)])
def test_a_ladder_that_does_not_descend_is_refused(ladder):
    with pytest.raises(ArgumentError, match="Received: ladder="):
        Policy(ladder, {})


@pytest.mark.parametrize(
    "setting",
    [{"patience": 0}, {"margin": -0.1}, {"foresight": -1}, {"clearly": -1}, {"hold": 0}, {"longest": 0}],
)
def test_a_setting_without_sense_is_refused(setting):
    with pytest.raises(ArgumentError, match=f"Received: {next(iter(setting))}="):
        ControllerConfig(**setting)


@pytest.mark.parametrize("part", [POLICY, POLICY.config, POLICY.start(1), snapshot(1), snapshot(1).budgets["host"]])
def test_nothing_of_it_can_be_changed(part):
    name = part.__slots__[0]
    with pytest.raises(FrozenInstanceError):
        setattr(part, name, getattr(part, name))
