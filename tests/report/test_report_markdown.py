"""Whatever a run holds stays text in Markdown."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from saved_runs import fit_lines, probe_object, ran, result, write_fit

from autobatch.report.markdown import markdown_page, table
from autobatch.report.runs import read_record, record_of
from autobatch.results.trial import Outcome, Trial

texts = st.text() | st.text(alphabet="|`<>&\\*_[]~#!-\n\r\t\u2028a /script:.")
EVIL = ["</script>", "a|b", "`x`", "a\n\nb | c", "\\|", "<!-- ", "| --- |", "[x](y)", "__init__", "&amp;", "\\", "\0"]


def rows_of(markdown):
    """The cells of every row of every table, as a reader sees them, and whether there is any HTML."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    rows, html = [], [token.content for token in tokens if token.type == "html_block"]
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in {"td_open", "th_open"}:
            children = token.children or []
            html += [child.content for child in children if child.type == "html_inline"]
            rows[-1].append("".join(child.content for child in children if child.type.startswith("text")))
            assert {child.type for child in children} <= {"text", "text_special"}
    return rows, html


def visible(text):
    words = " ".join(text.split())
    return re.sub("[\x00-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", words) or "-"


@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=4))
def test_every_row_has_the_columns_of_its_head_and_the_text_it_was_given(rows):
    """Seen to fail with each of the characters that are escaped left as it is."""
    shown, html = rows_of(table(["a", "b", "c"], rows))
    assert html == []
    assert shown[1:] == [[visible(cell) for cell in row] for row in rows]


@pytest.mark.parametrize("text", [*EVIL, "*a*", "**b**", "_c_", "&lt;", "&#124;", "~~d~~", "\\*", "a_b"])
def test_a_cell_shows_what_it_was_given(text):
    shown, html = rows_of(table(["head"], [[text]]))
    assert (shown, html) == ([["head"], [visible(text)]], [])


@pytest.mark.parametrize("text", EVIL)
def test_no_text_of_a_run_breaks_the_page(text):
    trials = (ran(2), Trial(64, Outcome.CRASHED, detail=text), ran(64))
    found = result(limit=text, trials=trials, reasons=(text,), notes=(text, text))
    error = {"kind": text, "message": text}
    values = probe_object(found, error=error, command=text, outcome=text, environment={"what": text, text: 1})
    page = markdown_page([record_of(values, text), record_of(values, text)])
    rows, html = rows_of(page)
    assert html == ["<!-- autobatch report -->\n"]
    assert {len(row) for row in rows} == {2, 7, 8}
    assert page.count("\n## ") == 3


def test_a_training_is_shown_with_its_decisions_epochs_and_notes(tmp_path):
    page = markdown_page([read_record(write_fit(tmp_path / "run.jsonl"))])
    rows, _ = rows_of(page)
    assert ["1", "4.3 s", "epoch 1, update 2, training", "8 → 4", "-1 MiB", "others | took it"] in rows
    assert ["1", "6.0", "0.5", "-"] in rows
    assert ["host total", "25,769,803,776 bytes (24.0 GiB)"] in rows
    assert "- a\n- b" in page
    assert "```\npython train.py\n```" in page


def test_what_a_command_holds_does_not_end_its_block():
    page = markdown_page([record_of(probe_object(command="a ``` b\n````\n# c"), "x")])
    tokens = MarkdownIt("commonmark").parse(page)
    assert "a ``` b\n````\n# c\n" in [token.content for token in tokens if token.type == "fence"]


def test_a_training_that_has_just_begun_is_shown(tmp_path):
    page = markdown_page([read_record(write_fit(tmp_path / "run.jsonl", fit_lines()[:1]))])
    assert "The training did not begin" in page
