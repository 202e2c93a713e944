"""The examples of the README, of docs and of fit and probe run, and every option, exit code and function is named."""

import argparse
import inspect
import re
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path

import pytest

import autobatch
from autobatch.cli.outcome import ExitCode
from autobatch.cli.parser import build_parser

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
DOCSTRINGS = "\n".join(inspect.getdoc(function) for function in (autobatch.fit, autobatch.probe))
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(
        r"^ *```python\n(.*?)^ *```", "\n".join([*PAGES.values(), DOCSTRINGS]), flags=re.MULTILINE | re.DOTALL
    )
]
COMMAND = PAGES["docs/command.md"]


def trains(block):
    return bool(re.search(r"autobatch\.(fit|probe)\((?!.*big)", block))


def subparsers():
    (action,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return action.choices


def options_of(command):
    shown = [action for action in subparsers()[command]._actions if action.help != argparse.SUPPRESS]
    strings = {text for action in shown for text in action.option_strings}
    return {text for text in strings if text.startswith("--")} - {"--help"}


def options_said(command):
    rows = re.findall(r"^\| (`--.*?) \| ([a-z, ]+) \|", COMMAND, flags=re.MULTILINE)
    cells = [cell for cell, commands in rows if commands == "all" or command in commands.split(", ")]
    return {flag for cell in cells for flag in re.findall(r"--[a-z-]+", cell)}


@pytest.fixture
def model():
    import keras

    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", "categorical_crossentropy")
    return model


@pytest.fixture
def datagen():
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(rescale=1 / 255)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with 2 x 20 grey pictures in data/train, and a cache of its own."""
    from PIL import Image

    for name, number in zip("ab" * 20, count()):
        path = tmp_path / "data" / "train" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, number, number)).save(path)
    monkeypatch.setenv("AUTOBATCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def cases():
    marks = [[pytest.mark.slow] if trains(block) else [] for block in BLOCKS]
    return [pytest.param(block, id=f"block-{number}", marks=marks[number]) for number, block in enumerate(BLOCKS)]


@pytest.mark.parametrize("block", cases())
def test_every_python_example_runs_on_a_model_and_a_generator(block, model, datagen, folder, trials_here):
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    if "share_memory()" in block:  # too late here: TensorFlow has started
        subprocess.run([sys.executable, "-c", block], check=True)
        return
    names = {"model": model, "datagen": datagen, "autobatch": autobatch, "ImageDataGenerator": ImageDataGenerator}
    exec(compile(block, "README", "exec"), names)  # noqa: S102 - our own pages, on purpose


@pytest.mark.parametrize("command", list(subparsers()))
def test_the_docs_name_exactly_the_options_of_every_command(command):
    """Seen to fail with an option added to the parser, and with one of the README's rows taken out."""
    assert options_said(command) == options_of(command)


def test_the_docs_name_every_exit_code_with_its_meaning():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", COMMAND, flags=re.MULTILINE)
    assert rows == [(str(code.value), code.meaning) for code in ExitCode]


def test_the_docs_name_everything_that_is_exported():
    named = set(re.findall(r"`(\w+)", PAGES["docs/functions.md"]))
    assert set(autobatch.__all__) <= named


@pytest.mark.parametrize("page", PAGES)
def test_the_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", PAGES[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_links_into_a_page_name_one_of_its_headings():
    links = re.findall(r"\]\(\.\./README\.md#([^)]+)\)", "\n".join(PAGES.values()))
    headings = re.findall(r"^#+ (.*)$", PAGES["README.md"], flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert links
    assert set(links) <= anchors


def test_the_readme_is_one_page():
    assert len(PAGES["README.md"].splitlines()) <= 150
