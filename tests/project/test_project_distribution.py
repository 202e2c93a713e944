"""The distribution is called keras-autobatch: `autobatch` on the package index is another project's."""

import re
from importlib import metadata
from pathlib import Path

import pytest

import autobatch

ROOT = Path(__file__).parents[2]
FOLDERS = ("autobatch", "benchmarks", "docs", "examples", "scripts", "tests", ".ci")
ENDINGS = {"", ".css", ".html", ".ipynb", ".jinja", ".json", ".md", ".py", ".sh", ".toml"}

# The name with an extra, or as what `pip install` is given; not a file, a module or a word of a sentence.
FOREIGN = re.compile(r"(?<![\w.-])autobatch\\?\[[a-z,]+\\?\]|pip3? install (?:-\S+ )*['\"]?autobatch(?![\w/.])")


def texts():
    """Every file of the project that people read or run."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in ENDINGS)
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in ENDINGS)


def test_nothing_tells_to_install_the_other_project():
    """Seen to fail with "pip install 'autobatch[plot]'" in the message of a missing matplotlib."""
    found = []
    for path in texts():
        if path != Path(__file__) and "__pycache__" not in path.parts:
            found += [(path.name, match.group()) for match in FOREIGN.finditer(path.read_text(errors="replace"))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("pip install 'autobatch[plot]'", True),
        (r"pip install 'autobatch\[plot\]'", True),
        ("pip install --upgrade autobatch", True),
        ("pip install 'keras-autobatch[plot]'", False),
        ("pip install -e ./autobatch/", False),
        ("history.autobatch[0]", False),
    ],
)
def test_the_search_tells_the_two_apart(text, foreign):
    assert bool(FOREIGN.search(text)) is foreign


def test_what_is_installed_has_this_name():
    assert metadata.metadata("keras-autobatch")["Name"] == "keras-autobatch"
    assert metadata.version("keras-autobatch") == autobatch.__version__
