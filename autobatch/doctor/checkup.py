"""A check-up: from facts to findings, and what would be used."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from autobatch.doctor.checks import check_framework, check_memory, check_packages, check_trials
from autobatch.doctor.facts import Finding, MachineFacts
from autobatch.doctor.gpu_checks import check_allocators, check_devices, choose_allocators
from autobatch.results.trial import Where

SCHEMA_VERSION = 1
_CHECKS = (check_framework, check_devices, check_memory, check_allocators, check_trials, check_packages)


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
        facts = asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}
        return {"schema_version": SCHEMA_VERSION, "counts": self.counts, **facts}


def check_up(facts: MachineFacts) -> Checkup:
    """Returns what is to be said of the machine; pure."""
    return Checkup(tuple(finding for check in _CHECKS for finding in check(facts)), plan(facts))
