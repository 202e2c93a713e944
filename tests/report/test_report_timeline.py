"""The run over time: every decision marked and numbered, peaks kept, holes shown, and odd records survived."""

import itertools
import math
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from drawn_runs import GIB, decisions, seen, training
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.report.charts.timeline import timeline
from autobatch.report.runs import Epoch

FORMS = [True, False]


def drawn(record, *, wide=True):
    return ET.fromstring(timeline(record, wide=wide))  # noqa: S314 - our own drawing


def of_class(chart, name):
    return [one for one in chart.iter() if name in (one.get("class") or "").split()]


def texts(chart):
    return [one.text for one in chart.iter("text")]


def numbers_on_marks(chart):
    """What the marks say, with "3-5" counted out."""
    said = [one.text for one in of_class(chart, "badge-text")]
    ends = [[int(number) for number in text.split("-")] for text in said]
    return [number for pair in ends for number in range(pair[0], pair[-1] + 1)]


@pytest.mark.parametrize("wide", FORMS)
def test_it_shows_micro_batch_headroom_rss_and_devices(wide):
    said = texts(drawn(training(), wide=wide))
    assert {
        "micro-batch, samples",
        "headroom",
        "occupied on the host (RSS), budget dashed",
        "occupied on devices",
    } <= set(said)


@pytest.mark.parametrize("count", [1, 6, 60, 2000])
@pytest.mark.parametrize("wide", FORMS)
def test_every_decision_is_on_a_mark_once_however_many_there_are(count, wide):
    """Seen to fail with marks that were dropped where there was no room."""
    record = training(decisions=decisions(count, every_s=150.0 / (count + 1)))
    assert numbers_on_marks(drawn(record, wide=wide)) == list(range(1, count + 1))


def test_a_mark_says_its_decision_where_the_pointer_rests():
    titles = [one.text for one in drawn(training()).iter("title")]
    assert [f"{n}. {one}" for n, one in enumerate(training().decisions, 1)] == titles


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=40), st.booleans())
def test_marks_do_not_touch(times, wide):
    """Seen to fail with a mark for each decision."""
    record = training(decisions=tuple(replace(decisions(1)[0], at_s=at_s) for at_s in times))
    badges = sorted(
        (float(one.get("x")), float(one.get("width"))) for one in of_class(drawn(record, wide=wide), "badge")
    )
    assert all(left + width <= right + 0.2 for (left, width), (right, _) in itertools.pairwise(badges))


def test_a_decision_without_a_time_stands_where_its_update_was_seen():
    record = training(decisions=(replace(decisions(1)[0], at_s=None, epoch=1, update=200),))
    assert numbers_on_marks(drawn(record)) == [1]
    nowhere = training(decisions=(replace(decisions(1)[0], at_s=None, epoch=9),))
    assert numbers_on_marks(drawn(nowhere)) == []


def test_thousands_of_observations_keep_their_peak_and_stay_small():
    """Seen to fail with every tenth observation kept."""
    many = list(seen(20_000))
    many[12_345] = replace(many[12_345], rss_bytes=40 * GIB)
    record = training(observations=tuple(many))
    chart = timeline(record, wide=True)
    assert len(chart) < 60_000
    lines = [one.get("d") for one in of_class(ET.fromstring(chart), "series")]  # noqa: S314 - our own drawing
    # All readings but one are below 7 of the 43 GiB that the row is high: only the peak rises by half of it.
    steepest = max(-float(rise) for one in lines for rise in re.findall(r"[lv](?:[-0-9.]+ )?(-[0-9.]+)", one))
    assert steepest > 46


def test_a_hole_in_the_headroom_is_a_hole_in_its_line():
    known = seen(100)
    holed = tuple(
        replace(one, headroom_bytes=None) if 40 <= n < 60 else replace(one, headroom_bytes=GIB)
        for n, one in enumerate(known)
    )
    whole = tuple(replace(one, headroom_bytes=GIB) for one in known)
    lines = [len(of_class(drawn(training(observations=some)), "series")) for some in (whole, holed)]
    assert lines[1] == lines[0] + 1


def test_headroom_below_zero_is_shown_below_a_line_at_zero():
    short = tuple(replace(one, headroom_bytes=-GIB) for one in seen(20))
    chart = drawn(training(observations=short))
    assert len(of_class(chart, "zero")) == len(of_class(chart, "short")) == 1


def test_a_run_with_one_reading_is_seen():
    """Three short epochs. Seen to fail with a line of no length for each row."""
    once = (replace(seen(1)[0], at_s=5.70),)
    ends = tuple(Epoch(n, 5.71 + n / 100, {}) for n in range(3))
    chart = drawn(training(observations=once, decisions=(), epochs=ends))
    (micro,) = [one.get("d") for one in of_class(chart, "series")]
    assert float(re.search(r"h([0-9.]+)", micro).group(1)) > 600  # to the end of the span
    assert len(of_class(chart, "reading")) == 3  # headroom, the host, devices
    assert [one.get("d") for one in of_class(chart, "limit") if "h16" not in one.get("d")] == []


def test_long_trials_before_the_training_are_left_out():
    late = tuple(replace(one, at_s=one.at_s + 100) for one in seen(50))
    chart = drawn(training(observations=late, decisions=(), epochs=()))
    assert "time of the run, without its trials" in texts(chart)
    assert "60 s" not in texts(chart)


def test_epochs_are_ticks_with_as_many_numbers_as_have_room():
    many = tuple(Epoch(n, 0.5 * (n + 1), {}) for n in range(300))
    chart = drawn(training(epochs=many))
    labels = [one for one in texts(chart) if re.fullmatch(r"epoch \d+", one)]
    assert 2 < len(labels) < 20
    assert len(of_class(chart, "epoch")) == 300


@pytest.mark.parametrize(
    "changes",
    [
        {"observations": (), "decisions": (), "epochs": ()},
        {"observations": seen(1), "decisions": (), "epochs": ()},
        {"observations": tuple(replace(one, at_s=math.nan) for one in seen(3)), "decisions": (), "epochs": ()},
        {"begun": None, "observations": (), "decisions": (), "epochs": ()},
    ],
)
def test_nothing_with_a_time_is_no_timeline(changes):
    assert timeline(training(**changes), wide=True) is None


@pytest.mark.parametrize("wide", FORMS)
@pytest.mark.parametrize(
    "changes",
    [
        {"observations": ()},
        {"decisions": ()},
        {"epochs": ()},
        {"begun": None},
        {
            "observations": tuple(
                replace(one, headroom_bytes=None, device_bytes=None, budget_bytes=None) for one in seen(9)
            )
        },
        {"observations": tuple(replace(one, rss_bytes=0, micro_batch_size=0) for one in seen(9))},
    ],
)
def test_what_is_missing_leaves_the_rest(changes, wide):
    assert drawn(training(**changes), wide=wide).tag == "svg"
