"""What a step may take of each resource, read anew whenever it is asked for.

Budgets are bytes that a process may still take. While a worker is alive it counts among the others, so the sizes it can
prove are bounded by what is left beside the caller and itself; the answer says so where that was the bound.
"""

from collections.abc import Callable, Mapping, Sequence

from autobatch._text import format_bytes
from autobatch.backend import accelerator, idle_pool_bytes, read_memory_here
from autobatch.backend.base import Accelerator
from autobatch.memory.reading import Budget, MemoryReading, apply_limit, is_limited, overdrawn_bytes
from autobatch.memory.types import Device
from autobatch.probing.own_pool import OWN_LIMIT, own_budget, pool_bytes, why_stay_in
from autobatch.probing.question import Question
from autobatch.probing.runner import WORST
from autobatch.results.trial import Trial, Where


class Budgets:
    """Per resource (`"host"`, `"device"`), what a step may take on top of what its process held before.

    Args:
        question: Says what is to stay free, and whether there is to be less than there is.
        read: Takes a reading of the memory.
        gpu: Tells of the GPU that steps run on, as it stands now.

    Attributes:
        gpu: The number of the GPU that steps run on, `None` on a CPU.
        machine: The first reading, of what there really is.
        reading: The first reading, under the question's limit.
        now: The budgets; they only fall.
    """

    def __init__(
        self,
        question: Question,
        read: Callable[[], MemoryReading] = read_memory_here,
        gpu: Callable[[], Accelerator | None] = accelerator,
    ) -> None:
        self._question, self._read, self._accelerator = question, read, gpu
        found = gpu()
        self.gpu = None if found is None else found.number
        self.machine = read()
        self.reading = self._limited(self.machine)
        self.now = self._free(self.machine, {"host": idle_pool_bytes()})
        self._first = dict(self.now)

    @property
    def squeezed(self) -> bool:
        """Whether one has fallen since the first reading: by the worker's own needs, above all."""
        return any(self.now[name] < first for name, first in self._first.items())

    def beside_bytes(self) -> dict[str, int]:
        """Per resource, what the process of the trials has taken of a budget; ask when it is gone.

        That is what has come back since, and was there before: what a neighbour has taken meanwhile is not.
        """
        after = self._free(self._read(), {"host": idle_pool_bytes()})
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

        Args:
            own: Per resource, what the process of the trials has taken and will use again.
            where: Which process that is.
        """
        machine = self._read()
        now = self._free(machine, own)
        beside = self._beside_caller(machine, own) if where == "worker" else None
        if beside is not None:
            now["device"] = min(now["device"], beside)
        self.now = {name: min(budget, now[name]) for name, budget in self.now.items()}
        return self.now

    def guards(self, trials: Sequence[Trial]) -> dict[str, int]:
        """What an untried size may come to at worst: that may take the reserve, but no more."""
        if all(WORST not in trial.peaks for trial in trials):
            return {}
        return {WORST: self.now["host"] + self.tightest("host").reserve_bytes}

    def room_to_grow(self, trial: Trial) -> bool:
        """Whether a trial stays within the budget, whatever more updates than it has run may add."""
        return trial.peaks.get(WORST, 0) <= self.now["host"]

    def tightest(self, resource: str) -> Budget:
        """The limit behind a budget, with its reserve."""
        device = self._device_budget(self.reading) if resource == "device" else None
        if device is None:
            return self.reading.host_budget(self._question.reserve)
        return self._own_budget(self._device_bytes(device, self.machine)) or device

    def limit(self, resource: str) -> str:
        """What sets a budget, for people; that it is pretended, where it is."""
        limit = self.tightest(resource).limit
        if resource == "device" and limit.detail == OWN_LIMIT:
            return f"device, of which this program lets TensorFlow take {format_bytes(limit.capacity_bytes)}"
        if limit.kind != ("host" if self.gpu is None else "device") or not self._pretends(self.machine):
            return limit.kind
        return f"{limit.kind}, as if it had {format_bytes(limit.capacity_bytes)}"

    def why_stay_in(self) -> str | None:
        """Why trials have to run in this process, `None` if they don't."""
        device, gpu = self.on_device(self.machine), self._accelerator()
        return None if device is None or gpu is None else why_stay_in(device, gpu)

    def on_device(self, reading: MemoryReading) -> Device | None:
        """What a reading says of the GPU that steps run on."""
        return next((device for device in reading.devices if device.index == self.gpu), None)

    def _limited(self, reading: MemoryReading) -> MemoryReading:
        limit = self._question.limit_bytes
        return reading if limit is None else apply_limit(reading, limit, self.gpu)

    def _pretends(self, reading: MemoryReading) -> bool:
        return is_limited(reading, self._question.limit_bytes, self.gpu)

    def _free(self, machine: MemoryReading, own: Mapping[str, int]) -> dict[str, int]:
        """Per resource, what the process of a step may take on top of what it held before its first.

        Args:
            machine: A reading of now.
            own: What that process has taken since and will use again.
        """
        reading = self._limited(machine)
        host = reading.host_budget(self._question.reserve).free_bytes + own.get("host", 0)
        device = self._device_budget(reading)
        if device is None:
            return {"host": host - self._overdrawn(machine) - self._question.beside_bytes}
        on_device = self._device_bytes(device, machine) + own.get("device", 0)
        own_limit = self._own_budget(on_device)
        on_device = on_device if own_limit is None else own_limit.free_bytes
        return {"host": host - self._question.beside_bytes, "device": on_device}

    def _device_bytes(self, device: Budget, machine: MemoryReading) -> int:
        """What is left of the GPU, with what the caller's allocator holds of it."""
        return device.free_bytes + self._pool_bytes(machine) - self._overdrawn(machine)

    def _beside_caller(self, machine: MemoryReading, own: Mapping[str, int]) -> int | None:
        """What the process of the trials finds of the GPU: what the caller's allocator holds is not there for it."""
        device = self._device_budget(machine)
        return None if device is None else device.free_bytes + own.get("device", 0)

    def _overdrawn(self, machine: MemoryReading) -> int:
        limit = self._question.limit_bytes
        if limit is None or not self._pretends(machine):
            return 0
        return overdrawn_bytes(machine, limit, self.gpu)

    def _device_budget(self, reading: MemoryReading) -> Budget | None:
        return None if self.gpu is None else reading.device_budget(self._question.reserve, self.gpu)

    def _own_budget(self, bound_bytes: int) -> Budget | None:
        """What is left of the program's own limit on the GPU, if that is less than something else leaves."""
        gpu = self._accelerator()
        own = None if gpu is None else own_budget(gpu, self._question.reserve)
        return own if own is not None and own.free_bytes < bound_bytes else None

    def _pool_bytes(self, reading: MemoryReading) -> int:
        """What the caller's framework holds of the GPU without using it, as far as that can be told."""
        device, gpu = self.on_device(reading), self._accelerator()
        return 0 if device is None or gpu is None else pool_bytes(device, gpu)
