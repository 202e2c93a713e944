"""What holds of the policy whatever it sees."""

from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import floor, log2

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from autobatch.data.epoch import rungs
from autobatch.train.control.config import ControllerConfig
from autobatch.train.control.policy import Policy
from autobatch.train.control.state import ResourceBudget, Snapshot

RESERVE = 1_000
ladders = st.integers(1, 130).flatmap(lambda most: st.integers(1, most).map(lambda largest: rungs(most, largest)))
some = settings(deadline=None, max_examples=150)


@dataclass(frozen=True)
class Line:
    """A need that rises by `step` samples at a time; it reads well when an example fails."""

    base: int
    each: int
    step: int = 1

    def __call__(self, size):
        return self.base + self.each * self.step * -(-size // self.step)


lines = st.builds(Line, st.integers(0, 5_000), st.integers(0, 500), st.integers(1, 9))
policies = st.builds(
    Policy,
    ladders,
    st.fixed_dictionaries({"host": lines}, optional={"device": lines}),
    st.builds(
        ControllerConfig,
        patience=st.integers(1, 3),
        foresight=st.sampled_from([0.0, 1.5]),
        hold=st.integers(1, 5),
        longest=st.integers(1, 4),
    ),
    st.one_of(st.none(), st.integers(1, 130)),
)
budgets = st.integers(-2_000, 40_000)


@st.composite
def snapshots(draw, least=1, most=60):
    """Readings in the order of time, of any budgets; long stretches of one budget among them, or nothing would grow."""
    seen, at_s = [], 0.0
    while len(seen) < least or (len(seen) < most and draw(st.booleans())):
        resources = {"host": ResourceBudget(draw(budgets), RESERVE, "host", 0)}
        if draw(st.booleans()):
            resources["device"] = ResourceBudget(draw(budgets), RESERVE, "device", 0)
        timed = draw(st.sampled_from([(None, None), (0.1, 8), (2.0, 3)]))
        step_s = draw(st.sampled_from([0.02, 0.3, 2.0]))
        for _ in range(draw(st.sampled_from([1, 1, 3, 12]))):
            at_s += step_s
            seen.append(Snapshot(at_s, resources, *timed))
    return seen[:most]


def run(policy, state, seen):
    """Each state with the snapshot and the decision that led to it."""
    for snapshot in seen:
        state, decision = policy.saw(state, snapshot)
        yield snapshot, state, decision


def decisions_of(policy, state, seen):
    return [one for _, _, one in run(policy, state, seen) if one is not None and one.kind != "stuck"]


def short(policy, snapshot, size):
    """Whether some resource has less than `size` samples need, whatever others take."""
    known = policy.footprints.keys() & snapshot.budgets.keys()
    return any(policy.footprints[name](size) > snapshot.budgets[name].budget_bytes for name in known)


def plenty(at_s):
    return Snapshot(at_s, {name: ResourceBudget(1 << 30, RESERVE, name, 0) for name in ("host", "device")})


@some
@given(policies, st.integers(1, 130), snapshots())
def test_the_size_is_a_rung_and_changes_with_a_decision_alone(policy, micro, seen):
    state = policy.start(micro)
    for _, after, decision in run(policy, state, seen):
        assert after.micro_batch_size in policy.ladder
        assert (
            (decision.before, decision.after) == (state.micro_batch_size, after.micro_batch_size)
            if decision
            else after.micro_batch_size == state.micro_batch_size
        )
        state = after


@some
@given(policies, st.integers(1, 130), snapshots())
def test_after_every_reading_the_size_fits_or_is_the_smallest(policy, micro, seen):
    """Seen to fail with one rung down at a time."""
    for snapshot, state, _ in run(policy, policy.start(micro), seen):
        smallest = state.micro_batch_size == policy.ladder[-1]
        assert smallest or not short(policy, snapshot, state.micro_batch_size)
        assert smallest or state.micro_batch_size in policy.fitting(state, snapshot)


@some
@given(policies, st.integers(1, 130), snapshots())
def test_a_shrink_gives_up_no_more_than_it_must(policy, micro, seen):
    """Seen to fail with a fall to the smallest rung."""
    for snapshot, state, decision in run(policy, policy.start(micro), seen):
        if decision is not None and decision.kind == "shrink":
            assert all(rung >= decision.before for rung in policy.fitting(state, snapshot) if rung > decision.after)


@some
@given(policies, st.integers(1, 130), snapshots(), snapshots())
def test_what_fits_is_a_tail_of_the_ladder(policy, micro, seen, failing):
    """A smaller size fits wherever a larger one does, so that what is below is always the way out."""
    failed = policy.start(micro)
    for snapshot in failing[:3]:
        failed, _ = policy.ran_out(failed, failed.micro_batch_size, snapshot, "host")
    for snapshot, state, _ in run(policy, failed, seen):
        fitting = policy.fitting(state, snapshot)
        assert fitting == policy.ladder[len(policy.ladder) - len(fitting) :]


@settings(deadline=None, max_examples=300)
@given(policies, st.integers(1, 130), snapshots())
def test_between_two_changes_of_headroom_the_size_moves_less_often_than_there_are_rungs(policy, micro, seen):
    """With K rungs and C readings by which other rungs fit than by the one before: at most (K - 1) * (C + 1) decisions.

    While the same rungs fit, either the size is too large, and falls once to the largest that fits, from where no
    larger one can be entered; or it fits, and can only grow, by one rung at least, K - 1 times at most.
    Seen to fail with growing that does not ask whether the larger rung fits.
    """
    steps = run(policy, policy.start(micro), seen)
    total, stretches = 0, 0
    for _, stretch in groupby(steps, key=lambda step: policy.fitting(step[1], step[0])):
        kinds = [decision.kind for *_, decision in stretch if decision is not None and decision.kind != "stuck"]
        assert kinds in (["shrink"], ["grow"] * len(kinds))
        total, stretches = total + len(kinds), stretches + 1
    assert total <= (len(policy.ladder) - 1) * stretches


@some
@given(policies, st.integers(1, 130), snapshots(most=20), st.one_of(st.none(), budgets), st.data())
def test_constant_readings_end_in_rest(policy, micro, before, device, data):
    """Seen to fail without the margin and with a shrink at nothing to spare: up and down for ever."""
    *_, (_, state, _) = run(policy, policy.start(micro), before)
    exact = policy.footprints["host"](data.draw(st.sampled_from(policy.ladder)))
    resources = {"host": ResourceBudget(data.draw(st.one_of(st.just(exact), budgets)), RESERVE, "host", 0)}
    resources |= {} if device is None else {"device": ResourceBudget(device, RESERVE, "device", 0)}
    longest = policy.config.patience * policy.config.longest
    constant = [Snapshot(1_000.0 + number, resources) for number in range(longest * len(policy.ladder))]
    *_, (_, state, _) = run(policy, state, constant)
    assert decisions_of(policy, state, [replace(one, at_s=one.at_s + 9_000.0) for one in constant]) == []


@some
@given(policies, st.integers(1, 130), snapshots())
def test_when_headroom_is_back_for_good_the_size_is_back_at_the_top(policy, micro, seen):
    """In as many readings as the longest patience takes for every rung."""
    *_, (_, state, _) = run(policy, policy.start(micro), seen)
    longest = policy.config.patience * policy.config.longest
    back = [plenty(1_000.0 + 10 * number) for number in range(longest * (len(policy.ladder) - 1) + 1)]
    *_, (_, state, _) = run(policy, state, back)
    assert state.micro_batch_size == policy.ladder[0]


@dataclass(frozen=True)
class Swing:
    """A budget that swings around what one rung needs."""

    good: int  # readings at the crest
    bad: int  # readings in the trough
    ramp: int  # readings on the way down, and on the way up
    low: int
    high: int

    @property
    def period(self):
        return self.good + self.bad + 2 * self.ramp

    def budgets(self):
        slope = [self.low + (self.high - self.low) * step // (self.ramp + 1) for step in range(1, self.ramp + 1)]
        return [self.high] * self.good + slope[::-1] + [self.low] * self.bad + slope

    def snapshots(self, periods):
        return [
            Snapshot(0.1 * number, {"host": ResourceBudget(budget, RESERVE, "host", 0)})
            for number, budget in enumerate(self.budgets() * periods)
        ]


swings = st.builds(
    lambda good, bad, ramp, low, more: Swing(good, bad, ramp, low, low + more),
    st.integers(1, 30),
    st.integers(1, 10),
    st.integers(0, 8),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)


@settings(deadline=None, max_examples=120)
@given(ladders, lines, st.integers(1, 130), st.integers(2, 10), swings)
@example(rungs(64, 64), Line(0, 300), 64, 10, Swing(30, 1, 8, 15_000, 20_000))
@example(rungs(64, 64), Line(0, 300), 1, 10, Swing(45, 1, 1, 300, 20_000))
def test_a_swing_that_no_size_can_last_through_moves_the_size_a_bounded_number_of_times(
    ladder, line, micro, patience, swing
):
    """However many swings there are, of whatever height. Seen to fail without the doubling of the patience.

    A rung that is entered at the crest and left in the trough has not lasted, where the crest is shorter than
    `hold * patience` readings, and doubles the patience. So after log2(period / patience) + 2 such swings it outlasts
    the crest. A swing changes the size at most K - 1 times up and K - 1 times down, and
    K - 1 times before the first fall.
    """
    assume(swing.period < ControllerConfig().hold * patience)
    policy = Policy(ladder, {"host": line}, ControllerConfig(patience=patience))
    decisions = decisions_of(policy, policy.start(micro), swing.snapshots(40))
    once = len(ladder) - 1
    moving = floor(log2(max(1.0, swing.period / patience))) + 2
    assert len(decisions) <= once + moving * 2 * once


@some
@given(ladders, lines, st.integers(1, 130), st.data())
def test_a_swing_within_the_margin_leaves_no_size_twice(ladder, line, micro, data):
    """Where needs are further apart than the swing is high, that is one shrink, ever.

    Around the need of any rung, with readings in any order. Seen to fail without the margin.
    """
    policy = Policy(ladder, {"host": line}, ControllerConfig(patience=1))
    around = line(data.draw(st.sampled_from(ladder)))
    height = floor(policy.config.margin * around / 2 / (1 + policy.config.margin))
    swung = data.draw(st.lists(st.integers(-height - 1, height), min_size=2, max_size=80))
    seen = [Snapshot(float(n), {"host": ResourceBudget(around + by, RESERVE, "host", 0)}) for n, by in enumerate(swung)]
    (_, state, _), *_ = run(policy, policy.start(micro), seen[:1])
    left = [decision.before for decision in decisions_of(policy, state, seen[1:]) if decision.kind == "shrink"]
    assert len(left) == len(set(left))
    assert len(left) <= 1 or min(abs(line(one) - line(other)) for one, other in pairwise(ladder)) <= 2 * height + 1


@some
@given(policies, st.integers(1, 130), snapshots(most=25), st.integers(1, 20_000), budgets, st.floats(0, 5))
def test_a_need_is_answered_by_the_very_reading_that_shows_it(policy, micro, before, missing, device, pause):
    """Seen to fail with patience for shrinking too."""
    *_, (snapshot, state, _) = run(policy, policy.start(micro), before)
    too_little = policy.footprints["host"](state.micro_batch_size) - missing
    resources = {
        "host": ResourceBudget(too_little, RESERVE, "host", 0),
        "device": ResourceBudget(device, RESERVE, "device", 0),
    }
    shown = Snapshot(snapshot.at_s + pause, resources)
    state, _ = policy.saw(state, shown)
    assert state.micro_batch_size == policy.ladder[-1] or not short(policy, shown, state.micro_batch_size)


@settings(deadline=None, max_examples=300)
@given(policies, budgets, st.lists(st.integers(0, 20_000), min_size=2, max_size=2), st.floats(0.1, 5))
def test_faster_takers_leave_a_smaller_or_equal_size(policy, budget, taken, micro_s):
    """Seen to fail with the rate counted as slack."""
    sizes = []
    for fall in sorted(taken):
        seen = [
            Snapshot(at_s, {"host": ResourceBudget(budget_bytes, RESERVE, "host", 0)}, micro_s, 16)
            for at_s, budget_bytes in [(0.0, budget + fall), (1.0, budget)]
        ]
        state = policy.saw(policy.start(130), seen[0])[0]
        # The same size before the decision, so that nothing but the rate differs.
        sizes.append(policy.saw(replace(state, micro_batch_size=policy.ladder[0]), seen[1])[0].micro_batch_size)
    assert sizes[0] >= sizes[1]


@settings(deadline=None, max_examples=300)
@given(
    ladders,
    lines,
    st.floats(0.001, 0.05),
    st.integers(1, 100_000),
    st.integers(0, 50_000),
    st.lists(st.floats(1.0, 1.5), min_size=4, max_size=40),
)
def test_a_steady_taker_never_meets_a_micro_batch_that_runs_out(ladder, line, pace_s, rate, spare, lengths):
    """Without a reserve, and with each micro-batch taking up to half as long again as expected.

    The taker begins between the first two readings, when nobody could know: that one micro-batch has the budget.
    Seen to fail without foresight.
    """
    policy = Policy(ladder, {"host": line})
    state, at_s, timed = policy.start(ladder[0]), 0.0, (None, None)
    reach = line(ladder[0]) + rate * max(0.05, pace_s * ladder[0] * 1.5) + spare
    for length in lengths:
        state, _ = policy.saw(
            state, Snapshot(at_s, {"host": ResourceBudget(floor(reach), 0, "host", 0)}, *timed, next_s=0.05)
        )
        lasted = max(0.05, pace_s * state.micro_batch_size * length)
        at_s, reach, timed = (
            at_s + lasted,
            reach - rate * lasted,
            (pace_s * state.micro_batch_size, state.micro_batch_size),
        )
        # Readings are whole bytes, so that a rate over 50 ms may be 20 bytes a second too low.
        assert reach >= line(state.micro_batch_size) - 1 - 20 * lasted or state.micro_batch_size == ladder[-1]


@settings(deadline=None, max_examples=300)
@given(policies, st.integers(1, 130), snapshots(), st.data())
def test_no_size_that_ran_out_is_entered_before_the_budget_has_clearly_grown(policy, micro, seen, data):
    """Failures with and without a reading among the snapshots. Seen to fail without OOM limits."""
    state, bars = policy.start(micro), []
    for snapshot in seen:
        if data.draw(st.integers(0, 5)) == 0:
            resource, known = data.draw(st.sampled_from(["host", "device"])), data.draw(st.booleans())
            budget = snapshot.budgets.get(resource) if known else None
            bars.append((state.micro_batch_size, resource, None if budget is None else budget.budget_bytes))
            state, _ = policy.ran_out(state, state.micro_batch_size, snapshot if known else None, resource)
        state, decision = policy.saw(state, snapshot)
        for size, resource, failed in bars:
            budget = snapshot.budgets.get(resource)
            if state.micro_batch_size >= size and state.micro_batch_size > policy.ladder[-1]:
                assert failed is not None
                assert budget is None or budget.budget_bytes > failed
                if decision is not None and decision.kind == "grow":
                    assert budget.budget_bytes > failed + 0.1 * abs(failed)


@some
@given(policies, st.integers(1, 130), snapshots(most=20), st.integers(1, 150), st.booleans())
def test_running_out_always_leads_down(policy, micro, seen, size, known):
    *_, (snapshot, state, _) = run(policy, policy.start(micro), seen)
    after, decision = policy.ran_out(state, size, snapshot if known else None, "host")
    if state.micro_batch_size == policy.ladder[-1]:
        assert (after.micro_batch_size, decision) == (state.micro_batch_size, None)
    else:
        assert after.micro_batch_size < state.micro_batch_size
        assert after.micro_batch_size < size or after.micro_batch_size == policy.ladder[-1]
        assert (
            not known
            or after.micro_batch_size == policy.ladder[-1]
            or not short(policy, snapshot, after.micro_batch_size)
        )


@some
@given(policies, policies, st.integers(1, 130), snapshots(most=30), st.booleans())
def test_what_is_carried_over_is_a_rung_that_fits_and_stays(one, other, micro, seen, known):
    *_, (snapshot, state, _) = run(one, one.start(micro), seen)
    settled = other.settle(state, snapshot if known else None)
    assert settled.micro_batch_size in other.ladder
    if known:
        assert settled.micro_batch_size == other.ladder[-1] or settled.micro_batch_size in other.fitting(
            settled, snapshot
        )
        assert other.saw(settled, replace(snapshot, at_s=snapshot.at_s))[0].micro_batch_size <= settled.micro_batch_size


wild = st.integers(-(10**30), 10**30)
numbers = st.floats(allow_nan=False)


@settings(deadline=None, max_examples=300)
@given(
    policies,
    st.integers(-5, 10**9),
    st.lists(
        st.builds(
            Snapshot,
            numbers,
            st.dictionaries(
                st.sampled_from(["host", "device", "moon"]), st.builds(ResourceBudget, wild, wild, st.text())
            ),
            st.none() | numbers,
            st.none() | st.integers(-5, 10**9),
            numbers,
        ),
        max_size=8,
    ),
    st.data(),
)
def test_nonsense_never_raises(policy, micro, seen, data):
    """Clocks that stand still or go back, negative budgets, endless times. Seen to fail without the cap on time."""
    state = policy.start(micro)
    for snapshot in seen:
        state, _ = policy.saw(state, snapshot)
        policy.headroom_bytes(state, snapshot)
        if data.draw(st.booleans()):
            state, _ = policy.ran_out(state, data.draw(st.integers(-5, 200)), snapshot, "moon")
        state = policy.settle(policy.missed(state), data.draw(st.sampled_from([None, snapshot])))
        assert state.micro_batch_size in policy.ladder


@some
@given(policies, st.integers(1, 130), snapshots())
def test_equal_snapshots_give_equal_answers(policy, micro, seen):
    first, second = (list(run(policy, policy.start(micro), seen)) for _ in range(2))
    assert first == second
    assert len({state for _, state, _ in first + second}) <= len(seen)
