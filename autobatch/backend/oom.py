"""Tells out-of-memory from every other error, and says so where it cannot be told.

Two things must agree: the *kind* of exception and what it says about an allocation. A file called `oom.png` that is
missing is no memory problem, a full disk is `ResourceExhaustedError` in TensorFlow too, and
`CUDNN_STATUS_INTERNAL_ERROR` may or may not be one: that is `UNKNOWN`, which is never treated as out-of-memory.
"""

import enum
import errno
import re


class Cause(enum.Enum):
    OUT_OF_MEMORY = "an allocation failed: a smaller micro-batch may fit"
    OTHER = "not about memory: passed on unchanged"
    UNKNOWN = "cannot be told from the exception: passed on unchanged, never called out-of-memory"


# Exceptions are matched by the names of their classes, so that no backend has to be imported to recognise its errors.
_ALWAYS_MEMORY = frozenset({"MemoryError", "OutOfMemoryError"})
_MAYBE_MEMORY = frozenset(
    {"ResourceExhaustedError", "InternalError", "UnknownError", "XlaRuntimeError", "JaxRuntimeError", "AbortedError"}
)

_ALLOCATION_FAILED = re.compile(
    r"""
    \bOOM\ when\ allocating\b                                       # TensorFlow, BFC and CPU allocators
    | (?i:\bout\ of\ memory\b)(?!\ killer)                          # XLA, CUDA, TensorFlow on GPU
    | \bCUDA_ERROR_OUT_OF_MEMORY\b
    | \bCU(?:DNN|BLAS|FFT|SOLVER)_STATUS_ALLOC_FAILED\b | \bCUFFT_ALLOC_FAILED\b
    | (?i:\bfailed\ to\ allocate\ (?:the\ )?(?:memory|scratch|(?:request|requested)\b|\d))
    | (?i:\bfailed\ to\ allocate\ .{0,40}\bbytes\b)
    | (?i:\bunable\ to\ allocate\b)
    | \bDst\ tensor\ is\ not\ initialized\b                         # TensorFlow: no room on the GPU for a copy
    """,
    re.VERBOSE,
)

# torch raises plain RuntimeErrors for these.
_TORCH_ALLOCATION_FAILED = re.compile(
    r"\bDefaultCPUAllocator: can't allocate memory\b|\bCU(?:DNN|BLAS)_STATUS_ALLOC_FAILED\b"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Keras sets what a layer raised in bold, right before its first word
_SOMETHING_ELSE_EXHAUSTED = re.compile(
    r"""(?ix)
    \bno\ space\ left\ on\ device\b | \btoo\ many\ open\ files\b | \bdisk\ quota\b
    | \bthis\ is\ not\ a\ failure\b | \blarger\ than\ max\b | \bquota\ exceeded\b
    | \bthread\b.*\bresource\ temporarily\ unavailable\b
    """
)

_UNCLEAR = re.compile(
    r"CUDNN_STATUS_(?:INTERNAL_ERROR|NOT_INITIALIZED|EXECUTION_FAILED)|CUBLAS_STATUS_(?:NOT_INITIALIZED|EXECUTION_FAILED)"
    r"|\bYNNPACK operation failed\b|\bFailed to determine best cudnn convolution algorithm\b"  # XLA on a CPU, on a GPU
    r"|RESOURCE_EXHAUSTED|CUDA_ERROR_LAUNCH_FAILED|Blas \w+ launch failed"
)


def classify(error: BaseException) -> Cause:
    """Says whether an exception means that memory ran out: only where its kind and its text agree.

    Its causes are not looked at, they had their chance to be raised themselves.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _ALWAYS_MEMORY:
        return Cause.OUT_OF_MEMORY
    if isinstance(error, OSError):
        return Cause.OUT_OF_MEMORY if error.errno == errno.ENOMEM else Cause.OTHER
    if type(error) is RuntimeError and _TORCH_ALLOCATION_FAILED.search(str(error)):
        return Cause.OUT_OF_MEMORY
    if not names & _MAYBE_MEMORY:
        return Cause.OTHER
    text = _COLOUR.sub(" ", str(error))
    if _SOMETHING_ELSE_EXHAUSTED.search(text):
        return Cause.OTHER
    if _ALLOCATION_FAILED.search(text):
        return Cause.OUT_OF_MEMORY
    return Cause.UNKNOWN if "ResourceExhaustedError" in names or _UNCLEAR.search(text) else Cause.OTHER
