"""What the framework tells of the GPU that it trains on, from a TensorFlow that is none, in a process for each case."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# As much of TensorFlow as is asked: which GPUs it uses, and what is in use of the first.
TENSORFLOW = """
import json, os
from types import SimpleNamespace as Some

_told = json.loads(os.environ["TOLD"])
class errors:
    class OpError(Exception): pass

def _info(device):
    assert device == "GPU:0"  # it counts the ones that it uses
    if "current" not in _told:
        raise ValueError("no statistics")
    return {"current": _told["current"], "peak": _told["peak"]}

def _start(kind):
    from tensorflow.python.eager import context
    context._context._initialized = True
    return _told["gpus"]

config = Some(
    list_logical_devices=_start,
    get_visible_devices=lambda kind: [Some(name=f"/physical_device:GPU:{number}") for number in _told["gpus"]],
    get_logical_device_configuration=lambda gpu: None,
    experimental=Some(get_memory_info=_info, get_memory_growth=lambda gpu: True),
)
"""
CONTEXT = """
import json, os
from types import SimpleNamespace

_context = SimpleNamespace(_initialized=json.loads(os.environ["TOLD"])["started"])
"""
PROGRAM = """
import importlib.util, json, os
# The real one would take seconds, and a GPU if there is one
assert importlib.util.find_spec("tensorflow").origin.startswith(os.environ["FAKE"])
import tensorflow, tensorflow.python.eager.context as context
from autobatch.backend import accelerator, current_backend
from autobatch.testing import FakeCuda, FakePool

found = current_backend().allocator_figures(FakeCuda(FakePool(), FakePool(reserved_bytes=120, used_bytes=90)))
started = context._context._initialized
figures = None if found is None else [found.current_bytes, found.peak_bytes, found.device_index, found.pool_bytes]
gpu = accelerator()
print(json.dumps([figures, started, None if gpu is None else gpu.number]))
"""
IN_USE = {"current": 90, "peak": 100}


@pytest.fixture
def figures(tmp_path):
    """Asks a process whose TensorFlow tells this."""
    package = tmp_path / "tensorflow"
    (package / "python" / "eager").mkdir(parents=True)
    (package / "__init__.py").write_text(TENSORFLOW)
    (package / "python" / "__init__.py").touch()
    (package / "python" / "eager" / "__init__.py").touch()
    (package / "python" / "eager" / "context.py").write_text(CONTEXT)

    def ask(allocator, **told):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        environ |= {"TOLD": json.dumps(told), "FAKE": str(tmp_path)}
        if allocator is not None:
            environ["TF_GPU_ALLOCATOR"] = allocator
        program = [sys.executable, "-c", PROGRAM]
        root = Path(__file__).parents[2]
        done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False, cwd=root)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.mark.parametrize(
    ("allocator", "told", "figures_found"),
    [
        (None, {"gpus": [0], **IN_USE}, [90, 100, 0, None]),
        (None, {"gpus": [1], **IN_USE}, [90, 100, 1, None]),
        ("cuda_malloc_async", {"gpus": [1], **IN_USE}, [90, 100, 1, 120]),
        ("cuda_malloc_async", {"gpus": [1]}, [0, 0, 1, 120]),
        (None, {"gpus": [1]}, None),
        ("cuda_malloc_async", {"gpus": []}, None),
    ],
    ids=["the first", "the second alone", "from a pool", "a pool without statistics", "nothing told", "on the CPU"],
)
def test_the_gpu_that_is_used_is_told_by_the_number_that_cuda_gives_it(figures, allocator, told, figures_found):
    """Seen to fail with TensorFlow's own number, which is 0 whichever GPU it was told to use."""
    found, _, index = figures(allocator, started=True, **told)
    assert found == figures_found
    assert index == (told["gpus"] or [None])[0]


def test_asking_does_not_start_the_framework(figures):
    """Seen to fail with the number of the GPU asked for at once: TensorFlow then takes the whole GPU."""
    found, started, _ = figures(None, started=False, gpus=[0], **IN_USE)
    assert found is None
    assert not started
