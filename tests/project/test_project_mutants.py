"""The broken variants of tests/mutants fit the code as it stands; scripts/mutants runs them."""

import ast
import functools
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "tests" / "mutants").glob("*.toml"))
MUTANTS = [row for table in TABLES for row in tomllib.loads(table.read_text(encoding="utf-8"))["mutant"]]
FIELDS = {"id", "file", "old", "new", "tests", "why"}


@functools.cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_there_are_many_and_each_has_a_name_of_its_own():
    names = [mutant["id"] for mutant in MUTANTS]
    assert len(names) >= 90
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["id"])
def test_a_mutant_fits_the_code(mutant):
    assert set(mutant) - {"hangs"} == FIELDS
    assert mutant["old"] != mutant["new"]
    path = ROOT / mutant["file"]
    assert path.is_file()
    assert path.read_text(encoding="utf-8").count(mutant["old"]) == 1, mutant["old"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["id"])
def test_the_tests_of_a_mutant_exist(mutant):
    assert mutant["tests"]
    for test in mutant["tests"]:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions_of(ROOT / file), test
