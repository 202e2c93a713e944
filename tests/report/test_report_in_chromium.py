"""The page as a browser shows it: there is something to see, no text lies on another, nothing is wider than a phone."""

import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape

import numpy as np
import pytest
from drawn_runs import decisions, evil, failed_probe, probe, training
from PIL import Image

from autobatch.report.page import html_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is on the path"),
]

PAGES = {
    "probe": [probe()],
    "training": [training(decisions=decisions(14, 10.0))],
    "evil": [evil()],
    "several": [probe(), training(), failed_probe(), evil()],
}
WIDTHS = (360, 1400)
SCHEMES = {"dark": 0, "light": 1}  # as Blink counts them
# Boxes of text are as tall as the font's tallest letters and deepest tails together: a little less is what is inked.
MEASURE = """
<script>
addEventListener("load", () => {
  const box = (one) => {
    const b = one.getBoundingClientRect();
    return [b.left, b.top + b.height / 6, b.right, b.bottom - b.height / 6];
  };
  const shown = (one) => one.getBoundingClientRect().width > 0;
  const texts = (one) => [...one.querySelectorAll("text")].map((text) => [text.textContent, box(text)]);
  const charts = [...document.querySelectorAll("figure > svg")].filter(shown);
  const out = parent.document.createElement("output");
  out.textContent = JSON.stringify({
    charts: charts.map((one) => ({ at: box(one), texts: texts(one) })),
    wide: document.documentElement.scrollWidth,
    window: innerWidth,
    scrolled: [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth).length,
    fetched: performance.getEntriesByType("resource").map((one) => one.name),
    heights: charts.flatMap((one) => [...one.querySelectorAll("text")].map((t) => t.getBoundingClientRect().height)),
  });
  parent.document.body.append(out);
});
</script>
"""


def browse(tmp_path, page, width, *arguments, height=1600, scheme="light"):
    """What the browser prints for a page of that width; it finds no host by any name."""
    source = tmp_path / "page.html"
    source.write_text(page, encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--window-size={width},{height}",
    ]
    done = subprocess.run(
        [BROWSER, *options, *arguments, source.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def measured(tmp_path, page, width):
    """What a page is like in a frame of that width: a window of its own is never narrower than 500 pixels."""
    inner = escape(page.replace("</body>", MEASURE + "</body>"))
    frame = (
        f'<!DOCTYPE html><body><iframe srcdoc="{inner}" style="border:0;width:{width}px;height:1600px"></iframe></body>'
    )
    dom = browse(tmp_path, frame, 1500, "--dump-dom")
    return json.loads(unescape(re.search(r"<output>(.*?)</output>", dom, re.DOTALL).group(1)))


def overlaps(boxes):
    pairs = itertools.combinations(boxes, 2)
    return [
        (one, other)
        for (one, a), (other, b) in pairs
        if min(a[2], b[2]) - max(a[0], b[0]) > 0.5 and min(a[3], b[3]) - max(a[1], b[1]) > 0.5
    ]


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
