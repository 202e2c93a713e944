"""Promise 6: out of memory is told from everything else, by real messages and by look-alikes of them."""

import errno
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from autobatch.backend.oom import Cause, classify
from autobatch.errors import AutobatchError, DoesNotFitError, OutOfMemoryError

# As TensorFlow 2.21 writes it under a capped allocator; the others follow what users of many versions have posted.
GRAPH = (
    "{{function_node __inference_train_12}} OOM when allocating tensor with shape[90000,90000] and type float on "
    "/job:localhost/replica:0/task:0/device:CPU:0 by allocator bfc_cpu_allocator_for_gpu\n\t [[{{node Tile}}]]\nHint: "
    "If you want to see a list of allocated tensors when OOM happens, add report_tensor_allocations_upon_oom to "
    "RunOptions for current allocation info. This isn't available when running in Eager mode.\n "
    "[Op:__inference_train_12]"
)
HINT = "Hint: If you want to see a list of allocated tensors when OOM happens, add report_tensor_allocations_upon_oom"
COPYING = (
    "Failed copying input tensor from /job:localhost/replica:0/task:0/device:CPU:0 to "
    "/job:localhost/replica:0/task:0/device:GPU:0 in order to run _EagerConst: Dst tensor is not initialized."
)
NO_ALGORITHM = (
    "No algorithm worked!  Error messages:\n  Profiling failure on CUDNN engine eng28{}: RESOURCE_EXHAUSTED: "
    "Allocating 4718592000 bytes exceeds the memory limit of 4294967296 bytes."
)


def op_error(name: str, message: str) -> Exception:
    return getattr(tf.errors, name)(None, None, message)  # type: ignore[no-any-return]


def exhausted(message: str) -> Exception:
    return op_error("ResourceExhaustedError", message)


def named(name: str, message: str, base: type[Exception] = RuntimeError) -> Exception:
    """An error of a package that is not installed here, which is recognised by the name of its class."""
    return type(name, (base,), {})(message)


OUT_OF_MEMORY: dict[str, Exception] = {
    "graph, capped CPU pool": exhausted(GRAPH),
    "eager, capped CPU pool": exhausted(
        "{{function_node __wrapped__Fill_device_/job:localhost/replica:0/task:0/device:CPU:0}} OOM when allocating "
        "tensor with shape[40000,40000] and type float on /job:localhost/replica:0/task:0/device:CPU:0 by allocator "
        "bfc_cpu_allocator_for_gpu [Op:Fill] name: "
    ),
    "oneDNN's allocator": exhausted(GRAPH.replace("bfc_cpu_allocator_for_gpu", "mklcpu")),
    "malloc": exhausted(GRAPH.replace("bfc_cpu_allocator_for_gpu", "cpu")),
    "GPU": exhausted(
        "OOM when allocating tensor with shape[25088,4096] and type float on "
        f"/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n\t [[Node: vgg_16/fc6]]\n{HINT}"
    ),
    "GPU, two root errors": exhausted(
        "2 root error(s) found.\n  (0) Resource exhausted: OOM when allocating tensor with shape[16,112,112,147] "
        f"and type float on GPU:0 by allocator GPU_0_bfc\n\t [[Mean_1/_1047]]\n{HINT}"
    ),
    "GPU, eager": exhausted("failed to allocate memory [Op:AddV2]"),
    "XLA on a CPU": exhausted("Out of memory while trying to allocate 90.52GiB. [Op:__inference_train_38]"),
    "XLA on a GPU": exhausted(
        "2 root error(s) found.\n  (0) Resource exhausted: Out of memory while trying to allocate 68852648264 bytes.\n"
        f"\t [[{{{{node cluster_0_1/xla_run}}}}]]\n{HINT}"
    ),
    "XLA as an internal error": op_error(
        "InternalError", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12582912 bytes."
    ),
    "cuDNN": op_error("UnknownError", "Could not create cudnn handle: CUDNN_STATUS_ALLOC_FAILED"),
    "cuBLAS": op_error("InternalError", "failed to create cublas handle: CUBLAS_STATUS_ALLOC_FAILED"),
    "cuFFT": op_error("InternalError", "failed to make cuFFT batched plan: CUFFT_ALLOC_FAILED"),
    "cuSolver": op_error("InternalError", "Failed to create cuSolverDN instance: CUSOLVER_STATUS_ALLOC_FAILED"),
    "CUDA start": op_error(
        "InternalError", "CUDA runtime implicit initialization on GPU:0 failed. Status: out of memory"
    ),
    "CUDA driver": op_error(
        "InternalError",
        "failed to alloc 2740606464 bytes unified memory; result: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ),
    "cuda_malloc_async": exhausted(GRAPH.replace("CPU:0", "GPU:0").replace("bfc_cpu_allocator_for_gpu", "gpu_async_0")),
    "cuda_malloc_async, its own words": op_error(
        "InternalError", "gpu_async_0 cuMemAllocAsync failed to allocate 2147483648 bytes: CUDA error: invalid argument"
    ),
    "scratch space of a convolution": op_error(
        "UnknownError",
        "Graph execution error:\n\nCUDNN failed to allocate the scratch space for the runner or to find a working "
        "no-scratch runner.\n\t [[{{node gradient_tape/model/conv3d_20/Conv3D/Conv3DBackpropFilterV2}}]]",
    ),
    "copy to a full GPU": op_error("InternalError", COPYING),
    "JAX": named("XlaRuntimeError", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes."),
    "JAX, newer": named(
        "JaxRuntimeError", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4770354232 bytes."
    ),
    "torch": named("OutOfMemoryError", "CUDA out of memory. Tried to allocate 7.50 GiB."),
    "torch on a CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "torch, cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "torch, cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "Python": MemoryError(),
    "the system, as an OSError": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "our own": OutOfMemoryError("A micro-batch of 8 samples did not fit in memory.", 8),
}

OTHER: dict[str, Exception] = {
    "disk full while saving": exhausted(
        "models/context.model/variables/part-00000-of-00001.data-00000-of-00001.tempstate8490917510693379885; No space "
        "left on device"
    ),
    "disk quota while saving": exhausted("disk quota exceeded [Op:SaveV2]"),
    "gRPC message": exhausted("Received message larger than max (2065853043 vs 67108864)"),
    "gRPC message of a JAX job": named("XlaRuntimeError", "RESOURCE_EXHAUSTED: Sent message larger than max (5 vs. 4)"),
    "open files": exhausted("/data/train-00012.tfrecord; Too many open files"),
    "a missing picture with a telling name": FileNotFoundError(errno.ENOENT, "No such file", "OOM when allocating.png"),
    "a full disk, from Python": OSError(errno.ENOSPC, "No space left on device"),
    "too many files, from Python": OSError(errno.EMFILE, "Too many open files"),
    "a picture that is missing, from TensorFlow": op_error(
        "NotFoundError", "out of memory.png; No such file or directory"
    ),
    "a user's ValueError": ValueError("OOM when allocating tensor with shape[1,2]"),
    "a user's RuntimeError": RuntimeError("the queue is out of memory"),
    "a RuntimeError of one's own class": named("PoolError", "DefaultCPUAllocator: can't allocate memory"),
    "a key": KeyError("out of memory"),
    "a shape": op_error("InvalidArgumentError", f"Matrix size-incompatible: In[0]: [1,2], In[1]: [3,4]\n{HINT}"),
    "the hint alone": op_error("InternalError", f"cannot compute Conv2D as input #1 is no float\n{HINT}"),
    "a limit on workspaces": op_error("NotFoundError", NO_ALGORITHM),
    "a warning that was made an error": RuntimeWarning(
        "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2GiB. The caller says that this is not a failure"
    ),
    "a pool that says it is no failure": op_error(
        "InternalError",
        "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2GiB. The caller says that this is not a failure, "
        "but this may mean that there could be performance gains if more memory were available.",
    ),
    "threads": op_error("AbortedError", "could not start a thread: Resource temporarily unavailable"),
    "the end of the data": op_error("OutOfRangeError", "End of sequence"),
    "another job's end": op_error("AbortedError", "the peer was ended by the out of memory killer"),
}

UNKNOWN: dict[str, Exception] = {
    "cuDNN, internal": op_error("UnknownError", "Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR"),
    "cuDNN, not started": op_error("InternalError", "cudnnCreate failed: CUDNN_STATUS_NOT_INITIALIZED"),
    "cuDNN, run": op_error("InternalError", "CUDNN_STATUS_EXECUTION_FAILED in cuda_dnn.cc(1805)"),
    "cuBLAS, not started": op_error("InternalError", "failed to create cublas handle: CUBLAS_STATUS_NOT_INITIALIZED"),
    "cuBLAS, run": op_error("InternalError", "Blas xGEMM launch failed : a.shape=[1,32,784], b.shape=[1,784,128]"),
    "a saver that gives no reason": exhausted("./model/model-49.tempstate5787507096018461664"),
    "an exhausted resource without a name": exhausted(""),
    "JAX on a CPU, where malloc fails": named("XlaRuntimeError", "INTERNAL: YNNPACK operation failed"),
    "JAX on a GPU, where it compiles": named(
        "XlaRuntimeError", "UNKNOWN: Failed to determine best cudnn convolution algorithm for: %cudnn-conv"
    ),
    "JAX without a reason": named("XlaRuntimeError", "RESOURCE_EXHAUSTED: "),
}

CASES = [
    pytest.param(error, cause, id=f"{cause.name}: {name}")
    for cause, table in ((Cause.OUT_OF_MEMORY, OUT_OF_MEMORY), (Cause.OTHER, OTHER), (Cause.UNKNOWN, UNKNOWN))
    for name, error in table.items()
]


@pytest.mark.parametrize(("error", "cause"), CASES)
def test_a_message_is_taken_for_what_it_is(error: Exception, cause: Cause) -> None:
    """Seen to fail with the text alone deciding, with the class alone deciding, and without the look-alikes."""
    assert classify(error) is cause


@pytest.mark.parametrize(("error", "cause"), CASES)
def test_a_message_is_the_same_when_a_layer_raised_it(error: Exception, cause: Cause) -> None:
    """Keras wraps it and sets it in bold. Seen to fail with the escape sequence glued to the first word."""
    wrapped = f"Exception encountered when calling Dense.call().\n\n\x1b[1m{error}\x1b[0m\n\nArguments received"
    if isinstance(error, tf.errors.OpError):
        assert classify(type(error)(None, None, wrapped)) is cause


def test_a_real_layer_that_runs_out_of_memory_is_recognised() -> None:
    """Through Keras itself, whatever its way of wrapping. Seen to fail with the escape sequence glued to the word."""

    class Full(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            raise tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory [Op:AddV2]")

    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        Full()(np.zeros((2, 2)))
    assert "Exception encountered" in str(caught.value)
    assert classify(caught.value) is Cause.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "function",
    [
        lambda: np.empty((10**6, 10**6, 10**6)),
        lambda: tf.function(lambda x: tf.reduce_sum(tf.tile(x, [2**30, 2**30])))(tf.zeros([1, 1])),
        lambda: bytearray(2**62),
    ],
    ids=["numpy", "TensorFlow", "Python"],
)
def test_what_really_runs_out_of_memory_is_recognised(function: Callable[[], Any]) -> None:
    """Seen to fail without `OOM when allocating` in the table."""
    with pytest.raises(Exception, match=r"allocat|^$") as caught:
        function()
    assert classify(caught.value) is Cause.OUT_OF_MEMORY


def test_what_really_is_a_fault_of_the_model_is_not_called_memory() -> None:
    """Seen to fail with every error of TensorFlow taken for memory."""
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.matmul(tf.zeros([2, 3]), tf.zeros([2, 3]))
    assert classify(caught.value) is Cause.OTHER


KINDS = {name: kind for name, kind in vars(tf.errors).items() if isinstance(kind, type)}


@pytest.mark.parametrize("name", KINDS)
def test_no_class_of_tensorflow_alone_means_memory(name: str) -> None:
    """A new class of TensorFlow's is walked, too. Seen to fail with `ResourceExhaustedError` enough by itself."""
    kind = KINDS[name]
    if name == "OpError":
        error: Exception = kind(None, None, "", 1)
    elif issubclass(kind, tf.errors.OpError):
        error = kind(None, None, "")
    else:
        error = kind("")
    assert classify(error) is (Cause.UNKNOWN if name == "ResourceExhaustedError" else Cause.OTHER)


def test_the_classes_in_the_table_exist_in_tensorflow() -> None:
    """A class that TensorFlow renames would silently turn every out-of-memory into something else."""
    assert {"ResourceExhaustedError", "InternalError", "UnknownError", "AbortedError"} <= KINDS.keys()


def test_of_our_own_errors_only_those_that_are_memory_errors_count() -> None:
    """Seen to fail with `AutobatchError` in the table of classes."""
    for kind in AutobatchError.__subclasses__():
        arguments = {OutOfMemoryError: ("", 1), DoesNotFitError: ("", 1, 1)}.get(kind, ("out of memory",))
        assert (classify(kind(*arguments)) is Cause.OUT_OF_MEMORY) == issubclass(kind, MemoryError), kind


def test_causes_are_not_looked_at() -> None:
    """A callback that wraps a memory error has decided what it means. Seen to fail with `__cause__` followed."""
    error = ValueError("my callback gave up")
    error.__cause__ = MemoryError()
    assert classify(error) is Cause.OTHER


def test_interruptions_are_never_memory() -> None:
    for error in (KeyboardInterrupt("out of memory"), SystemExit("out of memory"), GeneratorExit()):
        assert classify(error) is Cause.OTHER
