"""Findings about what limits memory on the host, and whether that can be read."""

from collections.abc import Iterator

from autobatch._text import format_bytes
from autobatch.doctor.finding import Finding, ok, problem, warning
from autobatch.doctor.surroundings import Surroundings

_OF_GROUPS = (
    "Leave a larger reserve (--reserve 20%), or run where it can be read: a container needs /sys/fs/cgroup (read-only "
    "will do)."
)
_REMEDIES = {
    "/meminfo": "Run where /proc/meminfo has MemTotal and MemAvailable; some sandboxes leave them out.",
    "/self/status": "Run where /proc/self/status has VmHWM; some sandboxes leave it out.",
}


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields the limits on the host, and what the kernel tells of them."""
    yield _limit(seen)
    yield from _sensors(seen)
    yield _kills(seen)
    yield _pressure(seen)
    yield _peak(seen)
    yield _swap(seen)
    yield _addresses(seen)
    if seen.kernel.container:
        yield ok("memory", "container", f"This is a container ({seen.kernel.container}).")


def _limit(seen: Surroundings) -> Finding:
    budget = seen.reading.host_budget()
    groups = (
        f"control groups of version {seen.kernel.group_version}" if seen.kernel.group_version else "no control group"
    )
    place = f" ({budget.limit.detail})" if budget.limit.detail else ""
    what = f"Beside GPUs the {budget.limit.kind} limits: {format_bytes(budget.limit.capacity_bytes)}{place}"
    if budget.free_bytes <= 0:
        remedy = "End what holds the memory (`autobatch memory` lists it), or raise the limit."
        left = f"{format_bytes(max(0, budget.limit.available_bytes))} are available, less than the reserve"
        return problem("memory", "limit", f"{what}, of which {left} of {format_bytes(budget.reserve_bytes)}.", remedy)
    return ok("memory", "limit", f"{what}, of which {format_bytes(budget.free_bytes)} can be taken ({groups}).")


def _sensors(seen: Surroundings) -> Iterator[Finding]:
    """Yields what the reading could not tell of the host."""
    for note in seen.reading.notes:
        if not note.startswith(("GPU", "No GPU", "CUDA_VISIBLE_DEVICES", "No memory control group")):
            remedy = next((remedy for file, remedy in _REMEDIES.items() if file in note), _OF_GROUPS)
            yield warning("memory", "sensors", note, remedy)


def _kills(seen: Surroundings) -> Finding:
    if seen.kernel.counts_kills:
        return ok("memory", "kills", "The kernel counts whom it kills for memory, so that such an end can be told.")
    said = "The kernel does not count whom it kills for memory: such an end looks like any other SIGKILL."
    return warning("memory", "kills", said, "Mount /sys/fs/cgroup in the container (read-only will do).")


def _pressure(seen: Surroundings) -> Finding:
    if seen.reading.pressure is None:
        return ok(
            "memory", "pressure", "The kernel does not tell how long tasks wait for memory (PSI); nothing needs it."
        )
    some = seen.reading.pressure.some_avg10
    if some >= 10:
        said = f"Some tasks waited for memory in {some:.0f} % of the last 10 seconds."
        return warning("memory", "pressure", said, "End what holds the memory: `autobatch memory` lists it.")
    return ok("memory", "pressure", f"Some tasks waited for memory in {some:.0f} % of the last 10 seconds.")


def _peak(seen: Surroundings) -> Finding:
    if seen.kernel.resets_peak:
        return ok("memory", "peak", "The high-water mark of resident memory can be set back before each trial.")
    said = (
        "The high-water mark of resident memory cannot be set back: a trial after a larger one has no peak of its own."
    )
    return warning("memory", "peak", said, "Run where /proc/self/clear_refs can be written; some sandboxes refuse it.")


def _swap(seen: Surroundings) -> Finding:
    total, free = seen.kernel.swap_bytes, seen.kernel.swap_free_bytes
    if total is None or free is None:
        return ok("memory", "swap", "Whether there is swap space is unknown; it is not counted.")
    if not total:
        return ok("memory", "swap", "There is no swap space.")
    return ok(
        "memory", "swap", f"Swap space of {format_bytes(total)}, {format_bytes(total - free)} in use; not counted."
    )


def _addresses(seen: Surroundings) -> Finding:
    limit = seen.kernel.address_limit_bytes
    if limit is None:
        return ok("memory", "addresses", "What this process may map is not limited (ulimit -v).")
    said = f"This process may map {format_bytes(limit)} (ulimit -v); TensorFlow maps far more than it uses."
    return warning("memory", "addresses", said, "ulimit -v unlimited; a control group limits what is really used.")
