"""Which allocators TensorFlow will choose, from the environment. Nothing here imports TensorFlow.

On a CPU the allocator with the highest priority is taken: a pool (BFC) where that is asked for, oneDNN's own pool where
oneDNN is used, the C library's otherwise.
"""

from collections.abc import Mapping

from autobatch.step.framework import AllocatorChoice
from autobatch.step.tensorflow.sharing import CPU_POOL, GROWTH, is_true, uses_device_pool

_SYSTEM = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"
_GPU = "TF_GPU_ALLOCATOR"


def on_cpu(environ: Mapping[str, str], *, onednn: bool, returns_freed: bool) -> AllocatorChoice:
    """The allocator on the CPU.

    Args:
        environ: The environment that TensorFlow reads.
        onednn: Whether it uses oneDNN.
        returns_freed: Whether the C library can hand freed memory back.
    """
    if is_true(environ.get(CPU_POOL, "")):
        return AllocatorChoice("TensorFlow's pool (BFC)", _said(environ, CPU_POOL))
    if onednn and not is_true(environ.get(_SYSTEM, "")):
        return AllocatorChoice("oneDNN's pool (BFC)")
    because = _said(environ, _SYSTEM) if onednn else ""
    return AllocatorChoice("the C library's (malloc)", because, gives_back=returns_freed)


def on_gpu(environ: Mapping[str, str]) -> AllocatorChoice:
    """The allocator on a GPU.

    Args:
        environ: The environment that TensorFlow reads.
    """
    grows = is_true(environ.get(GROWTH, ""))
    growth = [_said(environ, GROWTH)] if GROWTH in environ else []
    if uses_device_pool(environ):
        because = " ".join([_said(environ, _GPU), *growth])
        return AllocatorChoice("CUDA's pool (cuda_malloc_async)", because, gives_back=True, takes_all=not grows)
    return AllocatorChoice("TensorFlow's pool (BFC)", " ".join(growth), takes_all=not grows)


def _said(environ: Mapping[str, str], name: str) -> str:
    return f"{name}={environ[name]}"
