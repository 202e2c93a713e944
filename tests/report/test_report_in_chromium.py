"""The page as a browser shows it: there is something to see, no text lies on another, nothing is wider than a phone."""

import re
from dataclasses import replace

import numpy as np
import pytest
from browser import SCHEMES, browse, measured, needs_browser, overlaps
from drawn_runs import decisions, evil, failed_probe, probe, training
from PIL import Image

from autobatch.report.html import html_page

pytestmark = [pytest.mark.slow, needs_browser]

PAGES = {
    "probe": [probe()],
    "training": [training(decisions=decisions(14, 10.0))],
    "evil": [evil()],
    "several": [probe(), training(), failed_probe(), evil()],
}
WIDTHS = (360, 1400)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_texts_keep_apart_and_on_their_paper_and_nothing_is_fetched(tmp_path, name, width):
    """Seen to fail with labels that stand wherever their marks are, with the charts for a screen on a phone.

    And with an image of the web, and with a table that is in no box of its own to scroll in.
    """
    found = measured(tmp_path, html_page(PAGES[name]), width)
    assert found["window"] == width
    assert found["wide"] <= found["window"]
    assert found["fetched"] == []
    assert len(found["charts"]) >= 2
    for chart in found["charts"]:
        left, _, right, _ = chart["at"]
        assert overlaps(chart["texts"]) == []
        assert [text for text, box in chart["texts"] if box[0] < left - 2 or box[2] > right + 2] == []
    assert min(found["heights"]) >= 12  # of the boxes; the letters of DejaVu are 10 pixels then


def test_no_table_is_cut_on_half_a_screen(tmp_path):
    """Seen to fail with the room between columns that a whole screen has."""
    why = "32 samples need up to 1.9 GiB, the control group v1 /sys/fs/cgroup/memory/training leaves 2.0 GiB"
    changes = tuple(replace(one, reason=why) for one in decisions())
    found = measured(tmp_path, html_page([training(decisions=changes)]), 900)
    assert (found["window"], found["scrolled"]) == (900, 0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_there_is_something_to_see_down_to_the_end(tmp_path, name, scheme, width):
    """Seen to fail with a page that its style cut off, and with colours that do not follow the scheme."""
    picture = tmp_path / "page.png"
    browse(tmp_path, html_page(PAGES[name]), width, f"--screenshot={picture}", scheme=scheme)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    ground = pixels[2, 2]
    assert (ground.mean() > 200) == (scheme == "light")
    assert len(np.unique(pixels.astype(np.int32) @ (1, 256, 65536))) > 200
    for part in np.array_split(pixels, 4):
        assert (part != ground).any(axis=2).mean() > 0.003


def test_it_prints_on_paper(tmp_path):
    """Some kilobytes of PDF, with at least a page for each run."""
    paper = tmp_path / "page.pdf"
    browse(tmp_path, html_page(PAGES["several"]), 1400, f"--print-to-pdf={paper}", scheme="dark")
    printed = paper.read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= len(PAGES["several"])
