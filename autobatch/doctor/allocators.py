"""Findings about allocators: which ones TensorFlow takes, and whether memory can be given back."""

from collections.abc import Iterator

from autobatch.backend import allocator_choices
from autobatch.backend.base import AllocatorChoice
from autobatch.backend.release import contradictions
from autobatch.doctor.finding import Finding, ok, warning
from autobatch.doctor.surroundings import Surroundings

_SHARE = "autobatch.share_memory() (--share-memory) chooses one that gives back"


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields the allocators that a training would start with."""
    if seen.framework.backend_version is None:
        return
    on_cpu, on_gpu = allocators(seen)
    yield ok("allocators", "cpu_allocator", _said("CPU", on_cpu, f"; {_SHARE}"))
    if seen.framework.gpus:
        can_share = bool(seen.pools) and all(seen.pools)
        hint = f"; {_SHARE}" if can_share else "; this driver has no memory pools, so that none can be given back"
        yield ok("allocators", "gpu_allocator", _said("GPU", on_gpu, hint))
        if not seen.kernel.machines_numbers:
            yield _watched(on_gpu, can_share=can_share)
    for note in contradictions(seen.environ, seen.pools):
        yield warning("allocators", "variables", note, f"Unset {note.partition('=')[0]} if memory is to be given back.")


def allocators(seen: Surroundings) -> tuple[AllocatorChoice, AllocatorChoice]:
    """Returns the allocators on the CPU and on a GPU."""
    on_cpu, on_gpu = allocator_choices(
        seen.environ, onednn=seen.framework.onednn is not False, returns_freed=seen.kernel.returns_freed
    )
    return on_cpu, on_gpu


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
