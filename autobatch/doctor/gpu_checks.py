"""Findings about GPUs and allocators: what the driver shows, what the framework can use of it and give back."""

from collections.abc import Iterator

from autobatch._text import format_count
from autobatch.backend import find_backend
from autobatch.backend.base import AllocatorChoice, Backend
from autobatch.doctor.facts import Finding, MachineFacts, ok, warning

_SHARE = "autobatch.share_memory() (--share-memory) chooses one that gives back"


def backend_of(facts: MachineFacts) -> Backend:
    """The backend that would train; ask where the framework's version is known: then there is one."""
    found = find_backend(facts.framework.backend)
    if found is None:
        raise LookupError(facts.framework.backend)
    return found


def check_devices(facts: MachineFacts) -> Iterator[Finding]:
    yield _driver(facts)
    if facts.framework.backend_version is not None:
        yield _used(facts) if facts.framework.gpus else _unused(facts)
    for note in facts.reading.notes:
        if note.startswith("GPU") and "NVML lists no process" not in note:
            yield _noted(note)


def _noted(note: str) -> Finding:
    if "CUDA_DEVICE_ORDER" in note:
        remedy = "Put CUDA_DEVICE_ORDER=PCI_BUS_ID into the environment, or name GPUs by their UUID."
        return warning("devices", "gpu_order", note, remedy)
    remedy = "Training works; sizes then rest on the framework's own figures. nvidia-smi shows what the driver says."
    return warning("devices", "gpu_memory", note, remedy)


def _driver(facts: MachineFacts) -> Finding:
    if facts.driver is None:
        return ok("devices", "driver", facts.driver_note or "There is no driver of a GPU.")
    driver, count = facts.driver, len(facts.machine_gpus)
    cuda = f", serves CUDA up to {driver.cuda_version}" if driver.cuda_version else ""
    nvml = f" (NVML {driver.nvml_version})" if driver.nvml_version else ""
    return ok("devices", "driver", f"NVIDIA driver {driver.version}{nvml}{cuda}; it shows {_gpus(count)}.")


def _used(facts: MachineFacts) -> Finding:
    title = backend_of(facts).title
    names = ", ".join(f"GPU:{gpu.index} {gpu.name or ''}".strip() for gpu in facts.framework.gpus)
    used, visible = len(facts.framework.gpus), len(facts.reading.devices)
    if not visible:
        said = f"{title} can use {names}, but NVML shows no GPU, so that its memory cannot be read."
        remedy = (
            "Install the driver's libnvidia-ml beside its libcuda. In a container that is "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility."
        )
        return warning("devices", "gpus", said, remedy)
    if used < visible:
        said = f"{title} can use {used} of {_gpus(visible)} that this process may use: {names}."
        built = ", ".join(facts.framework.compute_capabilities) or "unknown"
        remedy = f"It was built for these kinds: {built}. An older GPU needs an older build."
        return warning("devices", "gpus", said, remedy)
    hidden = len(facts.machine_gpus) - visible
    more = f"; CUDA_VISIBLE_DEVICES hides {hidden} more" if hidden > 0 else ""
    return ok("devices", "gpus", f"{title} can use {names}{more}.")


def _unused(facts: MachineFacts) -> Finding:
    backend = backend_of(facts)
    count, visible = len(facts.machine_gpus), len(facts.reading.devices)
    if not count:
        return _unseen(facts)
    if not visible:
        said = f"CUDA_VISIBLE_DEVICES={facts.environ.get('CUDA_VISIBLE_DEVICES', '')!r} hides {_gpus(count)}."
        remedy = "To train on a GPU, unset CUDA_VISIBLE_DEVICES, or have it name one by its number or UUID."
        return warning("devices", "gpus", said, remedy)
    shown = f"The driver shows {_gpus(count)}, but"
    if not facts.framework.cuda_build:
        said = f"{shown} this {backend.title} was built without CUDA and uses none."
        return warning("devices", "gpus", said, backend.hints.gpu_build)
    said = f"{shown} {backend.title} can use none: CUDA's libraries are missing or do not match."
    return warning("devices", "gpus", said, backend.hints.gpu_libraries)


def _unseen(facts: MachineFacts) -> Finding:
    if facts.driver is not None:
        return ok("devices", "gpus", "No GPU is there; training runs on the CPU.")
    said = "No GPU can be seen, because the driver cannot be asked"
    by_cuda = [f"CUDA counts {_gpus(len(facts.pools))}"] if facts.pools else []
    signs = [*by_cuda, *(f"{path} is there" for path in facts.device_files)]
    if not signs:
        return ok("devices", "gpus", f"{said}; training runs on the CPU.")
    remedy = (
        "nvidia-smi says what is wrong with the driver. A container needs the driver's libraries, too: "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility."
    )
    return warning("devices", "gpus", f"{said}, but {', '.join(signs)}.", remedy)


def _gpus(count: int) -> str:
    return format_count(count, "GPU")


def check_allocators(facts: MachineFacts) -> Iterator[Finding]:
    if facts.framework.backend_version is None:
        return
    on_cpu, on_gpu = choose_allocators(facts)
    yield ok("allocators", "cpu_allocator", _said("CPU", on_cpu, f"; {_SHARE}"))
    if facts.framework.gpus:
        can_share = bool(facts.pools) and all(facts.pools)
        hint = f"; {_SHARE}" if can_share else "; this driver has no memory pools, so that none can be given back"
        yield ok("allocators", "gpu_allocator", _said("GPU", on_gpu, hint))
        if not facts.kernel.machines_numbers:
            yield _watched(on_gpu, can_share=can_share)
    for note in backend_of(facts).plan_sharing(facts.environ, facts.pools).contradicted:
        yield warning("allocators", "variables", note, f"Unset {note.partition('=')[0]} if memory is to be given back.")


def choose_allocators(facts: MachineFacts) -> tuple[AllocatorChoice, AllocatorChoice]:
    onednn, returns_freed = facts.framework.onednn is not False, facts.kernel.returns_freed
    return backend_of(facts).allocator_choices(facts.environ, onednn=onednn, returns_freed=returns_freed)


def _watched(on_gpu: AllocatorChoice, *, can_share: bool) -> Finding:
    """Whether a training can tell its own part of a GPU where the driver may know it by another number."""
    said = "The driver may know processes of this container by other numbers"
    if on_gpu.gives_back:
        return ok("allocators", "watched", f"{said}; CUDA's memory pool tells what a training holds of the GPU.")
    unwatched = f"{said}; then the GPU is not watched in training: what runs out of it is run again in smaller parts."
    remedy = "Give the container the machine's numbers of processes (--pid=host)."
    if can_share:
        remedy += f" Or {_SHARE}, and tells what it holds."
    return warning("allocators", "watched", unwatched, remedy)


def _said(device: str, choice: AllocatorChoice, hint: str) -> str:
    chosen = f" ({choice.because})" if choice.because else ""
    taking = "takes nearly all of the device at its first use and" if choice.takes_all else "takes what is needed and"
    if choice.gives_back:
        return f"On the {device}: {choice.name}{chosen}, which {taking} can give memory back."
    return f"On the {device}: {choice.name}{chosen}, which {taking} keeps it until the process ends{hint}."
