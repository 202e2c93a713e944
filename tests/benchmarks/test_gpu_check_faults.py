"""The checks of real faults: what counts as rolled back, and what twenty out-of-memory errors may cost."""

import pytest
from gpu_check import cycles, rollback
from hypothesis import given
from hypothesis import strategies as st

MIB = 2**20
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
