"""The broken variants of tests/mutants fit the code as it stands; scripts/mutants runs them."""

import ast
import functools
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / "tests" / "mutants").glob("*.toml"))
TABLES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8"))["mutant"] for path in PATHS}
FIELDS = {"id", "file", "old", "new", "tests", "why"}


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@functools.cache
def functions_of(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(text_of(path)).body if isinstance(node, ast.FunctionDef))


def faults(mutant):
    """What a row says that isn't so."""
    if set(mutant) - {"hangs"} != FIELDS or mutant["old"] == mutant["new"] or not mutant["tests"]:
        yield "a field is missing, unknown or empty, or nothing is changed"
    if (count := text_of(ROOT / mutant["file"]).count(mutant["old"])) != 1:
        yield f"the old text stands {count} times in {mutant['file']}"
    for test in mutant["tests"]:
        file, _, name = test.partition("::")
        if name.partition("[")[0] not in functions_of(ROOT / file):
            yield f"there is no {test}"


@pytest.mark.parametrize("room", TABLES)
def test_every_broken_variant_fits_the_code_and_its_tests_are_there(room):
    assert [f"{mutant['id']}: {fault}" for mutant in TABLES[room] for fault in faults(mutant)] == []


def test_there_are_many_and_each_has_a_name_of_its_own():
    names = [mutant["id"] for mutants in TABLES.values() for mutant in mutants]
    assert len(names) >= 90
    assert sorted(set(names)) == sorted(names)
