"""Which room may know which: read from the imports of every module, wherever in the file they stand."""

import ast
import sys
from pathlib import Path

import pytest

import autobatch

PACKAGE = Path(autobatch.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Everybody may know the errors, the root's small helpers (`_text`, `_json`, ...) and the room they are in.
ROOMS = {
    "memory": set(),
    "data": set(),
    "backend": {"data", "memory"},
    "results": {"memory"},
    "probing": {"data", "memory", "results", "backend"},
    "train": {"data", "memory", "probing", "report", "results", "backend"},
    "infer": {"data", "memory", "probing", "report", "results", "backend", "train"},
    "report": {"memory", "probing", "results", "train"},
    "doctor": {"memory", "probing", "results", "backend"},
    "cli": {"data", "doctor", "memory", "probing", "report", "results", "backend", "train"},
}
LIBRARIES = {
    "memory": {"numpy"},
    "data": {"keras", "numpy", "PIL"},
    "backend": {"keras", "numpy", "tensorflow"},
    "results": set(),
    "probing": {"keras", "numpy", "platformdirs"},
    "train": {"keras", "numpy"},
    "infer": {"keras", "numpy"},
    "report": {"jinja2", "matplotlib"},
    "doctor": {"packaging"},
    "cli": {"keras", "rich"},
}
ALONE = {
    "memory/sensors/nvml.py": {"pynvml"},
    "memory/sensors/procfs.py": {"psutil"},
    "data/images/transform.py": {"cv2"},
}


def imports(path):
    """The dotted names that a module imports; a relative import is named by its dots."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def where(path):
    return path.relative_to(PACKAGE).as_posix()


IN_ROOMS = [path for path in MODULES if path.parent != PACKAGE and path.parts[len(PACKAGE.parts)] != "testing"]


@pytest.mark.parametrize("path", IN_ROOMS, ids=where)
def test_a_room_knows_only_the_rooms_before_it(path):
    """Seen to fail with an import of autobatch.train in a module of memory/."""
    room = where(path).partition("/")[0]
    helpers = {path.stem for path in PACKAGE.glob("_*.py")}
    allowed = ROOMS[room] | {room, "errors"} | helpers | ({""} if room == "cli" else set())
    own = [name.split(".") for name in imports(path) if name.partition(".")[0] == "autobatch"]
    assert [".".join(parts) for parts in own if (parts[1] if len(parts) > 1 else "") not in allowed] == []


@pytest.mark.parametrize("path", IN_ROOMS, ids=where)
def test_a_library_is_known_in_its_rooms_only(path):
    """Seen to fail with `import tensorflow` in a function of train/."""
    room = where(path).partition("/")[0]
    allowed = LIBRARIES[room] | ALONE.get(where(path), set()) | {"autobatch"} | set(sys.stdlib_module_names)
    assert [name for name in imports(path) if name.partition(".")[0] not in allowed] == []


def test_there_is_no_room_without_a_rule():
    rooms = {where(path).partition("/")[0] for path in IN_ROOMS}
    assert rooms <= set(ROOMS)
    assert set(ROOMS) == set(LIBRARIES)
