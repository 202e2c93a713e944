"""A check-up: from what was seen to findings, and what would be used."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from autobatch.doctor import allocators, devices, framework, memory, packages, trials
from autobatch.doctor.finding import Finding
from autobatch.doctor.plan import Plan, plan
from autobatch.doctor.surroundings import Surroundings

SCHEMA_VERSION = 1
_PARTS = (framework, devices, memory, allocators, trials, packages)


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found on this machine.

    Attributes:
        findings: In groups.
        plan: What would be used, `None` where nothing can be trained.
    """

    findings: tuple[Finding, ...]
    plan: Plan | None

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each state."""
        found = Counter(finding.state for finding in self.findings)
        return {state: found[state] for state in ("ok", "warning", "problem")}

    def to_dict(self) -> dict[str, Any]:
        """Returns the check-up as JSON-ready values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "counts": self.counts,
            "findings": [finding.to_dict() for finding in self.findings],
            "plan": None if self.plan is None else self.plan.to_dict(),
        }


def check_up(seen: Surroundings) -> Checkup:
    """Returns what is to be said of the surroundings; pure.

    Args:
        seen: What was found, by `autobatch.doctor.look.look` or by a test.

    Example:
        >>> from autobatch.backend.base import Framework
        >>> from autobatch.testing import memory_reading
        >>> checkup = check_up(Surroundings(Framework(error="ImportError: no"), memory_reading()))
        >>> [finding.name for finding in checkup.findings if finding.state == "problem"]
        ['keras']
    """
    return Checkup(tuple(finding for part in _PARTS for finding in part.findings(seen)), plan(seen))
