"""Finding the size: autobatch's search beside those of others, on the same trials within the same hard budget.

A trial is three training steps of Keras in a process whose memory pool has a limit (`hard_budget.py`). Each size is run
once in a row of the table, and whoever asks for it is charged the seconds that it took: so all see the same memory, and
no side has the luck of a quiet moment. What it takes to start that process and to trace the step is the same for all
and left out, but for those that start a process for each trial. The largest size that fits is known from running every
size around the edge.

`python benchmarks/finding.py` needs the extra `benchmarks` for the packages of others; what is missing is said.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Self

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from hard_budget import HardBudget, Recorded, Tried
from harness import Findings, Goal, Table, benchmark, say
from own_search import RESERVES, own_search
from peers import PEERS, OutOfMemoryError, Peer, Situation

SAMPLES = 65_536  # more than fit anywhere


@dataclass(frozen=True, slots=True)
class Row:
    """A model under a budget.

    Attributes:
        net: Its name in `models.NETS`.
        limit_mib: What the pool may hold.
    """

    net: str
    limit_mib: int


ROWS = (
    Row("EfficientNetB0", 150),
    Row("ResNet50", 700),
    Row("MobileNetV2", 600),
    Row("transformer", 600),
    Row("U-Net", 1200),
    Row("tiny conv net", 600),
)
QUICK_ROWS = (Row("transformer", 600), Row("tiny conv net", 300))
TO_KNOW = (
    (
        "seconds: the trials' own; each size is run once in a row, and whoever asks for it is charged what it took. A "
        "trial that runs out of memory takes ten seconds more, which TensorFlow's pool waits for memory to come back, "
        "on a GPU as here."
    ),
    (
        "Starting the process and tracing the step is the same for all and not counted, but for OpenNMT-tf's, which "
        "starts a process for each trial."
    ),
    (
        "Lightning's binsearch leaves 5 % free, OpenNMT-tf's algorithm 30 %, ultralytics' aims at 60 % of the memory. "
        "autobatch leaves 8 % by default (and at least 128 MiB, which is left out here, as the budgets are small)."
    ),
    (
        "A pool that has run out once has holes: near the edge a size may run in a new process that does not run "
        "after that. Ours ask first in each row."
    ),
    "accelerate's starts at 128 and never goes up; its answer is 128 where more fits.",
)
QUICK_WITHOUT = ("accelerate", "OpenNMT-tf's algorithm")


@dataclass(slots=True)
class Search:
    """What a search did.

    Attributes:
        name: Whose it is.
        tried: The sizes that were run, in order.
        answer: The batch size it recommends, `None` if it has none.
        error: What it raised instead.
        seconds: What its trials took.
        ran_out: How many of them ran out of memory.
        peak_share: The most memory it used, over the budget.
        answer_ran: Whether the answer was run to its end by the search itself.
    """

    name: str
    tried: list[int]
    answer: int | None
    error: str | None
    seconds: float
    ran_out: int
    peak_share: float
    answer_ran: bool


def searched(name: str, search: Any, recorded: Recorded, budget: HardBudget, *, fresh_process: bool = False) -> Search:
    """Has a search drive the trials, and notes what it did."""
    tried: list[Tried] = []

    def attempt(size: int) -> Tried:
        tried.append(recorded.attempt(size))
        if not tried[-1].ran:
            raise OutOfMemoryError
        return tried[-1]

    def peak_bytes(size: int) -> int:
        return recorded.attempt(size).peak_bytes or 0

    answer, error = None, None
    try:
        answer = search(Situation(attempt, peak_bytes, budget.limit_bytes, SAMPLES))
    except Exception as caught:  # noqa: BLE001 - whatever a tool ends with is its answer
        error = f"{type(caught).__name__}: {caught}".splitlines()[0]
    starts = budget.start_s * len(tried) if fresh_process else 0.0
    return Search(
        name,
        [one.size for one in tried],
        answer,
        error,
        sum(one.seconds for one in tried) + starts,
        sum(not one.ran for one in tried),
        max((one.peak_bytes or 0) / budget.limit_bytes for one in tried),
        any(one.size == answer and one.ran for one in tried),
    )


def true_largest(recorded: Recorded) -> int:
    """The largest size that runs, from running sizes around the edge until a row of them fails."""
    ran = max(size for size, tried in recorded.known.items() if tried.ran)
    step = max(1, ran // 100)
    size = ran
    while size <= ran + 3 * step and len(recorded.known) < 1000:
        size += step
        if recorded.attempt(size).ran:
            ran = size
    return ran


def row_of(row: Row, peers: tuple[Peer, ...]) -> dict[str, Any]:
    """All searches under one budget."""
    with HardBudget(row.net, row.limit_mib) as budget:
        recorded = Recorded(budget.attempt)
        searches = [
            searched(name, partial(own_search, budget=budget, reserve=reserve), recorded, budget)
            for name, reserve in RESERVES.items()
        ]
        say(f"{row.net}: {searches}")
        for peer in peers:
            searches.append(searched(peer.name, peer.search, recorded, budget, fresh_process=peer.fresh_process))
            say(f"{row.net}: {searches[-1]}")
        return {
            "net": row.net,
            "limit_mib": row.limit_mib,
            "true_largest": true_largest(recorded),
            "base_bytes": budget.base_bytes,
            "start_s": budget.start_s,
            "searches": [asdict(search) for search in searches],
            "trials": [asdict(tried) for _, tried in sorted(recorded.known.items())],
        }


def table_of(result: dict[str, Any]) -> Table:
    """The searches of a row, one a line."""
    true = result["true_largest"]
    rows: list[list[Any]] = []
    for search in result["searches"]:
        answer = search["answer"]
        rows.append(
            [
                search["name"],
                len(search["tried"]),
                round(search["seconds"], 1),
                search["ran_out"],
                f"{search['peak_share']:.0%}",
                search["error"] or answer,
                None if answer is None else f"{answer / true:.0%}",
                None if answer is None else verdict_of(search, result),
            ]
        )
    columns = ("search", "trials", "seconds", "out of memory", "peak", "answer", "of the largest", "the answer itself")
    return Table(f"{result['net']} within {result['limit_mib']} MiB: {true:,} samples fit", columns, rows)


def verdict_of(search: dict[str, Any], result: dict[str, Any]) -> str:
    """Whether the search ran its own answer; if not, what comes of it."""
    if search["answer_ran"]:
        return "was run"
    known = {tried["size"]: tried["ending"] for tried in result["trials"]}
    return "was not run" if known.get(search["answer"], "ran") == "ran" else "was not run; it does not fit"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one of our searches stands beside the others, row by row.

    Attributes:
        trials: How many it took.
        ran_out: How many of them ran out of memory.
        shares: Its answers over the largest sizes that fit.
        times: Its seconds over those of the fastest other.
        times_as_good: The same, among the others that ran their answer and found as much.
    """

    trials: list[int]
    ran_out: int
    shares: list[float]
    times: list[float]
    times_as_good: list[float]

    @classmethod
    def of(cls, results: list[dict[str, Any]], ours: int) -> Self:
        """The standing of the search in this place of every row."""
        own = [result["searches"][ours] for result in results]
        others = [result["searches"][len(RESERVES) :] for result in results]
        fastest = [min(other["seconds"] for other in row) for row in others]
        as_good = [
            [other["seconds"] for other in row if other["answer_ran"] and other["answer"] >= one["answer"]]
            for one, row in zip(own, others, strict=True)
        ]
        return cls(
            [len(one["tried"]) for one in own],
            sum(one["ran_out"] for one in own),
            [one["answer"] / result["true_largest"] for one, result in zip(own, results, strict=True)],
            [one["seconds"] / best for one, best in zip(own, fastest, strict=True)],
            [one["seconds"] / min(seconds) for one, seconds in zip(own, as_good, strict=True) if seconds],
        )


def goals_of(results: list[dict[str, Any]]) -> list[Goal]:
    """What was aimed at, over all rows; judged by what autobatch does unless told otherwise."""
    default, bare = (Standing.of(results, place) for place in range(len(RESERVES)))

    def both(tell: Callable[[Standing], str]) -> str:
        return f"{tell(default)}; without a reserve {tell(bare)}"

    def numbers(values: list[float], form: str) -> str:
        return ", ".join(format(value, form) for value in values)

    return [
        Goal("at most 4 trials in every row", max(default.trials) <= 4, both(lambda of: numbers(of.trials, "d"))),
        Goal(
            "no trial of ours runs out of memory",
            default.ran_out == 0,
            both(lambda of: f"{of.ran_out} of {sum(of.trials)} did"),
        ),
        Goal(
            "at least 97 % of the largest size that fits, in every row",
            min(default.shares) >= 0.97,
            both(lambda of: numbers(of.shares, ".0%")),
        ),
        Goal(
            "at most a third of the time of the fastest other, in every row",
            max(default.times) <= 1 / 3,
            both(lambda of: numbers(of.times, ".2f")),
        ),
        Goal(
            "the same, beside those that ran their answer and found as much",
            max(default.times_as_good, default=0) <= 1 / 3,
            both(lambda of: numbers(of.times_as_good, ".2f") or "no other did"),
        ),
    ]


def measure(args: argparse.Namespace) -> Findings:
    """All rows."""
    present = [peer for peer in PEERS if peer.package is None or find_spec(peer.package)]
    peers = tuple(peer for peer in present if not (args.quick and peer.name in QUICK_WITHOUT))
    results = [row_of(row, peers) for row in (QUICK_ROWS if args.quick else ROWS)]
    notes = [f"Not installed, so not measured: {peer.name}." for peer in PEERS if peer not in present]
    notes += [f"Left out of the quick form: {peer.name}." for peer in present if peer not in peers]
    notes += TO_KNOW
    return Findings([table_of(result) for result in results], goals_of(results), notes, results)


if __name__ == "__main__":
    benchmark(
        "finding", "Finding the size", "How fast, how safely and how near the largest does each find it?", measure
    )
