"""Scales, ticks and shapes: everything stays on the paper and nothing of a name becomes markup."""

import itertools
import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.report.charts.axes import (
    Scale,
    byte_ticks,
    count_ticks,
    decimate,
    doubling_ticks,
    fitting_ticks,
    number_ticks,
    second_ticks,
    size_scale,
)
from autobatch.report.charts.svg import SHAPES, Svg, element, line, mark, path, steps, text

TICKS = [byte_ticks, count_ticks, number_ticks, second_ticks]
HIGHS = st.floats(1e-3, 1e15)
COORDINATES = st.floats(-1000, 1000)
POINTS = st.lists(st.tuples(st.floats(0, 700), COORDINATES), max_size=300).map(sorted)


@pytest.mark.parametrize("make", TICKS)
@given(low=st.just(0.0) | st.floats(-1e12, 0), high=HIGHS, most=st.integers(1, 12))
def test_ticks_are_in_the_range_and_rise_and_their_labels_differ(make, low, high, most):
    """Seen to fail with labels without decimals, and with a step that was rounded down."""
    ticks = make(low, high, most)
    slack = 1e-6 * (high - low)
    assert all(low - slack <= value <= high + slack for value, _ in ticks)
    assert all(before < after for (before, _), (after, _) in itertools.pairwise(ticks))
    assert len({label for _, label in ticks}) == len(ticks) <= most + 1


@given(low=st.integers(1, 10**6), factor=st.floats(2, 10**6), most=st.integers(1, 12))
def test_powers_of_two_are_in_the_range_and_no_more_than_asked_for(low, factor, most):
    ticks = doubling_ticks(low, low * factor, most)
    assert 1 <= len(ticks) <= most
    assert all(low * 0.999 <= value <= low * factor * 1.001 for value, _ in ticks)
    assert all(math.log2(value).is_integer() for value, _ in ticks)


@pytest.mark.parametrize(
    ("make", "high", "labels"),
    [
        (byte_ticks, 12 * 2**30, ["0", "5 GiB", "10 GiB"]),
        (byte_ticks, 1.2 * 2**30, ["0", "0.5 GiB", "1.0 GiB"]),
        (byte_ticks, 150 * 2**20, ["0", "50 MiB", "100 MiB", "150 MiB"]),
        (byte_ticks, 2, ["0", "1 bytes", "2 bytes"]),
        (count_ticks, 3, ["0", "1", "2", "3"]),
        (number_ticks, 2400, ["0", "1,000", "2,000"]),
        (number_ticks, 0.3, ["0.0", "0.1", "0.2", "0.3"]),
        (second_ticks, 100, ["0", "30 s", "60 s", "90 s"]),
        (second_ticks, 900, ["0", "5 min", "10 min", "15 min"]),
        (second_ticks, 3 * 86400, ["0", "24 h", "48 h", "72 h"]),
    ],
)
def test_ticks_are_numbers_that_people_count_in(make, high, labels):
    assert [label for _, label in make(0, high, 4)] == labels


@given(low=COORDINATES, width=st.floats(0.01, 1e6), a=st.floats(0, 1), b=st.floats(0, 1))
def test_a_scale_keeps_the_order_and_stays_on_the_paper(low, width, a, b):
    scale = Scale(low, low + width, 40.0, 500.0)
    first, second = sorted((a, b))
    left, right = scale(low + first * width), scale(low + second * width)
    assert 39.9 <= left <= right <= 500.1


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=12))
def test_every_size_is_on_its_axis_off_the_edges(sizes):
    scale = size_scale(sizes, 50.0, 500.0)
    assert all(50 < scale(size) < 500 for size in sizes)


@given(high=HIGHS, width=st.floats(20, 900))
def test_labels_do_not_touch_however_little_room_there_is(high, width):
    scale = Scale(0, high, 0, width)
    ticks = fitting_ticks(byte_ticks, scale, 10, lambda x, label: (x - 4 * len(label), x + 4 * len(label)))
    ends = [(scale(value) - 4 * len(label), scale(value) + 4 * len(label)) for value, label in ticks]
    assert all(right <= left + 1e-6 for (_, right), (left, _) in itertools.pairwise(ends))


@given(st.text(), st.text())
def test_text_and_attributes_never_become_markup(said, attribute):
    """Seen to fail with children that were joined as they came."""
    printable = re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", said)  # what XML can hold at all
    named = re.sub(r"[^\x20-\ud7ff\ue000-\ufffd]", "?", attribute)
    parsed = ET.fromstring(element("g", text(printable, 1, 2), id=named))  # noqa: S314 - our own drawing
    assert [one.tag for one in parsed.iter()] == ["g", "text"]
    assert (parsed[0].text or "") == printable
    assert parsed.get("id") == named


@settings(deadline=None)
@given(POINTS)
def test_a_path_ends_where_its_last_point_is(points):
    """Each step is relative to the one before: rounding must not add up."""
    if not points:
        assert path(points) == ""
        return
    x, y = walked(path(points))
    assert x == pytest.approx(points[-1][0], abs=0.051)
    assert y == pytest.approx(points[-1][1], abs=0.051)


def walked(outline):
    x = y = 0.0
    for letter, rest in re.findall(r"([Mlhv])([^Mlhv]*)", outline):
        numbers = [float(number) for number in rest.split()]
        if letter == "M":
            x, y = numbers
        elif letter == "h":
            x += numbers[0]
        elif letter == "v":
            y += numbers[0]
        else:
            x, y = x + numbers[0], y + numbers[1]
    return x, y


@settings(deadline=None)
@given(POINTS)
def test_a_thinned_line_keeps_its_peaks_and_is_no_longer_than_the_paper(points):
    """Seen to fail with every tenth point kept instead of the lowest and the highest."""
    kept = decimate(points)
    heights = [y for _, y in points]
    assert [y for _, y in kept][:1] == heights[:1]
    assert min(heights, default=0) == min((y for _, y in kept), default=0)
    assert max(heights, default=0) == max((y for _, y in kept), default=0)
    assert len(kept) <= 2 * 701 + 2
    rest = iter(points)
    assert all(point in rest for point in kept)  # in their order


def test_steps_hold_a_value_until_the_next():
    assert steps([(0, 5), (10, 2)]) == [(0, 5), (10, 5), (10, 2)]
    assert steps([]) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_one_element_with_its_title(shape):
    drawn = ET.fromstring(mark(shape, 10, 10, "512 <killed>", "failed"))  # noqa: S314 - our own drawing
    assert drawn.get("class") == f"failed {shape}"
    assert drawn[0].text == "512 <killed>"


def test_no_two_shapes_look_the_same():
    outlines = {mark(shape, 10, 10, "", "").replace(shape, "") for shape in SHAPES if shape not in ("circle", "ring")}
    assert len(outlines) == len(SHAPES) - 2


def test_a_line_of_one_point_is_a_dot():
    assert line([(3, 4)], "series") == '<path d="M3 4h0" class="series"/>'


def test_what_is_no_number_leaves_a_valid_attribute():
    assert element("circle", r=math.nan) == '<circle r="0"/>'
    assert isinstance(element("g"), Svg)
