"""What is installed of the framework, and what it can use; as plain facts, without importing it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameworkGpu:
    """A GPU that the framework can use.

    Attributes:
        index: k of "GPU:k".
        name: What the maker calls it, `None` where the framework doesn't tell.
        compute_capability: What it can do, as "8.6".
    """

    index: int
    name: str | None = None
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class Framework:
    """Keras and its backend.

    Attributes:
        error: Why they cannot be imported, `None` if they can.
        keras_version: Of Keras.
        backend: What Keras runs on.
        backend_version: Of that, `None` where it is none that has an engine.
        cuda_build: Whether the backend was built with CUDA.
        cuda_version: The CUDA that it was built for.
        cudnn_version: The cuDNN that it was built for.
        compute_capabilities: The GPUs that it was built for.
        onednn: Whether it uses oneDNN on the CPU.
        gpus: The GPUs that it can use.
    """

    error: str | None = None
    keras_version: str | None = None
    backend: str | None = None
    backend_version: str | None = None
    cuda_build: bool = False
    cuda_version: str | None = None
    cudnn_version: str | None = None
    compute_capabilities: tuple[str, ...] = ()
    onednn: bool | None = None
    gpus: tuple[FrameworkGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class AllocatorChoice:
    """Which allocator the framework takes memory from.

    Attributes:
        name: What it is.
        because: The environment variables that choose it, as "NAME=value"; empty for the default.
        gives_back: Whether memory can be given back to others while the process lives.
        takes_all: Whether it takes nearly all of the device at its first use.
    """

    name: str
    because: str = ""
    gives_back: bool = False
    takes_all: bool = False
