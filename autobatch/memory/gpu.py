"""The GPUs that this process may use, through NVML; the only place that imports it.

Covered: no library, no driver, no device, a GPU that was lost, figures that are not supported or not permitted: each is
a note, none an error. Not covered: GPUs of other makers, and CUDA's own order of unlike GPUs where `CUDA_DEVICE_ORDER`
isn't `PCI_BUS_ID` (NVML numbers them by their bus): that is a note, too.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from autobatch.memory.facts import Device
from autobatch.memory.gpu_memory import gpu_memory
from autobatch.memory.gpu_processes import used_by
from autobatch.memory.visible import Slot, choose, order_unclear

_T = TypeVar("_T")


def read_devices(
    pid: int, nvml: Any = None, environ: Mapping[str, str] | None = None, proc: Path = Path("/proc")
) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Returns the GPUs that a process may use, in its own order, and notes on what could not be read.

    A caller that asks often makes this cheap by asking within `hold_nvml`.

    Args:
        pid: The process whose own use is looked up.
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.
        environ: Where `CUDA_VISIBLE_DEVICES` is looked up; `None` takes this process' environment.
        proc: Where the kernel's process files are, which tell whether NVML's numbers of processes are this machine's.
    """
    return ask_of_visible(lambda nvml, slots, notes: _devices(nvml, slots, pid, proc, notes), nvml, environ)


@contextmanager
def hold_nvml(nvml: Any = None) -> Iterator[None]:
    """Keeps NVML started while the context lasts, so that readings within don't start it each time; never raises.

    NVML counts who started it, so contexts may overlap. Without a GPU nothing is held.

    Args:
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.

    Example:
        >>> from autobatch.testing import FakeGpu, FakeNvml
        >>> nvml = FakeNvml(FakeGpu("GPU-1"))
        >>> with hold_nvml(nvml):
        ...     devices, _ = read_devices(1, nvml)
        ...     print(nvml.open_count)
        1
    """
    with started(nvml):
        yield


def ask_of_visible(
    question: Callable[[Any, Sequence[Slot], list[str]], Iterator[_T]], nvml: Any, environ: Mapping[str, str] | None
) -> tuple[tuple[_T, ...], tuple[str, ...]]:
    """Returns what NVML answers about the GPUs that this process may use, and notes on what it does not.

    Args:
        question: From NVML, the GPUs in this process' order, and the list of notes to the answers.
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.
        environ: Where `CUDA_VISIBLE_DEVICES` is looked up; `None` takes this process' environment.
    """
    with started(nvml) as (running, why):
        if running is None:
            return (), (f"No GPU is counted: {why}.",)
        notes: list[str] = []
        slots, hidden = _visible(running, os.environ if environ is None else environ, notes)
        answers = tuple(question(running, slots, notes))
        return answers, (*hidden, *notes)


@contextmanager
def started(nvml: Any = None) -> Iterator[tuple[Any, str]]:
    """Keeps NVML started while the context lasts; hands out NVML, or `None` and why there is none.

    Args:
        nvml: A module that answers like `pynvml`; `None` takes `pynvml`.
    """
    nvml = _pynvml() if nvml is None else nvml
    why = "the Python module of NVML (nvidia-ml-py) is not installed" if nvml is None else _start(nvml)
    if why:
        yield None, why
        return
    with _closing(nvml):
        yield nvml, ""


def _start(nvml: Any) -> str:
    """Starts NVML; returns why it does not start, nothing if it does."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"NVML does not start ({error})"
    return ""


def _pynvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


@contextmanager
def _closing(nvml: Any) -> Iterator[None]:
    try:
        yield
    finally:
        # The reading is taken; a driver that fails to close has nothing left to say.
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _visible(nvml: Any, environ: Mapping[str, str], notes: list[str]) -> tuple[tuple[Slot, ...], tuple[str, ...]]:
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return (), (f"No GPU is counted: NVML does not count them ({error}).",)
    if count == 0:
        return (), ("No GPU is counted: NVML runs and names none.",)
    gpus = [_slot(nvml, number, notes) for number in range(count)]
    chosen, hidden = choose(gpus, environ.get("CUDA_VISIBLE_DEVICES"))
    return chosen, (*hidden, *order_unclear(gpus, environ))


def _devices(nvml: Any, slots: Sequence[Slot], pid: int, proc: Path, notes: list[str]) -> Iterator[Device]:
    for index, slot in enumerate(slots):
        device = _device(nvml, index, slot, pid, proc, notes)
        if device is not None:
            yield device


def _slot(nvml: Any, number: int, notes: list[str]) -> Slot | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid = nvml.nvmlDeviceGetUUID(handle)
    except nvml.NVMLError as error:
        notes.append(f"GPU {number} of this machine is left out: it does not answer ({error}).")
        return None
    try:
        sliced = nvml.nvmlDeviceGetMigMode(handle)[0] == 1
    except nvml.NVMLError:
        sliced = False
    slices = tuple(_slices(nvml, handle, uuid)) if sliced else ()
    return Slot(uuid, handle, _name(nvml, handle), slices=slices, sliced=sliced)


def _slices(nvml: Any, gpu: Any, uuid: str) -> Iterator[Slot]:
    """Yields the MIG slices of a GPU; the numbers have gaps."""
    try:
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    except nvml.NVMLError:
        return
    for number in range(count):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
            own = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError:
            continue
        yield Slot(own, handle, _name(nvml, handle), old_name=_old_name(nvml, handle, uuid))


def _old_name(nvml: Any, handle: Any, uuid: str) -> str | None:
    try:
        part, cores = nvml.nvmlDeviceGetGpuInstanceId(handle), nvml.nvmlDeviceGetComputeInstanceId(handle)
    except nvml.NVMLError:
        return None
    return f"MIG-{uuid}/{part}/{cores}"


def _name(nvml: Any, handle: Any) -> str | None:
    try:
        return str(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return None


def _device(nvml: Any, index: int, slot: Slot, pid: int, proc: Path, notes: list[str]) -> Device | None:
    try:
        memory = gpu_memory(nvml, slot.handle)
    except nvml.NVMLError as error:
        notes.append(f"GPU:{index} ({slot.uuid}) is left out: it does not tell its memory ({error}).")
        return None
    own, why = used_by(nvml, pid, slot.handle, memory.total_bytes, proc)
    if why:
        notes.append(f"GPU:{index}: {why}")
    return Device(
        index=index,
        uuid=slot.uuid,
        name=slot.name or "GPU",
        total_bytes=memory.total_bytes,
        free_bytes=memory.free_bytes,
        used_by_this_process_bytes=own,
        reserved_bytes=memory.reserved_bytes,
        own_from=None if own is None else "driver",
    )
