"""What a step may take of each resource, read anew whenever it is asked for.

Budgets are bytes that a process may still take. While a worker is alive it counts among the others, so the sizes it can
prove are bounded by what is left beside the caller and itself; the answer says so where that was the bound.

A framework's allocator may take a whole GPU at its start and give nothing back. Another process then finds nothing
left, while a step of the caller's may use it all: what the caller's own allocator holds counts as free for the caller,
and trials have to run where they find it.
"""

from collections.abc import Callable, Mapping, Sequence

from autobatch._text import GIB, format_bytes
from autobatch.backend import accelerator, current_backend, read_memory_here
from autobatch.backend.base import Accelerator
from autobatch.memory.budget import Budget, Limit
from autobatch.memory.reading import BudgetReader, MemoryReading, apply_limit, is_limited, overdrawn_bytes
from autobatch.memory.types import Device
from autobatch.probing.request import ProbeRequest
from autobatch.probing.trials.measure import WORST
from autobatch.results.trial import Trial, Where

# A context with the kernels and workspaces that training loads, of which no step can make use: 0.3 to 0.9 GiB.
_OUTSIDE = GIB
OWN_LIMIT = "this program's own limit"


def held_bytes(device: Device, gpu: Accelerator) -> int:
    """What this process' allocator holds of a GPU at least, as far as it can be told.

    In a container the driver may list no process that can be known for this one. If memory growth is off, the
    allocator has taken all that it may at its start.
    """
    used = device.used_by_this_process_bytes
    if used is not None and not _is_silent(device):
        # A pool tells of itself alone, the driver of everything.
        return max(gpu.in_use_bytes, used if device.own_from == "pool" else used - _OUTSIDE)
    if gpu.grows:
        return gpu.in_use_bytes
    taken = device.total_bytes - device.free_bytes - _OUTSIDE
    if gpu.limit_bytes is not None:
        return max(gpu.in_use_bytes, min(gpu.limit_bytes, taken))
    return taken if device.free_bytes < device.total_bytes // 2 else gpu.in_use_bytes


def pool_bytes(device: Device, gpu: Accelerator) -> int:
    """What this process holds of a GPU without using it: a step of its own can, no other process."""
    return max(0, held_bytes(device, gpu) - gpu.in_use_bytes)


def own_limit(gpu: Accelerator, kept_bytes: int) -> Limit | None:
    """The limit that a program has set for itself on a GPU, `None` where there is none.

    What counts as occupied now is `kept_bytes`: with or without what lies outside the allocator, which is not limited.
    """
    if gpu.limit_bytes is None:
        return None
    left = max(0, gpu.limit_bytes - gpu.in_use_bytes)
    return Limit("device", gpu.limit_bytes, left, kept_bytes, OWN_LIMIT)


def pool_reason(device: Device, gpu: Accelerator) -> str | None:
    """Why trials have to run in this process: a worker would find less than it; `None` where it finds as much."""
    if pool_bytes(device, gpu) <= device.free_bytes:
        return None
    if _is_silent(device):
        return "memory growth is off, so what is taken of the GPU counts as this process'"
    return "this process holds most of the GPU" + ("" if gpu.grows else " (memory growth is off)")


def _is_silent(device: Device) -> bool:
    """Whether the driver does not tell of this process; the allocator's own figure is the least that it can be."""
    return device.used_by_this_process_bytes is None or device.own_from == "allocator"


class StepBudgets:
    """Per resource (`"host"`, `"device"`), what a step may take on top of what its process held before."""

    def __init__(
        self,
        request: ProbeRequest,
        read: Callable[[], MemoryReading] = read_memory_here,
        gpu: Callable[[], Accelerator | None] = accelerator,
    ) -> None:
        self._request, self._read, self._accelerator = request, read, gpu
        found = gpu()
        self.gpu = None if found is None else found.number  # `None` on a CPU
        self._reader = BudgetReader(request.reserve, self.gpu, self._own_limits)
        self.machine = read()  # what there really is
        self.reading = apply_limit(self.machine, request.limit_bytes, self.gpu)
        self.now = self._free(self.machine, {"host": current_backend().idle_pool_bytes()})  # these only fall
        self._first = dict(self.now)

    @property
    def squeezed(self) -> bool:
        """Whether one has fallen since the first reading: by the worker's own needs, above all."""
        return any(self.now[name] < first for name, first in self._first.items())

    def beside_bytes(self) -> dict[str, int]:
        """Per resource, what the process of the trials has taken of a budget; ask when it is gone.

        That is what has come back since, and was there before: what a neighbour has taken meanwhile is not.
        """
        after = self._free(self._read(), {"host": current_backend().idle_pool_bytes()})
        return {name: max(0, min(first, after[name]) - self.now[name]) for name, first in self._first.items()}

    @property
    def reserves(self) -> dict[str, int]:
        """Per resource, the bytes kept free on purpose."""
        return {name: self.tightest(name).reserve_bytes for name in self.now}

    @property
    def limits(self) -> dict[str, str]:
        """Per resource, what sets the budget, for people."""
        return {name: self.limit(name) for name in self.now}

    def renew(self, own: Mapping[str, int], where: Where = "worker") -> dict[str, int]:
        """What a step may take: in training, when the worker is gone, and in the next trial, beside the worker.

        `own` is what the process of the trials has taken, per resource, and will use again.
        """
        machine = self._read()
        now = self._free(machine, own)
        # What the caller's allocator holds of the GPU is not there for the process of the trials.
        beside = self._reader.read(machine, own).get("device") if where == "worker" else None
        if beside is not None:
            now["device"] = min(now["device"], beside.free_bytes)
        self.now = {name: min(budget, now[name]) for name, budget in self.now.items()}
        return self.now

    def guards(self, trials: Sequence[Trial]) -> dict[str, int]:
        """What an untried size may come to at worst: that may take the reserve, but no more."""
        if all(WORST not in trial.peaks for trial in trials):
            return {}
        return {WORST: self.now["host"] + self.tightest("host").reserve_bytes}

    def fits_at_worst(self, trial: Trial) -> bool:
        """Whether a trial stays within the budget, whatever more updates than it has run may add."""
        return trial.peaks.get(WORST, 0) <= self.now["host"]

    def tightest(self, resource: str) -> Budget:
        """The limit behind a budget, with its reserve."""
        budgets = self._reader.read(self.reading, self._reusable(self.machine, {}))
        return budgets.get(resource, budgets["host"])

    def limit(self, resource: str) -> str:
        """What sets a budget, for people; that it is pretended, where it is."""
        limit = self.tightest(resource).limit
        if resource == "device" and limit.detail == OWN_LIMIT:
            title = current_backend().title
            return f"device, of which this program lets {title} take {format_bytes(limit.capacity_bytes)}"
        bounded = "host" if self.gpu is None else "device"
        if limit.kind != bounded or not is_limited(self.machine, self._request.limit_bytes, self.gpu):
            return limit.kind
        return f"{limit.kind}, as if it had {format_bytes(limit.capacity_bytes)}"

    def pool_reason(self) -> str | None:
        """Why trials have to run in this process, `None` if they don't."""
        device, gpu = self.on_device(self.machine), self._accelerator()
        return None if device is None or gpu is None else pool_reason(device, gpu)

    def on_device(self, reading: MemoryReading) -> Device | None:
        """What a reading says of the GPU that steps run on."""
        return None if self.gpu is None else reading.device(self.gpu)

    def _free(self, machine: MemoryReading, own: Mapping[str, int]) -> dict[str, int]:
        """Per resource, what the process of a step may take, `own` included: what it has taken since its first step."""
        reading = apply_limit(machine, self._request.limit_bytes, self.gpu)
        free = {name: one.free_bytes for name, one in self._reader.read(reading, self._reusable(machine, own)).items()}
        return {**free, "host": free["host"] - self._request.beside_bytes}

    def _reusable(self, machine: MemoryReading, own: Mapping[str, int]) -> dict[str, int]:
        """Per resource, what is held and of use to a step: its process' own, and of the GPU the caller's idle pool."""
        device, gpu = self.on_device(machine), self._accelerator()
        idle_bytes = 0 if device is None or gpu is None else pool_bytes(device, gpu)
        reusable = {"host": own.get("host", 0), "device": own.get("device", 0) + idle_bytes}
        overdrawn = overdrawn_bytes(machine, self._request.limit_bytes, self.gpu)
        reusable["host" if self.gpu is None else "device"] -= overdrawn
        return reusable

    def _own_limits(self, reading: MemoryReading) -> dict[str, list[Limit]]:
        """What the program lets the framework take of the GPU: a full allocator is full of holes, so with a reserve."""
        gpu = self._accelerator()
        own = None if gpu is None or self.on_device(reading) is None else own_limit(gpu, gpu.in_use_bytes)
        return {} if own is None else {"device": [own]}
