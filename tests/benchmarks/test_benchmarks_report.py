"""The pages of the results: every figure is there, nothing is markup, the same results give the same bytes."""

import itertools
import json
import math
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import measured, needs_browser, overlaps
from harness import SCHEMA_VERSION, Chart, Goal, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from tooling.catalogue import ENTRIES
from tooling.charts import draw, drawable, keys, log_ticks, remark
from tooling.pages import anchor, html_page, main, markdown_page, places
from tooling.results import ResultError, mixtures, read_folder, read_result, read_samples, write_result

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EVIL = "</script></title><img src=x onerror=1>\"><b>{{ 7*7 }}|`'&lt;*_[x](y)\n# h"
MACHINE = {
    "processor": "AMD EPYC",
    "cores": 2,
    "memory_bytes": 24 << 30,
    "memory_limit_bytes": None,
    "gpus": [],
    "system": "Linux 6.1",
    "python": "3.11.7",
    "packages": {"autobatch": "0.1.0", "keras": "3.15.1"},
    "load_before": 0.07,
}
LINES = Chart("Cost", "files", "seconds", {"walk": [(1e3, 0.01), (1e6, 9.0)], "re-cut": [(1e3, 2e-4)]}, True, True)


def values(name="feeding", **own):
    """A result as its file holds it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": name,
        "title": name.title(),
        "question": f"Why {name}?",
        "quick": False,
        "command": f"python benchmarks/{name}.py",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "seconds": 61.0,
        "revision": "0123456789",
        "machine": MACHINE,
        "tables": [asdict(Table("Speed", ("side", "images/s"), [["ours", 1204.5], ["theirs", 410.25]]))],
        "goals": [asdict(Goal("at least 3 times", True, "3.4 (3.2 to 3.6)"))],
        "notes": ["A note."],
        "samples": [1, 2],
        "charts": [asdict(LINES)],
    } | own


def folder(tmp_path, *results, gpu=()):
    for place, held in (("results", results), ("gpu", gpu)):
        for number, one in enumerate(held):
            write_result(tmp_path / place / f"{one['benchmark']}{number or ''}.json", one)
    return read_folder(tmp_path / "results", tmp_path / "gpu")


class Reader(HTMLParser):
    """The elements of a page, and its text, as a browser reads them."""

    def __init__(self, page):
        super().__init__()
        self.names, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def text_of(page):
    return " ".join(" ".join(Reader(page).words).split())


def goals(*met):
    return [asdict(Goal(f"goal {one}", one, f"measured {one}")) for one in met]


def test_both_pages_hold_every_text_and_figure_of_a_result(tmp_path):
    found = folder(tmp_path, values())
    said = [
        "Feeding", "Why feeding?", "at least 3 times", "3.4 (3.2 to 3.6)", "Speed", "images/s", "1,204.50", "410.25",
        "A note.", "python benchmarks/feeding.py", "2026-01-02 03:04:05 UTC", "1 min 1 s", "0123456789",
        "AMD EPYC, 2 cores, 24.0 GiB", "Linux 6.1, Python 3.11.7", "autobatch 0.1.0, keras 3.15.1",
    ]  # fmt: skip
    markdown, page = markdown_page(found), text_of(html_page(found))
    assert [one for one in said if one not in markdown or one not in page] == []
    assert [one for one in ("walk", "re-cut") if one not in page] == []


def test_the_summary_comes_first_in_the_order_of_the_list_with_what_nobody_measured_last(tmp_path):
    """Seen to fail with the files in the order of their names."""
    found = folder(tmp_path, values("other", title="Other"), values("feeding"), values("finding"))
    summary = markdown_page(found).partition("\n## ")[0]
    rows = re.findall(r"^\| (?:\[(.*?)\]|([^|\[]*?)) ?(?:\(#.*?\) )?\|", summary, flags=re.MULTILINE)[2:]
    missing = [one.title for one in ENTRIES if one.name not in ("feeding", "finding")]
    assert ["".join(row) for row in rows] == ["Finding", "Feeding", "Other", *missing]
    assert summary.count("| no result | · not measured |") == len(missing)


@pytest.mark.parametrize(("met", "word"), [(True, "✓ reached"), (False, "✗ not reached"), (None, "· not measured")])
def test_a_goal_is_told_by_a_word_and_a_sign_as_well_as_by_colour(tmp_path, met, word):
    found = folder(tmp_path, values(goals=goals(met)))
    assert f"| goal {met} | measured {met} | {word} |" in markdown_page(found)
    page = html_page(found)
    shapes = {True: "<circle", False: "cross", None: "dash"}
    signs = re.findall(r'<span class="state \w+">(<svg.*?</svg>) ([\w ]+)</span>', page)
    assert signs[0][1] == word[2:]
    assert shapes[met] in signs[0][0]


def test_the_headline_counts_what_was_reached(tmp_path):
    found = folder(tmp_path, values(goals=goals(True, True, False, None)))
    assert "<h1>2 of 4 goals reached</h1>" in html_page(found)
    assert "**2 of 4 goals reached.**" in markdown_page(found)


def test_a_benchmark_without_a_goal_is_there_and_counts_for_nothing(tmp_path):
    found = folder(tmp_path, values(goals=[]))
    assert "<h1>1 benchmark measured, no goal set</h1>" in html_page(found)
    assert "| none set | see its table | - |" in markdown_page(found)


def test_no_result_at_all_makes_pages_that_say_so(tmp_path):
    found = folder(tmp_path)
    assert "<h1>Nothing was measured yet</h1>" in html_page(found)
    assert markdown_page(found).count("no result") == len(ENTRIES)


@pytest.mark.parametrize(
    "place", ["title", "question", "command", "measured", "table", "column", "cell", "note", "line"]
)
def test_nothing_in_a_result_is_markup(tmp_path, place):
    """Seen to fail with a template that escapes nothing, and with cells that go to Markdown as they are."""
    plain = values()
    evil = {
        "title": {"title": EVIL},
        "question": {"question": EVIL},
        "command": {"command": EVIL},
        "measured": {"goals": [asdict(Goal(EVIL, True, EVIL))]},
        "table": {"tables": [asdict(Table(EVIL, ("a",), [[1]]))]},
        "column": {"tables": [asdict(Table("t", (EVIL, "b"), [[1, 2]]))]},
        "cell": {"tables": [asdict(Table("t", ("a", "b"), [[EVIL, EVIL]]))]},
        "note": {"notes": [EVIL]},
        "line": {"charts": [asdict(Chart(EVIL, EVIL, EVIL, {EVIL: [(1, 2)]}))]},
    }[place]
    found = folder(tmp_path, plain | evil)
    page, markdown = Reader(html_page(found)), markdown_page(found)
    assert {name for name, _ in page.names} & {"img", "b", "script"} == set()
    assert "{{ 7*7 }}" in html_page(found) or "{{ 7*7 }}" in " ".join(page.words)
    outside = "".join(markdown.split("```")[::2])  # between fences nothing is markup, either
    assert re.search(r"<(img|b|script)\b", outside) is None
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    for one, other in itertools.pairwise(rows):
        if set(other) <= set("|-: "):
            assert one.count("|") == other.count("|")
    assert "\n# h" not in markdown


def test_the_same_results_give_the_same_bytes(tmp_path):
    """Whatever the order in which the files were written."""
    results = [values("finding"), values("feeding"), values("zebra"), values("alpha")]
    pages = []
    for number, order in enumerate((results, results[::-1])):
        for one in order:
            write_result(tmp_path / str(number) / f"{one['benchmark']}.json", one)
        assert main(["--results", str(tmp_path / str(number))]) == 0
        pages.append([(tmp_path / str(number) / name).read_bytes() for name in ("RESULTS.md", "results.html")])
    assert pages[0] == pages[1]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text()


@settings(max_examples=30)
@given(st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=12))
def test_what_is_kept_comes_back_whole(tmp_path_factory, found):
    """Seen to fail with lines that are broken at a space or a hyphen within a text."""
    path = tmp_path_factory.getbasetemp() / "kept" / "x.json"
    write_result(path, {"samples": [found], "notes": found})
    assert read_samples(path) == [found]
    assert json.loads(path.read_text(encoding="utf-8")) == {"notes": found}


def test_the_kept_page_is_made_of_the_kept_results_which_weigh_little():
    """If it fails after a change of the pages: run benchmarks/report."""
    files = list((BENCHMARKS / "results").iterdir())
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert sum(len(file.read_bytes().splitlines()) for file in files if file.suffix == ".json") < 5_000
    page = markdown_page(read_folder(*places(None, None, None)[:2]))
    assert page == (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")


def test_kept_samples_are_the_same_bytes_at_any_time_and_readable_points_fill_their_lines(tmp_path, monkeypatch):
    """Seen to fail with the time of day in the header of what is compressed."""
    curve = Chart("Memory", "s", "MiB", {"all": [(n / 2, 1000.5 + n) for n in range(600)]})
    written = []
    for moment in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        write_result(tmp_path / "x.json", values(charts=[asdict(curve)], samples=[1.5] * 9))
        written.append([(tmp_path / name).read_bytes() for name in ("x.json", "x.samples.json.gz")])
    assert written[0] == written[1]
    lines = written[0][0].decode().splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) < 150


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"revision": "99"}, "2 revisions: 0123456789 (finding); 99 (feeding)."),
        ({"quick": True}, "2 forms: full (finding); quick (feeding)."),
        ({"machine": MACHINE | {"cores": 8}}, "2 machines: AMD EPYC, 2 cores, 24.0 GiB (finding); AMD EPYC, 8 cores"),
        ({"machine": MACHINE | {"python": "3.12.1"}}, "2 systems: Linux 6.1, Python 3.11.7 (finding); Linux"),
        ({"machine": MACHINE | {"packages": {"keras": "4"}}}, "2 sets of versions: "),
        ({"revision": "0123456789+"}, "A plus: measured with changes that were not committed yet (feeding)."),
    ],
)
def test_what_was_not_measured_alike_is_told_before_any_figure(tmp_path, other, said):
    found = folder(tmp_path, values("finding"), values("feeding", **other))
    assert said in " ".join(mixtures(found.results))
    for page in (text_of(html_page(found)), markdown_page(found)):
        assert page.index(said.partition("(")[0]) < page.index("Why finding?")


def test_results_that_were_measured_alike_need_no_remark(tmp_path):
    assert mixtures(folder(tmp_path, values("finding"), values("feeding")).results) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no result"),
        (json.dumps(values(schema_version=1)), f"of schema 1; this program reads schema {SCHEMA_VERSION}"),
        (
            json.dumps({**values(), "tables": [{"title": "t", "columns": ["a"], "rows": [[1, 2]]}]}),
            "1 columns, and rows",
        ),
        (json.dumps({name: value for name, value in values().items() if name != "goals"}), "KeyError: 'goals'"),
    ],
)
def test_a_file_that_holds_no_result_is_left_out_and_named(tmp_path, content, said, capsys):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    write_result(tmp_path / "feeding.json", values())
    with pytest.raises(ResultError, match=re.escape(said)):
        read_result(path)
    assert main(["--results", str(tmp_path)]) == 1
    assert "x.json is left out" in capsys.readouterr().err
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "x.json is left out" in page
    assert "## Feeding" in page


def test_what_was_measured_on_a_gpu_has_a_section_of_its_own(tmp_path):
    found = folder(tmp_path, values("finding"), gpu=[values("feeding", machine=MACHINE | {"gpus": ["H200"]})])
    markdown = markdown_page(found)
    assert markdown.index("## On GPUs") < markdown.index("### feeding: Feeding")
    assert "GiB, H200" in markdown
    assert "1 of 1 goal reached" in markdown
    assert 'id="gpu-feeding"' in html_page(found)
    assert "On GPUs" not in markdown_page(folder(tmp_path / "none", values()))


def test_the_pages_of_another_folder_leave_the_kept_ones_alone(tmp_path):
    assert places(None, None, None) == (BENCHMARKS / "results", BENCHMARKS / "gpu", BENCHMARKS)
    assert places(tmp_path, None, None) == (tmp_path, None, tmp_path)


@pytest.mark.parametrize(("title", "said"), [("Finding the size", "finding-the-size"), ("A/B: 2 x", "ab-2-x")])
def test_a_link_goes_where_github_puts_the_heading(title, said):
    assert anchor(title) == said


NUMBERS = st.floats(-1e6, 1e6).map(lambda number: round(number, 9))  # of numbers next to nothing a scale has none
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=50)


@settings(max_examples=15)  # each draws two charts
@given(st.dictionaries(st.text("abc ", min_size=1, max_size=30), POINTS, min_size=1, max_size=10), *[st.booleans()] * 2)
def test_any_chart_is_drawn_with_a_legend_for_every_line_and_a_word_for_what_is_not(series, log_x, log_y):
    chart = Chart("t", "x", "y", series, log_x, log_y)
    shown = drawable(chart)
    if any(shown.values()):
        for wide in (True, False):
            svg = draw(chart, wide=wide)
            numbers = [float(one) for one in re.findall(r'(?:cx|cy|x|y)="(-?[\d.]+)"', svg)]
            assert all(-1 <= one <= 600 for one in numbers)
            assert "nan" not in svg
    assert [key.name for key in keys(chart)] == [name for name, points in shown.items() if points]
    lost = sum(map(len, series.values())) - sum(map(len, shown.values()))
    assert (str(lost) in remark(chart)) if lost else "no place" not in remark(chart)


@given(st.floats(1e-9, 1e9), st.floats(1.0, 1e12), st.integers(1, 12))
def test_ticks_of_a_logarithmic_axis_rise_within_it_and_are_no_more_than_asked_for(low, factor, most):
    ticks = log_ticks(low, low * factor, most)
    places = [value for value, _ in ticks]
    assert 1 <= len(ticks) <= most
    assert places == sorted(set(places))
    assert low * (1 - 1e-6) <= places[0]
    assert places[-1] <= low * factor * (1 + 1e-6)
    assert len({label for _, label in ticks}) == len(ticks)


@pytest.mark.slow
@needs_browser
def test_in_a_browser_texts_keep_apart_nothing_is_wider_than_the_page_and_nothing_is_fetched(tmp_path):
    """Seen to fail with titles of axes on one line, and with tables that are in no box of their own to scroll in."""
    names = ("small conv net", "MobileNetV2", "ResNet50", "EfficientNetB0", "transformer encoder", "U-Net")
    waves = {name: [(2**n, math.sin(n * len(name)) / n) for n in range(1, 10)] for name in names}
    wordy = Chart(
        "Errors",
        "batch size, samples, of the largest that fits",
        "predicted over measured peak, in percent of it",
        waves,
        True,
    )
    wide = Table("Ways", tuple(f"column {n}" for n in range(9)), [[name, *range(8)] for name in names])
    many = [*goals(True, False, None), asdict(Goal("a goal in many words " * 4, False, "0.21 to 0.48 " * 5))]
    found = folder(
        tmp_path,
        values("finding", tables=[asdict(wide)], charts=[asdict(wordy), asdict(LINES)], goals=many),
        values("feeding", revision="99+", command="python benchmarks/feeding.py " + "--option value " * 9),
    )
    for width in (360, 1200):
        seen = measured(tmp_path, html_page(found), width)
        assert seen["window"] == width
        assert seen["wide"] <= width
        assert seen["fetched"] == []
        assert len(seen["charts"]) == 3
        for chart in seen["charts"]:
            left, _, right, _ = chart["at"]
            assert overlaps(chart["texts"]) == []
            assert [text for text, box in chart["texts"] if box[0] < left - 2 or box[2] > right + 2] == []
        assert min(seen["heights"]) >= 12
