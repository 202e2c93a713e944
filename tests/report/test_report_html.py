"""The page: what stands on it, that no text of the user's becomes markup, and that nothing is fetched from anywhere."""

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from drawn_runs import EVIL, decisions, evil, failed_probe, probe, probe_trials, ran, seen, training
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saved_runs import probe_object

import autobatch
from autobatch.report.html import html_page
from autobatch.report.runs import record_of
from autobatch.results.trial import Outcome, Trial

TEMPLATES = Path(autobatch.__file__).parent / "report" / "templates"
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """What a page is made of, as a browser would read it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.texts, self.attributes, self.open = Counter(), [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def said(self):
        return " ".join(" ".join(text for place, text in self.texts if place not in ("script", "style")).split())


def read(*records):
    return Page(html_page(records))


ODD = {
    "found": probe(),
    "cached": probe(result=replace(probe().result, from_cache=True)),
    "nothing tried": failed_probe(),
    "all failed": failed_probe(trials=(Trial(2, Outcome.OUT_OF_MEMORY), Trial(1, Outcome.KILLED))),
    "one trial": failed_probe("timeout", trials=(ran(1, 2**30, 3.0),), best_so_far=1),
    "one size": probe(
        trials=probe_trials()[:1], result=replace(probe().result, batch_size=2, trials=probe_trials()[:1])
    ),
    "size one": probe(
        trials=(ran(1, 2**30, 3.0),), result=replace(probe().result, batch_size=1, trials=(ran(1, 2**30, 3.0),))
    ),
    "no budget": probe(result=replace(probe().result, budgets={}, limits={}, reserves={}, models={})),
    "no memory": probe(result=replace(probe().result, trials=(), models={}), trials=()),
    "interrupted": failed_probe("interrupted", best_so_far=384, trials=probe_trials()),
    "unknown outcome": failed_probe("struck by lightning"),
    "no text at all": probe(name="", command=None, started_at=None, environment={}, notes=(), raw=None),
    "training": training(),
    "unfinished": training(outcome="unfinished", epochs=()),
    "not begun": training(
        outcome="error", begun=None, result=None, trials=(), observations=(), decisions=(), epochs=()
    ),
    "no observations": training(observations=()),
    "no headroom": training(observations=tuple(replace(one, headroom_bytes=None) for one in seen(9))),
    "no changes": training(decisions=()),
    "many changes": training(decisions=decisions(1500, every_s=0.1)),
    "negative zero": probe(trials=(Trial(8, Outcome.RAN, {"host": 0}, 0.0, 0.0),), result=None),
    "evil": evil(),
}


@pytest.mark.parametrize("record", ODD.values(), ids=ODD.keys())
def test_any_record_gives_a_whole_page(record):
    page = read(record)
    assert page.open == []
    assert page.tags["h1"] == 1
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("count", [0, 1, 2, 21])
def test_any_number_of_runs_gives_a_whole_page_with_unique_names(count):
    records = list(ODD.values())[:count]
    page = read(*records)
    assert page.open == []
    assert page.tags["section"] == count
    assert len(page.ids) == len(set(page.ids))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == ([f"#run-{number}" for number in range(1, count + 1)] if count > 1 else [])
    assert {link.removeprefix("#") for link in links} <= set(page.ids)


@pytest.mark.parametrize("records", [[probe()], [training()], [probe(), training(), failed_probe()]])
def test_headings_never_skip_a_level(records):
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", html_page(records))]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_it_says_how_big_why_what_limits_how_fast_and_what_to_type_next():
    said = read(probe(next="autobatch fit m:model data/train --batch-size 256 --seed 3")).said
    for words in (
        "Batch size 256",
        "Batch size A batch of 256 samples is safe",
        "Why this size 256 is the smallest size within 5 %",
        "Memory about",
        "Throughput 18",
        "What to type next In a shell, or in Python: autobatch fit m:model data/train --batch-size 256 --seed 3",
        "autobatch.fit(model, data, batch_size=256)",
        probe().result.summary().replace("  ", " "),
        "To repeat it autobatch probe package.module:build_model data/train",
    ):
        assert words in said


def test_the_page_and_the_terminal_say_the_same_of_a_probe():
    """Seen to fail with sentences of the page's own."""
    said = read(probe()).said
    lines = probe().result.verdict().splitlines()
    # What the terminal says before a colon is a heading on the page.
    assert [line for line in lines if line not in said and line.replace(": ", " ", 1) not in said] == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (None, "What to type next In Python: autobatch.fit(model, data, batch_size=256) "),
        ("model.fit(x, y, batch_size=256)", "What to type next In Python: model.fit(x, y, batch_size=256) "),
    ],
)
def test_what_to_type_next_is_what_the_probe_said_and_never_guessed(line, shown):
    """Seen to fail with a line that was put together from the command."""
    said = read(probe(next=line)).said
    assert shown in said
    assert "autobatch fit" not in said


LOW = probe(result=replace(probe().result, budgets={"host": 999 * 2**30}))


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (probe(), {"budget", "reserve, kept free", "chosen", "fitted line with its margin"}),
        (LOW, {"chosen", "fitted line with its margin"}),
        (
            probe(result=replace(probe().result, reserves={"host": 0})),
            {"budget", "chosen", "fitted line with its margin"},
        ),
        (probe(result=None), {"fitted line with its margin"}),
    ],
)
def test_the_keys_of_a_chart_are_those_of_what_is_drawn(record, keys):
    """Seen to fail with the budget in the legend of a chart that it is far above."""
    (figure,) = re.findall(r'<figure id="run-1-memory-1">.*?</figure>', html_page([record]), re.DOTALL)
    said = set(re.findall(r"<li>.*</svg> (.*)</li>", figure))
    assert keys <= said
    assert said & {"budget", "reserve, kept free", "chosen"} == keys - {"fitted line with its margin"}


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("usage", "Nothing was started"),
        ("does_not_fit", "Not even one sample fits"),
        ("device_missing", "The device is missing"),
        ("inconclusive", "The trials gave no answer"),
        ("foreign_error", "The model raised an error of its own"),
        ("timeout", "Time ran out"),
        ("interrupted", "Interrupted"),
    ],
)
def test_a_failed_probe_says_what_happened_and_the_error(outcome, words):
    said = read(failed_probe(outcome, best_so_far=64)).said
    assert words in said
    assert "DoesNotFitError Not even one sample fits." in said
    assert "had run within the budget by then: 64." in said


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("done", "Trained 3 epochs, 256 samples an update"),
        ("interrupted", "Interrupted after 3 epochs, 256 samples an update"),
        ("error", "Ended by an error after 3 epochs, 256 samples an update"),
        ("unfinished", "3 epochs so far, 256 samples an update"),
    ],
)
def test_a_training_says_what_it_did_and_how_it_ended(outcome, words):
    said = read(training(outcome=outcome)).said
    assert words in said
    assert "Changes The micro-batch changed 6 times, between 64 and 256 samples." in said


def test_every_trial_and_every_failure_is_in_the_table_with_its_meaning():
    said = read(probe()).said
    for trial in probe_trials():
        assert f"{trial.size} " in said
        assert trial.outcome is Outcome.RAN or trial.outcome.value in said
        assert (trial.detail or "") in said


def test_the_chosen_size_is_marked_in_the_table_of_a_run_that_was_saved():
    """Seen to fail with the trials of the file and those of its result taken for different ones."""
    page = html_page([record_of(probe_object(), "x.json")])
    (marked,) = re.findall(r'<tr class="marked">\s*<th scope="row">(.*?)</th>', page)
    assert marked == "64"


def test_every_decision_is_in_the_table_with_its_number_and_reason():
    said = read(training()).said
    for number, one in enumerate(decisions(), 1):
        assert f"{number} {20.0 * number:.1f} s epoch" in said or f"{number} 1 min" in said or f"{number} 2 min" in said
        assert one.reason in said


def test_thousands_of_decisions_leave_the_first_and_the_last_in_the_table():
    said = read(training(decisions=decisions(1500, every_s=0.1))).said
    assert "1300 rows in the middle are left out here" in said
    assert "reason 0 " in said
    assert "reason 1499" in said


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (ODD["nothing tried"], "No trial was run"),
        (ODD["all failed"], "No trial measured a peak"),
        (ODD["all failed"], "No trial measured a speed"),
        (ODD["not begun"], "Nothing was trained"),
        (ODD["no headroom"], "No headroom was recorded"),
        (training(observations=seen(1), decisions=(), epochs=()), "Too little was recorded while training"),
        (training(observations=seen(1)), "in the table below. 1 reading."),
        (ODD["no text at all"], "No command is known"),
        (ODD["no text at all"], "Nothing is known of where it ran"),
    ],
)
def test_the_page_says_what_is_missing(record, words):
    assert words in read(record).said


@pytest.mark.parametrize("records", [[evil()], [evil(), probe(), training()]])
def test_an_evil_text_adds_no_element_and_no_attribute(records):
    """Seen to fail with autoescape off, and with JSON that was written as json.dumps leaves it."""
    tame = read(*[evil("tame") if one.name == EVIL else one for one in records])
    page = read(*records)
    assert page.tags == tame.tags
    assert Counter((tag, name) for tag, name, _ in page.attributes) == Counter((t, n) for t, n, _ in tame.attributes)
    assert "49" not in [word for _, text in page.texts for word in text.split()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1) | st.text("<>&\"'/!-{}%#|`\\ \n\u2028\0", min_size=1))
def test_no_text_changes_what_the_page_is_made_of(text):
    assert read(evil(text)).tags == read(evil("tame")).tags


def test_a_lone_surrogate_of_a_file_name_can_be_written():
    assert html_page([probe(name="m\udcff.json")]).encode("utf-8")


def raw_of(page):
    return [text for place, text in page.texts if place == "script"]


@pytest.mark.parametrize(
    "raw", [{EVIL: [EVIL, 1.5, None, True]}, {"a": "\u2028\u2029<!--"}, [{"event": "run", "x": EVIL}], None]
)
def test_the_raw_data_inside_reads_back(raw):
    (said,) = raw_of(read(probe(raw=raw)))
    assert json.loads(said) == raw
    assert not set("<>&\u2028\u2029") & set(said)


def test_what_json_has_no_word_for_becomes_null():
    (said,) = raw_of(read(probe(raw={"a": float("nan"), "b": [float("inf")]})))
    assert json.loads(said, parse_constant=pytest.fail) == {"a": None, "b": [None]}


def test_raw_data_of_megabytes_is_thinned_and_the_page_says_so():
    events = [
        {"event": "run"},
        *[{"event": "observation", "at_s": n, "x": "y" * 50} for n in range(20_000)],
        {"event": "end"},
    ]
    page = read(training(raw=events))
    (said,) = raw_of(page)
    kept = json.loads(said)
    assert len(said) < 420_000
    assert (kept[0], kept[-1]) == (events[0], events[-1])
    assert f"{len(events) - len(kept)} readings are left out here" in page.said


@pytest.mark.parametrize(
    "record", [probe(), training(observations=seen(20_000)), training(decisions=decisions(150, 1.0))]
)
def test_a_page_without_its_raw_data_is_small(record):
    """Seen to fail with every observation drawn."""
    assert len(html_page([replace(record, raw=None)]).encode()) < 150_000


def test_a_typical_run_is_below_100_kilobytes_without_its_raw_data():
    assert len(html_page([training(raw=None)]).encode()) < 100_000


def test_it_names_its_maker_in_its_first_lines():
    assert '<meta name="generator" content="autobatch 0.1.0">' in html_page([probe()])[:4096]


@pytest.mark.parametrize("records", [[probe(), training(), evil()]])
def test_nothing_is_fetched_and_nothing_is_run(records):
    """Seen to fail with a style sheet imported from the web."""
    page = read(*records)
    sources = [
        value for _, name, value in page.attributes if name in ("src", "srcset", "href", "xlink:href", "data", "action")
    ]
    assert all(source.startswith("#run-") for source in sources)
    assert not {"link", "img", "iframe", "object", "embed", "video", "audio", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert {value for tag, name, value in page.attributes if (tag, name) == ("script", "type")} == {"application/json"}
    style = "".join(text for place, text in page.texts if place == "style")
    assert not re.search(r"url\(|@import|https?:", style)


def test_every_chart_has_a_name_and_every_table_its_headings():
    page = html_page([probe(), training()])
    charts = re.findall(r"<svg [^>]*>", page)
    assert all('role="img" aria-label="' in chart or 'aria-hidden="true"' in chart for chart in charts)
    assert re.findall(r"<th(?![^>]*scope=)[ >]", page.replace("<thead>", "")) == []


COLOURS = {
    "light": (TEMPLATES / "page.css").read_text(encoding="utf-8").partition("@media")[0],
    "dark": (TEMPLATES / "page.css")
    .read_text(encoding="utf-8")
    .split("prefers-color-scheme: dark")[1]
    .partition("*")[0],
    "print": (TEMPLATES / "page.css").read_text(encoding="utf-8").partition("@media print")[2].partition("@page")[0],
}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", COLOURS)
@pytest.mark.parametrize("text", ["ink", "quiet", "accent", "alarm"])
@pytest.mark.parametrize("ground", ["paper", "shade"])
def test_text_stands_out_from_its_ground(theme, text, ground):
    """WCAG 2.2, 1.4.3: at least 4.5 to 1. Seen to fail with #8a8f95 for quiet text."""
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", COLOURS[theme]))
    assert contrast(colours[text], colours[ground]) >= 4.5
