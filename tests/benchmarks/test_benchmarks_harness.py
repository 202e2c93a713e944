"""What the benchmarks share: turns, ratios, tables, and a file that loses no measurement."""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import Chart, Findings, Goal, Ratio, Table, command, interleaved, lines_of, ratio, report, write_json
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import environment
from tooling.findings import numeric, texts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = st.floats(1e-6, 1e6)
TURNS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=20)
CELLS = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)


def split(turns):
    return [one for one, _ in turns], [other for _, other in turns]


@settings(max_examples=25)
@given(TURNS)
def test_a_ratio_is_the_median_turn_by_turn_within_its_spread_within_what_was_measured(turns):
    found = ratio(*split(turns))
    values = sorted(one / other for one, other in turns)
    near = 1 + 1e-9
    assert math.isclose(found.middle, statistics.median(values))
    assert values[0] <= found.low * near
    assert found.low <= found.middle * near <= found.high * near**2
    assert found.high <= values[-1] * near


@settings(max_examples=25)
@given(TURNS, st.randoms())
def test_a_ratio_does_not_depend_on_the_order_of_the_turns(turns, random):
    shuffled = random.sample(turns, len(turns))
    assert ratio(*split(turns)) == ratio(*split(shuffled))


@settings(max_examples=25)
@given(TURNS, st.floats(1e-3, 1e3))
def test_a_ratio_does_not_depend_on_how_fast_the_machine_is_in_a_turn(turns, factor):
    """A turn that was slow for both sides counts as any other."""
    slowed = [(one * factor, other * factor) for one, other in turns[:1]] + turns[1:]
    assert math.isclose(ratio(*split(turns)).middle, ratio(*split(slowed)).middle, rel_tol=1e-9)


@pytest.mark.parametrize(("samples", "over"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, 0.0])])
def test_what_gives_no_ratio_is_refused_with_what_was_received(samples, over):
    with pytest.raises(ValueError, match=r"Received: samples=.*Expected"):
        ratio(samples, over)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.03, 1.01, 1.05), "1.03 (1.01 to 1.05)"),
        ((0.0123, 0.0117, 0.0131), "0.012 (0.012 to 0.013)"),
        ((23.46, 21.0, 25.04), "23.5 (21.0 to 25.0)"),
        ((2938.2, 2801.0, 3040.4), "2,938 (2,801 to 3,040)"),
        ((0.0, 0.0, 0.0), "0.00 (0.00 to 0.00)"),
    ],
)
def test_a_ratio_is_told_in_digits_that_tell_something(values, said):
    assert str(Ratio(*values)) == said


@settings(max_examples=25)
@given(st.integers(0, 7), st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
def test_each_side_has_its_turn_and_the_order_changes_from_turn_to_turn(turns, names):
    order = []

    def side(name):
        return lambda: order.append(name) or float(len(order))

    samples = interleaved({name: side(name) for name in names}, turns)
    expected = [name for turn in range(turns) for name in (names if turn % 2 == 0 else names[::-1])]
    assert order == expected
    assert {name: len(values) for name, values in samples.items()} == dict.fromkeys(names, turns)


@settings(max_examples=25)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)))
def test_the_columns_of_a_table_are_as_wide_on_every_line(rows):
    """Whatever the cells; what is a number ends where its column ends."""
    width = len(rows[0])
    table = Table("t", tuple(f"c{i}" for i in range(width)), rows)
    ends = {len(line) for line in lines_of(table)[1:]} if numeric(table)[-1] else {0}
    assert len(ends) == 1
    assert all("\n" not in cell for row in texts(table) for cell in row)


@pytest.mark.parametrize(
    ("column", "said", "is_numeric"),
    [
        ([1.0, 0.98], ["1.00", "0.98"], True),
        ([1204.5, 0.41], ["1,204.5", "0.41"], True),
        ([2048, None], ["2,048", "-"], True),
        (["1.03 (1.01 to 1.05)", "-"], ["1.03 (1.01 to 1.05)", "-"], True),
        (["< 0.01", "12 %"], ["< 0.01", "12 %"], False),
        (["<0.01", "12 %"], ["<0.01", "12 %"], True),
        (["MobileNetV2", 3], ["MobileNetV2", "3"], False),
        ([True, False], ["yes", "no"], False),
        ([None], ["-"], False),
    ],
)
def test_a_column_is_written_as_its_cells_ask(column, said, is_numeric):
    table = Table("t", ("name", "c"), [["4 layers", cell] for cell in column])
    assert [row[1] for row in texts(table)] == said
    assert numeric(table) == [False, is_numeric]


def test_numbers_may_name_the_rows():
    assert numeric(Table("t", ("pixels", "images/s"), [[100, 12.5], [500, None]])) == [True, True]


def test_a_row_that_is_too_short_or_too_long_costs_no_result():
    table = Table("t", ("a", "b"), [["x"], ["y", 1, 2]])
    assert texts(table) == [["x", "-"], ["y", "1"]]


def test_what_is_printed_says_of_each_goal_whether_it_was_reached():
    findings = Findings(goals=[Goal("g1", True, "m1"), Goal("g2", False, "m2"), Goal("g3", None, "m3")], notes=["n"])
    assert report(findings) == [
        "Goal: g1: reached; m1",
        "Goal: g2: NOT reached; m2",
        "Goal: g3: not measured in this form; m3",
        "n",
    ]


def test_numbers_that_are_not_finite_are_kept_as_null_and_arrays_as_lists(tmp_path):
    """Seen to fail with json.dumps alone: it writes NaN, which is no JSON, and dies of an array."""
    path = tmp_path / "new" / "x.json"
    samples = {"a": [math.nan, math.inf, 1.5], 2: np.float32(0.5), "b": np.array([1.0, np.nan]), "c": Path("d")}
    write_json(path, {"samples": samples})

    def refuse(word):
        raise AssertionError(word)

    values = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert values == {"samples": {"a": [None, None, 1.5], "2": 0.5, "b": [1.0, None], "c": "d"}}
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "python benchmarks/x.py"),
        (["--json", "/somebody/x.json", "--quick"], "python benchmarks/x.py --quick"),
        (["--quick", "--json=x.json"], "python benchmarks/x.py --quick"),
        (["--models", "small conv net"], "python benchmarks/x.py --models 'small conv net'"),
    ],
)
def test_the_command_that_is_kept_measures_it_again_and_names_no_file_of_ours(words, said):
    assert command("x", words) == said


def test_a_program_prints_its_findings_and_keeps_them_with_the_machine(tmp_path):
    program = tmp_path / "x.py"
    program.write_text(
        "from harness import *\n"
        "def measure(args):\n"
        "    table = Table('t', ('a',), [[1]])\n"
        "    return Findings([table], [Goal('g', not args.quick, 'm')], samples=[float('nan')],\n"
        "                    charts=[Chart('c', 'x', 'y', {'s': [(1, 2)]})])\n"
        "benchmark('x', 'X', 'Why?', measure)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(program), "--quick", "--json", str(tmp_path / "x.json")],
        env=environment(PYTHONPATH=f"{BENCHMARKS}:{BENCHMARKS.parent}"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Goal: g: NOT reached; m" in done.stdout
    values = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert values["benchmark"] == "x"
    assert values["quick"]
    assert values["samples"] == [None]
    assert values["machine"]["cores"] >= 1
    assert values["charts"][0] == {**vars_of(Chart("c", "x", "y", {"s": [[1, 2]]}))}


def vars_of(chart):
    return {name: getattr(chart, name) for name in Chart.__dataclass_fields__}
