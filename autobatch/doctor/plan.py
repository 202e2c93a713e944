"""What a training or a probe would use, as things stand."""

from dataclasses import asdict, dataclass
from typing import Any

from autobatch.doctor.allocators import allocators
from autobatch.doctor.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be used.

    Attributes:
        device: "CPU", or "GPU:k" with its name.
        limit: What limits the memory there: "device", "host" or "control group"; `None` where nothing tells.
        budget_bytes: The most that this process should occupy of it, beside the default reserve.
        trials: Where they run: in a "worker" or in the "caller".
        allocator: What memory is taken from.
        gives_back: Whether that can give memory back.
    """

    device: str
    limit: str | None
    budget_bytes: int | None
    trials: str
    allocator: str
    gives_back: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON-ready values."""
        return asdict(self)


def plan(seen: Surroundings) -> Plan | None:
    """Returns what would be used, `None` where nothing can be trained.

    Args:
        seen: What was found.
    """
    if seen.framework.backend_version is None:
        return None
    gpu = next(iter(seen.framework.gpus), None)
    budget = seen.reading.host_budget() if gpu is None else seen.reading.device_budget(index=gpu.index)
    choice = allocators(seen)[0 if gpu is None else 1]
    return Plan(
        device="CPU" if gpu is None else f"GPU:{gpu.index} {gpu.name or ''}".strip(),
        limit=None if budget is None else budget.limit.kind,
        budget_bytes=None if budget is None else budget.budget_bytes,
        trials="worker" if seen.places.worker_error is None else "caller",
        allocator=choice.name,
        gives_back=choice.gives_back,
    )
