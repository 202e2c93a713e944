"""Pages as a browser shows them: what they fetch, how wide they are, where the texts of their charts stand."""

import itertools
import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is on the path")
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
