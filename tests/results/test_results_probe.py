"""Trials and results: what they say, and that they survive being written and read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.errors import ArgumentError
from autobatch.memory.peak_model import PeakModel
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Measurement, Outcome, Trial

GIB = 2**30
NUMBERS = st.floats(0, 1e9)
BYTES = st.integers(0, 10**13)
TRIALS = st.builds(
    Trial,
    st.integers(1, 10**6),
    st.sampled_from(Outcome),
    st.dictionaries(st.sampled_from(["host", "device"]), st.integers(0, 10**13)),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    NUMBERS,
    st.sampled_from(["worker", "caller"]),
    st.none() | st.text(),
)
RESULTS = st.builds(
    ProbeResult,
    batch_size=st.integers(1, 10**6),
    mode=st.sampled_from(["auto", "largest", "micro"]),
    max_batch_size=st.integers(1, 10**6),
    efficient_batch_size=st.none() | st.integers(1, 10**6),
    trials=st.lists(TRIALS, max_size=5).map(tuple),
    models=st.dictionaries(st.just("host"), st.builds(PeakModel, BYTES, BYTES, NUMBERS, st.integers(1, 100), BYTES)),
    budgets=st.dictionaries(st.sampled_from(["host", "device"]), st.integers(0, 10**13)),
    limits=st.dictionaries(st.sampled_from(["host", "device"]), st.text()),
    reserves=st.dictionaries(st.sampled_from(["host", "device"]), st.integers(0, 10**13)),
    from_cache=st.booleans(),
    reasons=st.lists(st.text()).map(tuple),
    notes=st.lists(st.text()).map(tuple),
    effective_batch_size=st.none() | st.integers(1, 10**6),
)

RESULT = ProbeResult(
    batch_size=384,
    mode="auto",
    max_batch_size=512,
    efficient_batch_size=384,
    trials=(
        Trial(2, Outcome.RAN, {"host": GIB, "device": GIB}, 0.01, 200.0, 9.0),
        Trial(384, Outcome.RAN, {"host": 2 * GIB, "device": int(9.1 * GIB)}, 0.5, 768.0, 6.0),
        Trial(512, Outcome.RAN, {"host": 2 * GIB, "device": int(11.5 * GIB)}, 0.66, 775.8, 5.0),
        Trial(576, Outcome.KILLED, wall_s=1.0, detail="The worker was ended by SIGKILL."),
    ),
    budgets={"host": 30 * GIB, "device": 12 * GIB},
    limits={"host": "control group", "device": "device 0"},
    reasons=("384 reaches 99 % of the best throughput.",),
    notes=("NVML is not there.",),
)


@given(TRIALS)
def test_a_trial_survives_json(trial):
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


@given(RESULTS)
def test_a_result_survives_json(result):
    assert ProbeResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@given(RESULTS)
def test_any_result_can_be_printed_and_ends_with_the_line_to_copy(result):
    assert str(result).endswith(result.summary())
    assert result.summary().startswith(f"batch_size={result.effective_batch_size or result.batch_size}  (")
    assert "\n" not in result.summary() or any("\n" in limit for limit in result.limits.values())


def test_the_summary_is_one_line_to_copy_from():
    # device 0 is the fuller resource
    assert RESULT.summary() == (
        "batch_size=384  (micro 384 x 1; peak 9.1 of 12.0 GiB budget, limit: device 0; 4 trials, 21 s)"
    )


def test_the_text_holds_every_trial_the_chosen_one_marked_and_every_reason():
    lines = str(RESULT).splitlines()
    assert lines[0].split() == ["size", "outcome", "device", "peak", "host", "peak", "s/update", "samples/s", "seconds"]
    assert [line.split()[0] for line in lines[1:5]] == ["2", "384", "512", "576"]
    assert [line.endswith("<") for line in lines[1:5]] == [False, True, False, False]
    assert lines[5].startswith("killed: ")
    assert lines[6:] == ["384 reaches 99 % of the best throughput.", "note: NVML is not there.", RESULT.summary()]


def test_the_binding_resource_is_the_fullest():
    assert RESULT.binding == "device"
    assert RESULT.peaks == {"host": 2 * GIB, "device": int(9.1 * GIB)}


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 0},
        {"schema_version": 1},
        {"schema_version": None},
        {"mode": "big"},
        {"batch_size": "many"},
        {"trials": 7},
        {"trials": [{"size": 1}]},
        {"models": {"host": {"unknown": 1}}},
        {"budgets": []},
        {"effective_batch_size": "all"},
    ],
)
def test_what_is_no_result_is_refused(change):
    with pytest.raises(ArgumentError, match="Received: "):
        ProbeResult.from_dict({**RESULT.to_dict(), **change})


@pytest.mark.parametrize(
    ("seconds", "expected"), [((), None), ((3.0,), 3.0), ((3.0, 1.0), 1.0), ((9.0, 1.0, 2.0, 3.0), 2.0)]
)
def test_the_speed_leaves_out_the_update_that_compiled(seconds, expected):
    measurement = Measurement(seconds, {"host": 5})
    assert measurement.seconds_per_update == expected
    trial = Trial.measured(8, Outcome.RAN, measurement, wall_s=4.0, where="worker")
    assert trial.samples_per_s == (None if expected is None else 8 / expected)


def test_every_outcome_explains_itself_in_its_own_words():
    assert len({outcome.value for outcome in Outcome}) == len(Outcome)
    assert all(outcome.value.endswith(".") for outcome in Outcome)


IN_PARTS = ProbeResult(
    batch_size=64,
    mode="micro",
    max_batch_size=68,
    efficient_batch_size=None,
    trials=(Trial(64, Outcome.RAN, {"host": 300 * 2**20}, 0.25, 256.0, 3.0),),
    budgets={"host": 400 * 2**20},
    limits={"host": "host, as if it had 1.0 GiB"},
    reserves={"host": 128 * 2**20},
    reasons=("Of 256 samples,\nfour parts.",),
    effective_batch_size=256,
)


def test_the_line_of_an_effective_batch_is_what_a_training_takes():
    """Seen to fail with the micro-batch in its place: the training would have run another batch."""
    assert IN_PARTS.summary() == (
        "batch_size=256  (micro 64 x 4; peak 300 of 400 MiB budget, limit: host, as if it had 1.0 GiB; 1 trial, 3 s)"
    )


@pytest.mark.parametrize(("effective", "size", "steps"), [(None, 7, 1), (7, 7, 1), (8, 7, 2), (256, 64, 4), (1, 1, 1)])
def test_an_update_has_as_many_micro_batches_as_its_samples_need(effective, size, steps):
    result = ProbeResult(size, "micro" if effective else "auto", size, None, (), effective_batch_size=effective)
    assert result.accumulation_steps == steps
    assert result.to_dict()["accumulation_steps"] == steps


def test_the_verdict_says_how_big_why_what_limits_and_how_fast():
    assert RESULT.verdict().splitlines() == [
        "A batch of 384 samples is safe, and so is every size up to 512: 384 and 512 both ran within the budget.",
        "384 reaches 99 % of the best throughput.",
        "Memory: 9.1 GiB of a budget of 12.0 GiB (76 %), limited by the device 0.",
        "Throughput: 768 samples/s, 0.5 s per update, excluding data loading.",
    ]


def test_the_largest_safe_size_alone_is_said_once():
    verdict = replace(RESULT, batch_size=512).verdict()
    assert verdict.startswith("A batch of 512 samples is safe: it ran within the budget.\n")


@pytest.mark.parametrize(
    ("peak", "budget", "said"),
    [
        (40 * 2**20, 3 * GIB, "peak 40 MiB of 3.0 GiB"),
        (GIB // 10, 3 * GIB, "peak 102 MiB of 3.0 GiB"),
        (GIB // 10 + 1, 3 * GIB, "peak 0.1 of 3.0 GiB"),
        (300 * 2**10, 400 * 2**20, "peak 300 KiB of 400 MiB"),
        (2**20, 400 * 2**20, "peak 1 of 400 MiB"),
    ],
)
def test_a_small_peak_is_said_in_a_unit_of_its_own(peak, budget, said):
    """Seen to fail with "peak 0.0 of 3.0 GiB"."""
    trials = (Trial(8, Outcome.RAN, {"host": peak}, wall_s=2.0),)
    assert said in ProbeResult(8, "largest", 8, None, trials, budgets={"host": budget}).summary()


def test_the_verdict_of_an_effective_batch_tells_of_whole_updates():
    """Seen to fail with the seconds of one micro-batch."""
    size, why, memory, speed = IN_PARTS.verdict().splitlines()
    assert size.startswith("An update of 256 samples is safe as 4 accumulated micro-batches of up to 64: ")
    assert why == "Of 256 samples, four parts."
    assert memory.startswith("Memory: 300 MiB of a budget of 400 MiB (75 %), limited by the host, as if ")
    assert memory.endswith("it had 1.0 GiB, with 128 MiB kept free.")
    assert speed == "Throughput: 256 samples/s, 1 s per update, excluding data loading."


@given(RESULTS)
def test_any_verdict_has_three_to_six_lines(result):
    assert 3 <= len(result.verdict().splitlines()) <= 6


@given(st.builds(PeakModel, NUMBERS, NUMBERS, NUMBERS, st.integers(1, 100), NUMBERS), st.integers(1, 10**5))
def test_bytes_are_written_whole_and_predict_no_less(model, size):
    written = ProbeResult(1, "auto", 1, None, (), models={"host": model}).to_dict()
    fields = written["models"]["host"]
    assert all(isinstance(fields[name], int) for name in ("fixed_bytes", "per_sample_bytes", "least_bytes"))
    again = ProbeResult.from_dict(json.loads(json.dumps(written))).models["host"]
    assert 0 <= again.predict(size) - model.predict(size) <= size + 1
