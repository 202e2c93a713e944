"""A framework is known to its folder in backend/ alone: everything else is imported where there is none."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {"tensorflow", "torch", "jax"}

# Beside tests/backend: what is written with TensorFlow's own operations, data sets or files.
WITH_TENSORFLOW = {
    "data/test_data_arrays.py",
    "data/test_data_rebatch_accumulate.py",
    "data/test_data_tf_dataset.py",
    "infer/test_infer_trials.py",
    "promises/test_promise_attributed.py",
    "promises/test_promise_equal_or_refused.py",
    "promises/test_promise_equivalent.py",
    "promises/test_promise_faults.py",
    "promises/test_promise_rollback.py",
    "promises/test_promise_untouched.py",
    "support/faults.py",
    "support/kill_scene.py",
    "train/conftest.py",
    "train/test_train_bucketed.py",
    "train/test_train_checkpoint_run.py",
    "train/test_train_every_callback.py",
    "train/test_train_custom_objects.py",
}
PROGRAM = """
import importlib.util, pkgutil, sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "torch"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        # Keras' numpy backend names functions of it.
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in {"jax", "jaxlib"} else None

    def create_module(self, spec):
        return MagicMock(__path__=[], __name__=spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Nowhere())
import autobatch
for module in pkgutil.walk_packages(autobatch.__path__, "autobatch."):
    if not module.name.startswith("autobatch.backend.tensorflow.") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"file_{number}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

import keras, numpy as np
from autobatch.backend import accelerator_names, describe, read_memory_here
from autobatch.errors import ModelError

model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
try:
    autobatch.fit(model, (np.zeros((4, 2)), np.zeros((4, 1))))
except ModelError as error:
    print(error)
print(describe().backend, describe().backend_version, accelerator_names(), read_memory_here().host.total_bytes > 0)
"""


def imported_at_once(path):
    """The packages that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
            if (node.module or "").startswith("autobatch.backend.tensorflow"):
                yield "tensorflow"


def test_the_tests_that_need_a_framework_are_known():
    tests = ROOT / "tests"
    needing = {path for path in tests.rglob("*.py") if FRAMEWORKS & set(imported_at_once(path))}
    assert {path.relative_to(tests).as_posix() for path in needing if path.parent.name != "backend"} <= WITH_TENSORFLOW


def test_everything_else_is_imported_without_a_framework(monkeypatch):
    """The package, and what the tests share. Seen to fail with TensorFlow imported by the registry of backends."""
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    tests = ROOT / "tests"
    shared = [*tests.glob("support/*.py"), *tests.rglob("conftest.py")]
    files = [str(path) for path in shared if path.relative_to(tests).as_posix() not in WITH_TENSORFLOW]
    monkeypatch.setenv("PYTHONPATH", f"{tests / 'support'}:{ROOT / 'benchmarks'}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert said[-2:] == [
        "Received: Keras backend 'numpy'. Expected 'tensorflow' (set KERAS_BACKEND).",
        "numpy None () True",
    ]
