"""The check of the largest size on a device: what it makes of trials, and who searches in which form."""

from dataclasses import asdict

import keras
import pytest
from gpu_check import largest
from support.hard_budget import Tried
from support.models import NETS
from support.searches import PEERS

MIB = 2**20


def reached(goals):
    return [goal.met for goal in goals]


def result(*tried):
    return {"base_bytes": 10 * MIB, "trials": [asdict(one) for one in tried], "limit_bytes": 1000 * MIB}


def test_peaks_of_trials_that_ran_out_are_no_peaks():
    """Seen to fail with every trial taken: one that ran out has the peak at which it failed."""
    ran = [Tried(size, "ran", (10 + 50 + 3 * size) * MIB, 1.0) for size in (2, 4, 8, 16)]
    out = Tried(64, "out of memory", 900 * MIB, 11.0)
    made = largest.predicted(result(*ran, out))
    assert {one["size"] for one in made} == {8, 16}
    assert reached(largest.prediction_goals(made)) == [True, True]


def test_one_trial_predicts_nothing():
    made = largest.predicted(result(Tried(2, "ran", 20 * MIB, 1.0)))
    assert made == []
    assert reached(largest.prediction_goals(made)) == [None]


@pytest.mark.parametrize(("off", "met"), [(0.01, [True, True]), (0.05, [False, True]), (0.10, [False, False])])
def test_predictions_count_over_what_was_measured(off, met):
    bytes_ = int(1000 * (1 - off))
    made = [{"peak_bytes": 1000, "predicted_bytes": bytes_, "bound_bytes": bytes_}]
    assert reached(largest.prediction_goals(made)) == met


def test_speeds_are_told_over_the_usual_size_where_that_fits():
    sizes, speeds = {"auto": 64, "32": 32}, {"auto": [200.0, 220.0], "32": [100.0, 110.0]}
    assert [row[3] for row in largest.speed_table(sizes, speeds).rows] == ["2.00 (2.00 to 2.00)", None]
    assert largest.speed_table({"auto": 8}, {"auto": [9.0]}).rows == [["auto", 8, 9.0, None]]


def said(kind, **facts):
    return {"kind": kind, "at_s": 0.0, **facts}


TRIED = said("tried", size=8, outcome="RAN", peaks={"host": 5 * MIB, "device": 90 * MIB})
FOUND = said("found", size=8, ran_out=0, budgets={"host": 7 * MIB, "device": 100 * MIB}) | {"at_s": 12.0}


def test_a_probe_is_told_beside_what_an_exhaustive_search_has_run():
    """Seen to fail with the host's peaks told of a GPU's trials."""
    rows = largest.probe_table([said("begun"), TRIED, FOUND], 10).rows
    assert rows == [[8, "ran", 90, None, None], [8, "is the answer", 100, 12.0, "80%"]]


@pytest.mark.parametrize(
    ("events", "true_largest", "met"),
    [
        ([TRIED, FOUND], 8, [True, True, True]),
        ([TRIED, FOUND], 7, [True, True, False]),
        ([TRIED, FOUND], None, [True, True, None]),
        ([*[TRIED] * 5, FOUND | {"ran_out": 1}], 8, [False, False, True]),
        ([TRIED], 8, [False]),
        ([], None, [False]),
    ],
)
def test_an_answer_that_does_not_fit_and_none_at_all_are_not_reached(events, true_largest, met):
    """Seen to fail with an answer above the largest that runs counted."""
    assert reached(largest.probe_goals(events, true_largest)) == met


def test_the_full_form_leaves_nobody_out():
    assert largest.effort_of("gpu", list(PEERS), quick=False).peers == PEERS
    assert len(largest.effort_of("gpu", list(PEERS), quick=True).peers) > 1
    assert [peer.name for peer in largest.effort_of("cpu", list(PEERS), quick=True).peers] == list(largest.LOOK_AT)


def test_a_net_in_half_precision_leaves_those_after_it_alone():
    """Seen to fail without the policy put back."""
    before = keras.config.dtype_policy().name
    assert NETS["tiny conv net"].compiled(policy="mixed_float16").compute_dtype == "float16"
    assert keras.config.dtype_policy().name == before == "float32"
