"""Finding the size: autobatch's search beside those of others, on the same trials within the same hard budget.

A trial is three training steps of Keras in a process whose memory pool has a limit. Each size is run once in a row of
the table, and whoever asks for it is charged the seconds that it took: so all see the same memory, and no side has the
luck of a quiet moment. The largest size that fits is known from running the sizes around the edge, each of them below
200 samples and every hundredth beyond.

autobatch is asked for the largest size (`batch_size="largest"`). `python benchmarks/finding.py` needs the extra
`benchmarks` for the packages of others; what is missing is said.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Self

from harness import Findings, Goal, Table, benchmark, say
from support.hard_budget import HardBudget, Recorded, Tried
from support.searches import PEERS, RESERVES, DiedError, OutOfMemoryError, Peer, Situation, own_search

SAMPLES = 65_536  # more than fit anywhere
FINE, _BEYOND = 200, 3

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A model under a budget."""

    net: str  # its name in `models.NETS`
    limit_mib: int  # what the pool may hold


ROWS = (
    Row("EfficientNetB0", 150),
    Row("ResNet50", 700),
    Row("MobileNetV2", 600),
    Row("transformer", 600),
    Row("U-Net", 1200),
    Row("tiny conv net", 600),
)
QUICK_ROWS = (Row("transformer", 600),)
QUICK_WITHOUT = ("accelerate", "OpenNMT-tf's algorithm")
TO_KNOW = (
    (
        "trials s: each size is run once in a row, and whoever asks for it is charged what it took. A trial that runs "
        "out of memory takes ten seconds more, which TensorFlow's pool waits for memory, on a GPU as here. Tools of "
        "PyTorch have no such wait at home, so the time of the trials that ran stands beside it."
    ),
    (
        "starts s: autobatch and OpenNMT-tf's algorithm try sizes in processes of their own, one that is kept and one "
        "for each trial: import, model and first step are charged to them. The others search in the training process."
    ),
    (
        "Lightning's binsearch leaves 5 % free, OpenNMT-tf's algorithm 30 %, ultralytics' aims at 60 % of the memory. "
        "autobatch leaves 8 % by default (and at least 128 MiB, which is left out here, as the budgets are small). The "
        "goals are judged by that; what it finds without a reserve stands beside it."
    ),
    (
        "A pool that has run out once has holes: near the edge a size may run in a new process that does not run "
        "after that. autobatch asks first in each row."
    ),
    "accelerate's starts at 128 and never goes up; its answer is 128 where more fits.",
)


@dataclass(slots=True)
class Search:
    """What a search did."""

    name: str  # whose it is
    tried: list[int]  # the sizes that were run, in order
    answer: int | None  # the batch size it recommends, `None` if it has none
    error: str | None  # what it raised instead
    trials_s: float  # what its trials took
    ran_s: float  # what those of them took that ran
    starts_s: float  # what starting its processes took
    ran_out: int  # how many trials ran out of memory
    peak_share: float  # the most memory it used, over the budget
    answer_ran: bool  # whether the answer was run to its end by the search itself


def searched(
    name: str, search: Callable[[Situation], tuple[int, int]], recorded: Recorded, budget: HardBudget
) -> Search:
    tried: list[Tried] = []

    def attempt(size: int) -> Tried:
        tried.append(recorded.attempt(size))
        if tried[-1].ending == "died":
            raise DiedError("the process of the trial died")
        if not tried[-1].ran:
            raise OutOfMemoryError
        return tried[-1]

    answer, starts, error = None, 0, None
    situation = Situation(attempt, lambda size: recorded.attempt(size).peak_bytes, budget.limit_bytes, SAMPLES)
    try:
        answer, starts = search(situation)
    except Exception as caught:  # noqa: BLE001 - whatever a tool ends with is its answer
        error = f"{type(caught).__name__}: {caught}".splitlines()[0]
        starts = getattr(caught, "starts", 0)
    return Search(
        name,
        [one.size for one in tried],
        answer,
        error,
        sum(one.seconds for one in tried),
        sum(one.seconds for one in tried if one.ran),
        budget.start_s * starts,
        sum(one.ending == "out of memory" for one in tried),
        max((one.peak_bytes / budget.limit_bytes for one in tried), default=0.0),
        any(one.size == answer and one.ran for one in tried),
    )


def foreign(peer: Peer) -> Callable[[Situation], tuple[int, int]]:
    """A peer's search, with the processes that it starts: one for each trial, or none."""

    def search(situation: Situation) -> tuple[int, int]:
        count = 0

        def attempt(size: int) -> Any:
            nonlocal count
            count += 1
            try:
                return situation.attempt(size)
            except DiedError:
                if peer.fresh_process:
                    raise OutOfMemoryError from None  # any failure is one to it
                raise

        counted = Situation(attempt, situation.peak_bytes, situation.budget_bytes, situation.samples)
        try:
            return peer.search(counted), count if peer.fresh_process else 0
        except Exception as error:
            error.starts = count if peer.fresh_process else 0  # type: ignore[attr-defined]
            raise

    return search


def true_largest(recorded: Recorded, fine: int = FINE, beyond: int = _BEYOND) -> int:
    """The largest size that runs, from going on until a few sizes in a row fail."""
    ran = max(size for size, tried in recorded.known.items() if tried.ran)
    failures = 0
    while failures < beyond:
        step = 1 if ran <= fine else max(1, ran // 100)
        size = ran + step * (failures + 1)
        if recorded.attempt(size).ran:
            ran, failures = size, 0
        else:
            failures += 1
    return ran


def row_of(
    row: Row,
    peers: Iterable[Peer],
    budget_of: Callable[[str, int], HardBudget] = HardBudget,
    largest: Callable[[Recorded], int] = true_largest,
) -> Result:
    with budget_of(row.net, row.limit_mib) as budget:
        recorded = Recorded(budget.attempt)
        sides = {name: partial(own_search, budget=budget, reserve=reserve) for name, reserve in RESERVES.items()}
        searches = []
        for name, search in [*sides.items(), *((peer.name, foreign(peer)) for peer in peers)]:
            searches.append(searched(name, search, recorded, budget))
            say(f"{row.net}: {searches[-1]}")
        for search in searches:
            if search.answer:  # what nobody has run may not even fit
                recorded.attempt(search.answer)
        return {
            "net": row.net,
            "limit_mib": row.limit_mib,
            "true_largest": largest(recorded),
            "base_bytes": budget.base_bytes,
            "start_s": budget.start_s,
            "searches": [asdict(search) for search in searches],
            "trials": [asdict(tried) for _, tried in sorted(recorded.known.items())],
        }


def table_of(result: Result) -> Table:
    rows: list[list[Any]] = []
    for search in result["searches"]:
        answer = search["answer"]
        rows.append(
            [
                search["name"],
                len(search["tried"]),
                round(search["trials_s"], 1),
                round(search["ran_s"], 1),
                round(search["starts_s"], 1),
                search["ran_out"],
                f"{search['peak_share']:.0%}",
                answer,
                None if answer is None else f"{answer / result['true_largest']:.0%}",
                search["error"] or fate(search, result),
            ]
        )
    columns = (
        "search",
        "trials",
        "trials s",
        "of them ran, s",
        "starts s",
        "out of memory",
        "peak",
        "answer",
        "of the largest",
        "the answer",
    )
    return Table(
        f"{result['net']} within {result['limit_mib']} MiB: {result['true_largest']:,} samples fit", columns, rows
    )


def fate(search: dict[str, Any], result: Result) -> str:
    """Whether the search ran its own answer; if not, what comes of it."""
    if search["answer_ran"]:
        return "was run"
    endings = {tried["size"]: tried["ending"] for tried in result["trials"]}
    return "was not run; it fits" if endings.get(search["answer"]) == "ran" else "was not run; it does not fit"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one of our searches stands beside the others, row by row.

    Attributes:
        times_as_good: The same, among the others that ran their answer and found as much; rows without are left out.
    """

    trials: list[int]  # how many it took
    ran_out: int  # how many of them ran out of memory
    shares: list[float]  # its answers over the largest sizes that fit, 0 where it had none
    times: list[float]  # its seconds, starts and all, over those of the fastest other that had an answer
    times_as_good: list[float]
    times_that_ran: list[float]  # as `times_as_good`, but without what trials took that ran out of memory

    @classmethod
    def of(cls, results: list[Result], place: int) -> Self:
        own = [result["searches"][place] for result in results]
        others = [result["searches"][len(RESERVES) :] for result in results]
        answered = [[other for other in row if other["answer"]] for row in others]
        as_good = [
            [other for other in row if other["answer_ran"] and other["answer"] >= (one["answer"] or 1)]
            for one, row in zip(own, answered, strict=True)
        ]
        return cls(
            [len(one["tried"]) for one in own],
            sum(one["ran_out"] for one in own),
            [(one["answer"] or 0) / result["true_largest"] for one, result in zip(own, results, strict=True)],
            _over_fastest(own, answered, "trials_s"),
            _over_fastest(own, as_good, "trials_s"),
            _over_fastest(own, as_good, "ran_s"),
        )


def _over_fastest(own: list[dict[str, Any]], others: list[list[dict[str, Any]]], what: str) -> list[float]:
    """Our seconds over those of the fastest other in each row that has one."""

    def taken(search: dict[str, Any]) -> float:
        return float(search[what] + search["starts_s"])

    return [taken(one) / min(map(taken, row)) for one, row in zip(own, others, strict=True) if row]


def goals_of(results: list[Result]) -> list[Goal]:
    default, bare = (Standing.of(results, place) for place in range(len(RESERVES)))

    def both(tell: Callable[[Standing], str]) -> str:
        return f"{tell(default)}; without a reserve {tell(bare)}"

    def numbers(values: Iterable[float], form: str) -> str:
        return ", ".join(format(value, form) for value in values) or "none"

    def within_a_third(times: list[float]) -> bool | None:
        return max(times) <= 1 / 3 if times else None

    return [
        Goal("at most 4 trials in every row", max(default.trials) <= 4, both(lambda of: numbers(of.trials, "d"))),
        Goal(
            "no trial of autobatch runs out of memory",
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
            within_a_third(default.times),
            both(lambda of: numbers(of.times, ".2f")),
        ),
        Goal(
            "the same, beside those that ran their answer and found as much",
            within_a_third(default.times_as_good),
            both(lambda of: numbers(of.times_as_good, ".2f"))
            + "; counting only trials that ran: "
            + both(lambda of: numbers(of.times_that_ran, ".2f")),
        ),
    ]


def measure(args: argparse.Namespace) -> Findings:
    present = [peer for peer in PEERS if peer.package is None or find_spec(peer.package)]
    peers = [peer for peer in present if not (args.quick and peer.name in QUICK_WITHOUT)]
    results = [row_of(row, peers) for row in (QUICK_ROWS if args.quick else ROWS)]
    notes = [f"Not installed, so not measured: {peer.name}." for peer in PEERS if peer not in present]
    notes += [f"Left out of the quick form: {peer.name}." for peer in present if peer not in peers]
    return Findings([table_of(result) for result in results], goals_of(results), [*notes, *TO_KNOW], results)


if __name__ == "__main__":
    benchmark("finding", "Finding the size", "How fast, how safely and how well does each find the largest?", measure)
