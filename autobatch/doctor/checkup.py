"""A check-up: findings about Keras, memory on the host, trials, packages and GPUs, and what would be used."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from autobatch._text import GIB, format_bytes
from autobatch.backend import BACKENDS, find_backend
from autobatch.doctor.facts import Finding, MachineFacts, Package, ok, problem, warning
from autobatch.doctor.gpu_checks import backend_of, check_allocators, check_devices, choose_allocators
from autobatch.results.trial import Where

SCHEMA_VERSION = 1
_OTHER_BACKEND = f"Set KERAS_BACKEND={' or '.join(BACKENDS)}, or the backend in ~/.keras/keras.json."
_OF_GROUPS = (
    "Leave a larger reserve (--reserve 20%), or run where it can be read: a container needs /sys/fs/cgroup (read-only "
    "will do)."
)
_ONEDNN = {True: "oneDNN is used on the CPU", False: "oneDNN is not used", None: "whether it uses oneDNN is unknown"}
_REMEDIES = {
    "/meminfo": "Run where /proc/meminfo has MemTotal and MemAvailable; some sandboxes leave them out.",
    "/self/status": "Run where /proc/self/status has VmHWM; some sandboxes leave it out.",
}


def _check_framework(facts: MachineFacts) -> Iterator[Finding]:
    framework = facts.framework
    if framework.error is not None:
        found = find_backend(framework.backend)
        remedy = found.hints.install if found else _OTHER_BACKEND
        yield problem("framework", "keras", f"Keras cannot be imported ({framework.error}).", remedy)
        return
    if framework.backend_version is None:
        said = f"Keras {framework.keras_version} runs on {framework.backend}, for which there is no engine."
        yield problem("framework", "keras", said, _OTHER_BACKEND)
        return
    backend = backend_of(facts)
    said = f"{backend.title} {framework.backend_version}, {_build(facts)}; {_ONEDNN[framework.onednn]}."
    yield ok("framework", "keras", f"Keras {framework.keras_version} runs on {backend.title}.")
    yield ok("framework", backend.name, said)


def _build(facts: MachineFacts) -> str:
    framework = facts.framework
    if not framework.cuda_build:
        return "built without CUDA"
    cudnn = f" and cuDNN {framework.cudnn_version}" if framework.cudnn_version else ""
    return f"built for CUDA {framework.cuda_version or ''}".rstrip() + cudnn


def _check_memory(facts: MachineFacts) -> Iterator[Finding]:
    yield _limit(facts)
    yield from _sensors(facts)
    yield from (look(facts) for look in (_kills, _pressure, _peak, _swap, _addresses))
    if facts.kernel.container:
        yield ok("memory", "container", f"This is a container ({facts.kernel.container}).")


def _limit(facts: MachineFacts) -> Finding:
    budget = facts.reading.host_budget()
    version = facts.kernel.group_version
    groups = f"control groups of version {version}" if version else "no control group"
    place = f" ({budget.limit.detail})" if budget.limit.detail else ""
    what = f"Beside GPUs the {budget.limit.kind} limits: {format_bytes(budget.limit.capacity_bytes)}{place}"
    if budget.free_bytes <= 0:
        remedy = "End what holds the memory (`autobatch memory` lists it), or raise the limit."
        left = f"{format_bytes(max(0, budget.limit.available_bytes))} are available, less than the reserve"
        return problem("memory", "limit", f"{what}, of which {left} of {format_bytes(budget.reserve_bytes)}.", remedy)
    return ok("memory", "limit", f"{what}, of which {format_bytes(budget.free_bytes)} can be taken ({groups}).")


def _sensors(facts: MachineFacts) -> Iterator[Finding]:
    for note in facts.reading.notes:
        if not note.startswith(("GPU", "No GPU", "CUDA_VISIBLE_DEVICES", "No memory control group")):
            remedy = next((remedy for file, remedy in _REMEDIES.items() if file in note), _OF_GROUPS)
            yield warning("memory", "sensors", note, remedy)


def _kills(facts: MachineFacts) -> Finding:
    if facts.kernel.counts_kills:
        return ok("memory", "kills", "The kernel counts whom it kills for memory, so that such an end can be told.")
    said = "The kernel does not count whom it kills for memory: such an end looks like any other SIGKILL."
    return warning("memory", "kills", said, "Mount /sys/fs/cgroup in the container (read-only will do).")


def _pressure(facts: MachineFacts) -> Finding:
    if facts.reading.pressure is None:
        said = "The kernel does not tell how long tasks wait for memory (PSI); nothing needs it."
        return ok("memory", "pressure", said)
    some = facts.reading.pressure.some_avg10
    said = f"Some tasks waited for memory in {some:.0f} % of the last 10 seconds."
    if some >= 10:
        return warning("memory", "pressure", said, "End what holds the memory: `autobatch memory` lists it.")
    return ok("memory", "pressure", said)


def _peak(facts: MachineFacts) -> Finding:
    if facts.kernel.resets_peak:
        return ok("memory", "peak", "The high-water mark of resident memory can be set back before each trial.")
    said = (
        "The high-water mark of resident memory cannot be set back: after a larger trial, one has no peak of its own."
    )
    return warning("memory", "peak", said, "Run where /proc/self/clear_refs can be written; some sandboxes refuse it.")


def _swap(facts: MachineFacts) -> Finding:
    total, free = facts.kernel.swap_bytes, facts.kernel.swap_free_bytes
    if total is None or free is None:
        return ok("memory", "swap", "Whether there is swap space is unknown; it is not counted.")
    if not total:
        return ok("memory", "swap", "There is no swap space.")
    said = f"Swap space of {format_bytes(total)}, {format_bytes(total - free)} in use; not counted."
    return ok("memory", "swap", said)


def _addresses(facts: MachineFacts) -> Finding:
    limit = facts.kernel.address_limit_bytes
    if limit is None:
        return ok("memory", "addresses", "What this process may map is not limited (ulimit -v).")
    said = f"This process may map {format_bytes(limit)} (ulimit -v); frameworks map far more than they use."
    return warning("memory", "addresses", said, "ulimit -v unlimited; a control group limits what is really used.")


def _check_trials(facts: MachineFacts) -> Iterator[Finding]:
    places = facts.places
    if places.worker_error is None:
        yield ok("trials", "worker", "A worker process starts and ends: a trial that fails takes nothing with it.")
    else:
        remedy = "Trials run in the caller's process then, without a deadline. Run where Python may start processes."
        yield warning("trials", "worker", f"No worker process can be started: {places.worker_error}", remedy)
    if places.cache_error is None:
        yield ok("trials", "cache", f"Answers are kept in {places.cache}.")
    else:
        said = f"Answers cannot be kept in {places.cache} ({places.cache_error}): each probe measures anew."
        yield warning("trials", "cache", said, "Set AUTOBATCH_CACHE_DIR to a folder that can be written to.")
    yield _temporary(facts)


def _temporary(facts: MachineFacts) -> Finding:
    places = facts.places
    if places.temporary_in_memory:
        said = f"Temporary files in {places.temporary} take memory, and a trial's model and checkpoints are among them."
        return warning("trials", "temporary", said, "Set TMPDIR to a folder on a disk, /var/tmp for example.")
    if places.temporary_free_bytes is not None and places.temporary_free_bytes < GIB:
        said = f"Only {format_bytes(places.temporary_free_bytes)} are free for temporary files in {places.temporary}."
        return warning("trials", "temporary", said, "Make room there, or set TMPDIR to a folder with more.")
    return ok("trials", "temporary", f"Temporary files are put on a disk, in {places.temporary}.")


def _check_packages(facts: MachineFacts) -> Iterator[Finding]:
    needed = [package for package in facts.packages if not package.extra]
    optional = [package for package in facts.packages if package.extra]
    for package in facts.packages:
        if package.fits is False:
            said = f"{package.name} {package.version} is installed; autobatch is made for {package.wanted}."
            remedy = f"Use {package.name} {package.wanted}." if package.name == "Python" else _install(package)
            yield warning("packages", package.name, said, remedy)
    missing = [package for package in needed if package.version is None]
    for package in missing:
        yield warning("packages", package.name, f"{package.name} is not installed.", _install(package))
    if needed and not missing and all(package.fits for package in needed):
        yield ok("packages", "versions", "Everything that autobatch needs is there, in versions that it is made for.")
    elif any(package.fits is None and package.version is not None for package in needed):
        yield ok("packages", "versions", "autobatch is not installed as a package here: versions are not compared.")
    for package in optional:
        said = f"{package.name} {package.version}, for {package.extra}."
        if package.version is None:
            said = f"Not installed, and needed for {package.extra} only: pip install {package.name}."
        yield ok("packages", package.name, said)


def _install(package: Package) -> str:
    return f"pip install '{package.name}{package.wanted or ''}'"


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """What a training or a probe would use, as things stand."""

    device: str  # "CPU", or "GPU:k" with its name
    limit: str | None  # of the memory there: "device", "host" or "control group"; `None` where nothing tells
    budget_bytes: int | None  # beside the default reserve
    trials: Where
    allocator: str
    gives_back: bool


def plan(facts: MachineFacts) -> MachinePlan | None:
    """Returns what would be used, `None` where nothing can be trained."""
    if facts.framework.backend_version is None:
        return None
    gpu = next(iter(facts.framework.gpus), None)
    budget = facts.reading.host_budget() if gpu is None else facts.reading.device_budget(index=gpu.index)
    choice = choose_allocators(facts)[0 if gpu is None else 1]
    return MachinePlan(
        device="CPU" if gpu is None else f"GPU:{gpu.index} {gpu.name or ''}".strip(),
        limit=None if budget is None else budget.limit.kind,
        budget_bytes=None if budget is None else budget.budget_bytes,
        trials="worker" if facts.places.worker_error is None else "caller",
        allocator=choice.name,
        gives_back=choice.gives_back,
    )


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found on this machine, in groups; no plan where nothing can be trained."""

    findings: tuple[Finding, ...]
    plan: MachinePlan | None

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(finding.state for finding in self.findings)
        return {state: found[state] for state in ("ok", "warning", "problem")}

    def to_dict(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "counts": self.counts, **asdict(self)}


def check_up(facts: MachineFacts) -> Checkup:
    """Returns what is to be said of the machine; pure."""
    checks = (_check_framework, check_devices, _check_memory, check_allocators, _check_trials, _check_packages)
    return Checkup(tuple(finding for check in checks for finding in check(facts)), plan(facts))
