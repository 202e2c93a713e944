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
    "data/adapters/arrays.py": {"scipy"},
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


@pytest.mark.parametrize("path", [path for path in MODULES if not where(path).startswith("backend/")], ids=where)
def test_values_of_variables_are_read_through_keras(path):
    """`.numpy()` is TensorFlow's; `keras.ops.convert_to_numpy` reads on every backend."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(one) for one in called if isinstance(one, ast.Attribute) and one.attr == "numpy"] == []


def known_by(path, names):
    """The modules of the package that one imports, wherever in it; those for annotations alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from {whole} if whole in names else {node.module} & names


def name_of(path):
    parts = ("autobatch", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle(graph):
    """Nodes that reach themselves: what is left when those that nobody left is known by, or that know nobody, go."""
    graph = {node: set(others) - {node} for node, others in graph.items()}
    while True:
        known = set().union(*graph.values()) if graph else set()
        ends = {node for node, others in graph.items() if not others or node not in known}
        if not ends:
            return sorted(graph)
        graph = {node: others - ends for node, others in graph.items() if node not in ends}


def test_no_modules_and_no_rooms_know_each_other():
    """Imports within functions count, too. Seen to fail with a room that imports from one above it in a function."""
    names = {name_of(path) for path in MODULES}
    modules = {name_of(path): set(known_by(path, names)) for path in MODULES}
    rooms = {}
    for name, others in modules.items():
        for one in {other.split(".")[1] for other in others if other.count(".") and name.count(".")}:
            rooms.setdefault(name.split(".")[1], set()).add(one)
            rooms.setdefault(one, set())
    assert circle(modules) == []
    assert circle(rooms) == []
