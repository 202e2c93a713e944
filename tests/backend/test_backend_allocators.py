"""Which allocators TensorFlow takes, from the environment; and what it says of itself."""

import sys

import pytest
from programs import run_beside_imports

from autobatch.backend import describe
from autobatch.backend.base import AllocatorChoice
from autobatch.backend.tensorflow.allocator import on_cpu, on_gpu

SYSTEM, POOL = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}, {"TF_CPU_ALLOCATOR_USE_BFC": "true"}
ASYNC, GROWTH = {"TF_GPU_ALLOCATOR": "cuda_malloc_async"}, {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
ONEDNN, MALLOC, BFC = "oneDNN's pool (BFC)", "the C library's (malloc)", "TensorFlow's pool (BFC)"


@pytest.mark.parametrize(
    ("environ", "onednn", "name", "gives_back"),
    [
        ({}, True, ONEDNN, False),
        ({}, False, MALLOC, True),
        (SYSTEM, True, MALLOC, True),
        (SYSTEM, False, MALLOC, True),
        (POOL, False, BFC, False),
        (SYSTEM | POOL, True, BFC, False),
        ({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0"}, True, ONEDNN, False),
    ],
)
def test_the_allocator_on_a_cpu(environ, onednn, name, gives_back):
    choice = on_cpu(environ, onednn=onednn, returns_freed=True)
    assert (choice.name, choice.gives_back) == (name, gives_back)


def test_malloc_gives_back_only_where_the_c_library_can():
    assert not on_cpu(SYSTEM, onednn=True, returns_freed=False).gives_back


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, AllocatorChoice(BFC, takes_all=True)),
        (GROWTH, AllocatorChoice(BFC, "TF_FORCE_GPU_ALLOW_GROWTH=true")),
        (
            ASYNC,
            AllocatorChoice(
                "CUDA's pool (cuda_malloc_async)", "TF_GPU_ALLOCATOR=cuda_malloc_async", gives_back=True, takes_all=True
            ),
        ),
        (
            ASYNC | GROWTH,
            AllocatorChoice(
                "CUDA's pool (cuda_malloc_async)",
                "TF_GPU_ALLOCATOR=cuda_malloc_async TF_FORCE_GPU_ALLOW_GROWTH=true",
                gives_back=True,
            ),
        ),
    ],
)
def test_the_allocator_on_a_gpu(environ, expected):
    assert on_gpu(environ) == expected


MEASURE = """
import os
from autobatch.backend import describe
from autobatch.backend.tensorflow.allocator import on_cpu
from autobatch.backend.tensorflow.allocator import why_host_memory_stays
import tensorflow as tf
held = tf.zeros(1 << 20)  # oneDNN leaves what is small to malloc
keeps = why_host_memory_stays() is not None
print(keeps, not on_cpu(os.environ, onednn=describe().onednn, returns_freed=True).gives_back)
"""


@pytest.mark.slow
@pytest.mark.parametrize("environ", [{}, SYSTEM], ids=str)
def test_a_real_tensorflow_takes_the_allocator_that_is_told(environ, tmp_path):
    """What the choice says of keeping memory is what the started TensorFlow shows."""
    keeps, told = run_beside_imports(MEASURE, tmp_path, **environ).split()
    assert keeps == told


def test_tensorflow_says_what_it_is():
    """Seen to fail with an error of the description hidden in its `error`."""
    framework = describe()
    assert framework.error is None
    assert framework.backend == "tensorflow"
    assert framework.backend_version is not None
    assert framework.onednn is not None


def test_where_keras_cannot_be_imported_the_backend_it_would_run_on_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    framework = describe()
    assert framework.error is not None
    assert framework.error.startswith("ModuleNotFoundError")
    assert framework.backend == "torch"
