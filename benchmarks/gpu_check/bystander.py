"""A job that is not ours, on the same GPU: it lives through our probe, and what searches by running out kills it.

The bystander takes a part of the GPU, reads it back and gives it back, 20 times a second, and ends at the first time
that it is refused. Beside it, one after another: `autobatch.probe` for the largest size; accelerate's and Lightning's
search on a model of PyTorch's, with all of its defaults; and a search without a framework that doubles until there is
no more, which shows that the bystander can be killed at all.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_check import stage as stages
from gpu_check.stage import HERE, MIB, PROBE, Actor, Stage, in_role
from harness import Cell, Findings, Goal, Table, benchmark, say

QUESTION = "Does a job on the same GPU live through the whole search for a size, ours and others'?"
PEER = HERE / "torch_peer.py"
CONTROL = "doubling until there is no more"
_PATIENCE_S = 200.0
_CALM_ROUNDS = 5
_PRESSED_ROUNDS = 100  # at the edge: who lives through so many will live through more
# Libraries of one framework must not reach the other's: both bring CUDA of their own.
_OURS_ALONE = ("LD_LIBRARY_PATH", "XLA_FLAGS", "TF_GPU_ALLOCATOR")


@dataclass(frozen=True, slots=True)
class Beside:
    """What became of a search and of the bystander."""

    name: str  # who searched
    lived: bool  # whether the bystander lived from before the search until after it
    rounds: int  # how often it took its memory meanwhile
    ended: int | None = None  # how the search ended: its exit status, `None` where it did not in time
    found: int | None = None  # what it says that it found
    ran_out: int | None = None  # how many of its trials ran out of memory, `None` where it does not tell
    why: str = ""  # why it was not run


def goals_of(all_of_them: Sequence[Beside]) -> list[Goal]:
    """What was aimed at: ours spares it, and the others do not.

    That it lived tells nothing where not even the search that is made to can kill it.
    """
    by_name = {one.name: one for one in all_of_them}
    ours, control = by_name["autobatch"], by_name[CONTROL]
    lived, said = _spared(ours, can_be_killed=control.ended == 0 and not control.lived)
    ran_out = None if ours.ran_out is None else ours.ran_out == 0
    return [
        Goal("the bystander lives through our whole probe", lived, said),
        Goal("no trial of ours runs out of memory", ran_out, f"{ours.ran_out} trials"),
        _killing([one for one in all_of_them if one not in (ours, control)]),
    ]


def _spared(ours: Beside, *, can_be_killed: bool) -> tuple[bool | None, str]:
    if not can_be_killed or ours.why:
        return None, ours.why or "nothing kills it"
    if ours.lived and ours.ended is None:
        return None, f"no answer in {_PATIENCE_S:.0f} s"
    return ours.lived and ours.ended == 0, f"{'lived' if ours.lived else 'died'}, {ours.rounds} rounds"


def _killing(others: Sequence[Beside]) -> Goal:
    # One that failed for another reason and left it alive has shown nothing.
    ran = [one for one in others if not one.why and (one.ended == 0 or not one.lived)]
    killed = [one.name for one in ran if not one.lived]
    reasons = {one.why or f"{one.name} failed with status {one.ended}" for one in others}
    said = ", ".join(killed) or "none of them" if ran else "; ".join(sorted(reasons)) or "none was run"
    return Goal("accelerate's or Lightning's search kills it", bool(killed) if ran else None, said)


def beside(
    stage: Stage, name: str, searching: Sequence[str], amount: int, environ: Mapping[str, str], stop: Path | None = None
) -> Beside:
    """Lets somebody search beside a bystander; who waits for `stop` once there is no more is left at that a while."""
    say(f"{name}, beside a bystander of {amount / MIB:,.0f} MiB")
    with in_role(stage, "churn", amount=amount) as bystander:
        if not bystander.until(lambda: len(bystander.of("round")) >= _CALM_ROUNDS, _PATIENCE_S):
            return Beside(
                name, lived=False, rounds=0, why=f"the bystander cannot live alone: {bystander.stderr[-200:]}"
            )
        with Actor(searching, environ) as search:
            if stop is not None and search.until(lambda: bool(search.of("full")), _PATIENCE_S):
                pressed = len(bystander.of("round")) + _PRESSED_ROUNDS
                bystander.until(lambda: len(bystander.of("round")) >= pressed, _PATIENCE_S)
                stop.touch()
            ended = search.status if search.ends(_PATIENCE_S) else None
        missing = next((event["why"] for event in search.of("missing")), "")
        found = next((event["size"] for event in search.of("found")), None)
        ran_out = next((event["ran_out"] for event in search.of("found")), None)
        after = len(bystander.of("round")) + _CALM_ROUNDS
        lived = bystander.until(lambda: len(bystander.of("round")) >= after, 10)
        if ended != 0:
            say(search.stderr[-500:])
        return Beside(name, lived, len(bystander.of("round")), ended, found, ran_out, missing)


def control(stage: Stage, amount: int, stop: Path) -> Beside:
    """The search that is made to kill the bystander, which shows that it can be killed."""
    part = stage.part(amount=stage.free_bytes() // 8, stop=str(stop))
    words = [sys.executable, "-u", str(stages.ACTORS), "search", json.dumps(part)]
    return beside(stage, CONTROL, words, amount, os.environ, stop)


def searches(stage: Stage, args: argparse.Namespace) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Who searches, how each is started, and with which environment."""
    ours = dict(os.environ)
    theirs = {name: value for name, value in ours.items() if name not in _OURS_ALONE}
    if args.peer_python:
        theirs.pop("PYTHONPATH", None)
    python = args.peer_python or sys.executable
    case, cap = ("largest", 16) if args.stage == "cpu" else ("full", 4096)
    probe = stage.part(case=case, most=cap, limit=None)
    known = {"autobatch": ([sys.executable, "-u", str(PROBE), json.dumps(probe)], ours)}
    if args.stage == "gpu":  # on a CPU the kernel would kill somebody before PyTorch says a word
        for peer in ("accelerate", "lightning"):
            known[peer] = ([python, "-u", str(PEER), peer], theirs)
    return known


def measure(args: argparse.Namespace) -> Findings:
    with stages.opened(args.stage, 3000) as stage, tempfile.TemporaryDirectory() as folder:
        amount = stage.total_bytes() // (48 if stage.name == "cpu" else 16)
        others = searches(stage, args).items()
        found = [beside(stage, name, words, amount, environ) for name, (words, environ) in others]
        found.append(control(stage, amount, Path(folder, "stop")))
    columns = ("who searches", "bystander", "its rounds", "found", "trials that ran out", "not run")
    samples: Any = [vars_of(one) for one in found]
    return Findings([Table("Beside a bystander", columns, list(map(row_of, found)))], goals_of(found), [], samples)


def vars_of(one: Beside) -> dict[str, Any]:
    return {"name": one.name, "lived": one.lived, "rounds": one.rounds, "ended": one.ended, "found": one.found}


def row_of(one: Beside) -> list[Cell]:
    if one.why:
        return [one.name, None, None, None, None, one.why]
    return [one.name, "lived" if one.lived else "died", one.rounds, one.found, one.ran_out, None]


def options(parser: argparse.ArgumentParser) -> None:
    stages.options(parser)
    told = "the Python in which PyTorch and the peers are, else that of AUTOBATCH_PEER_PYTHON, else this one"
    parser.add_argument("--peer-python", default=os.environ.get("AUTOBATCH_PEER_PYTHON"), help=told)


if __name__ == "__main__":
    benchmark("gpu_check/bystander", "A bystander", QUESTION, measure, options)
