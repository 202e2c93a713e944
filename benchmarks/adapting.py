"""What a training gets done in an hour in which neighbours come and go, beside what people do instead.

An hour in miniature, in one memory control group with a hard limit: a script says when neighbours come, how much they
take and how long they stay, and each side trains the same net on the same samples meanwhile. `autobatch.fit` holds 64
samples an update; plain Keras trains with 64 until it dies, or with the size that is safe beside the largest
neighbour, or is restarted at half the size each time it has died. Needs root and memory control groups.
"""

import argparse
import signal
import statistics
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from groups import NoGroupError, kills, memory_group
from harness import Cell, Chart, Findings, Goal, Table, benchmark, interleaved, ratio, say
from support.adapting_scene import (
    IMAGES,
    MIB,
    MINUTES,
    Neighbour,
    Played,
    Side,
    at,
    lost,
    peak_of,
    play,
    script,
    trained,
)

LIMIT_BYTES = 2400 * MIB
EFFECTIVE = 64
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# What the largest neighbour takes of the limit; beside 70 % and more nobody fits at any size.
TIGHT, ROOMY = ("tight", 0.65), ("roomy", 0.5)
# What the peaks of two runs of one training differ by, and the neighbour's own interpreter; with 24 MiB a neighbour was
# killed beside plain Keras at a size that was called safe.
SPARE_BYTES = 48 * MIB
OURS, SAFE, RESTARTED, FIRST = "autobatch", "Keras, safe size", "Keras, restarted", "Keras, first size"

Run = dict[str, Any]


class Scenes:
    """Plays sides, and keeps what happened."""

    def __init__(self, folder: Path, duration_s: float, most: int = EFFECTIVE) -> None:
        self._folder, self.duration_s, self._most = folder, duration_s, most
        self.peaks: dict[int, int] = {}
        self.runs: list[Run] = []

    def peak(self, size: int) -> int:
        """The most bytes that plain Keras occupies at a size, alone in the group."""
        if size not in self.peaks:
            with memory_group(LIMIT_BYTES) as group:
                self.peaks[size] = peak_of(Side("keras", size), group=group, folder=self._folder, updates=24)
            say(f"plain Keras at {size}: peak {self.peaks[size] / MIB:,.0f} MiB")
        return self.peaks[size]

    def safe(self, largest_bytes: int) -> int:
        """The largest of `SIZES` whose measured peak fits beside the largest neighbour.

        Raises:
            RuntimeError: Not even one sample fits.
        """
        room_bytes = LIMIT_BYTES - largest_bytes - SPARE_BYTES
        sizes = [size for size in SIZES if size <= self._most]
        fitting = bisect_left(sizes, True, key=lambda size: self.peak(size) > room_bytes)  # noqa: FBT003 - a key's value
        if fitting == 0:
            raise RuntimeError(f"Not even one sample fits into {room_bytes / MIB:,.0f} MiB.")
        return sizes[fitting - 1]

    def run(self, name: str, side: Side, scene: str, neighbours: tuple[Neighbour, ...], turn: int) -> float:
        with memory_group(LIMIT_BYTES) as group:
            played = play(side, neighbours, group=group, folder=self._folder, duration_s=self.duration_s, seed=turn)
            killed = kills(group) - played.killed_starting
        told = facts(played, killed) | {"side": name, "scene": scene, "turn": turn, "size": side.size}
        told["script"] = [asdict(one) for one in neighbours]
        self.runs.append(told)
        say(
            f"{scene}, turn {turn}, {name} ({side.size}): {told['images']:,} images, {told['deaths']} deaths, "
            f"{told['killed']} killed, {told['changes']} changes, {told['before_s']:.0f} s before the first update"
        )
        if told["deaths"] and not side.restarted and told["stderr"]:
            say(told["stderr"][-400:])
        return float(told["images"]) / self.duration_s * 60


def facts(played: Played, killed: int) -> Run:
    """What is to be told of a run, in seconds since its first update."""
    steps = trained(played.lives, played.start_s, played.stop_s)
    epochs = [event["used_once"] for event in played.events if event["kind"] == "epoch"]
    changes = [event for event in played.events if event["kind"] == "changed" and event["at_s"] > played.start_s]
    shrinks = sum(event["after"] < event["before"] for event in changes)
    moments = [index / 2 for index in range(int(2 * (played.stop_s - played.start_s)) + 1)]
    began = [life.updates[0][0] - life.started_s for life in played.lives if life.updates]
    return {
        "images": steps[-1][1],
        "per_minute": steps[-1][1] / (played.stop_s - played.start_s) * 60,
        "before_s": began[0],
        "restart_s": sum(began[1:]),
        "lost": sum(lost(life) for life in played.lives if life.status != 0),
        "epochs": len(epochs),
        "epochs_whole": sum(used == IMAGES for used in epochs),
        "deaths": played.deaths,
        "killed": killed,
        "killed_starting": played.killed_starting,
        "neighbours": played.neighbours,
        "changes": len(changes),
        "shrinks": shrinks,
        "decisions": [[round(e["at_s"] - played.start_s, 2), e["before"], e["after"], e["reason"]] for e in changes],
        "lives": [[life.size, life.started_s - played.start_s, life.status] for life in played.lives],
        "trained": at(steps, moments),
        "held": [[round(moment - played.start_s, 2), held] for moment, held in played.held],
        "group": [[round(moment - played.start_s, 2), held] for moment, held in played.group],
        "stderr": played.stderr,
    }


def act(scenes: Scenes, scene: tuple[str, float], turns: int, *, others: bool = False) -> None:
    """Plays a scene: autobatch and the safe size in turns, each turn with a script of its own, then the others once."""
    name, largest_bytes = scene[0], int(scene[1] * LIMIT_BYTES)
    hours = {turn: script(turn, scenes.duration_s, largest_bytes) for turn in range(1, turns + 1)}
    turn: Counter[str] = Counter()

    def side(who: str, one: Side) -> float:
        turn[who] += 1
        return scenes.run(who, one, name, hours[turn[who]], turn[who])

    sides = {OURS: Side("autobatch", EFFECTIVE), SAFE: Side("keras", scenes.safe(largest_bytes))}
    interleaved({who: partial(side, who, one) for who, one in sides.items()}, turns)
    if others:
        scenes.run(FIRST, Side("keras", EFFECTIVE), name, hours[1], 1)
        scenes.run(RESTARTED, Side("keras", EFFECTIVE, restarted=True), name, hours[1], 1)


def of(runs: list[Run], scene: str, who: str) -> list[Run]:
    chosen = [run for run in runs if run["scene"] == scene and run["side"] == who]
    return sorted(chosen, key=lambda run: int(run["turn"]))


def over_safe(runs: list[Run], scene: str, who: str, figure: str = "images") -> Any:
    """What a side has trained over what the safe size has, turn by turn."""
    ours = of(runs, scene, who)
    theirs = {run["turn"]: run for run in of(runs, scene, SAFE)}
    return ratio([run["images"] for run in ours], [theirs[run["turn"]][figure] for run in ours])


def row(runs: list[Run], scene: str, who: str) -> list[Cell]:
    chosen = of(runs, scene, who)
    number = len(chosen)

    def mean(figure: str) -> int:
        return round(statistics.mean(int(run[figure]) for run in chosen))

    return [
        scene,
        who,
        chosen[0]["size"],
        number,
        round(sum(run["per_minute"] for run in chosen) / number),
        str(over_safe(runs, scene, who)),
        mean("before_s"),
        sum(run["deaths"] for run in chosen),
        sum(status != 0 for run in chosen for status in run["neighbours"]),
        sum(run["lost"] for run in chosen),
        mean("restart_s"),
        mean("changes") if who == OURS else None,
    ]


COLUMNS = (
    "scene",
    "side",
    "batch",
    "runs",
    "images a minute",
    "over safe size",
    "start s",
    "deaths",
    "neighbours dead",
    "images lost",
    "restarts s",
    "changes",
)


def goals(runs: list[Run]) -> list[Goal]:
    ours = [run for run in runs if run["side"] == OURS]
    reached = over_safe(runs, "tight", OURS)
    whole, epochs = (sum(run[figure] for run in ours) for figure in ("epochs_whole", "epochs"))
    lost_images = sum(run["lost"] for run in ours)
    killed = sum(run["killed"] for run in ours)
    deaths = sum(run["deaths"] + sum(status != 0 for status in run["neighbours"]) for run in ours)
    safe = [run for run in runs if run["side"] == SAFE and run["scene"] == "tight"]
    alive = not any(run["deaths"] or run["killed"] for run in safe)
    used = f"{whole} of {epochs} epochs used each sample exactly once, {lost_images} images lost"
    return [
        Goal(
            "at least 1.3 times the images of plain Keras at the safe size",
            reached.middle >= 1.3 if alive else None,
            str(reached) if alive else f"{reached}, but the safe size was not safe",
        ),
        Goal("nothing lost", epochs > 0 and whole == epochs and not lost_images, used),
        Goal(
            "nobody dies beside autobatch", not deaths and not killed, f"{deaths} died, {killed} killed by the kernel"
        ),
    ]


def charts(runs: list[Run]) -> list[Chart]:
    first = [run for run in runs if run["scene"] == "tight" and run["turn"] == 1]
    images = {f"{run['side']} ({run['size']})": run["trained"] for run in first}
    ours = next(run for run in first if run["side"] == OURS)
    memory = {
        "all": [(at_s, held / MIB) for at_s, held in ours["group"] if at_s >= 0][::3],
        "neighbours": [(at_s, held / MIB) for at_s, held in ours["held"]],
        "limit": [(0.0, LIMIT_BYTES / MIB), (ours["trained"][-1][0], LIMIT_BYTES / MIB)],
    }
    sizes = [(at_s, float(after)) for at_s, _, after, _ in ours["decisions"]]
    return [
        Chart("Images trained, tight scene, first script", "seconds since the first update", "images", images),
        Chart("Memory in the control group beside autobatch", "seconds since the first update", "MiB", memory),
        Chart("Micro-batch of autobatch", "seconds since the first update", "samples", {"micro-batch": sizes}),
    ]


def notes(scenes: Scenes) -> list[str]:
    peaks = ", ".join(f"{size}: {peak / MIB:,.0f}" for size, peak in sorted(scenes.peaks.items()))
    told = f"One minute of the hour takes {scenes.duration_s / MINUTES:.2f} s. The clock starts when the first update "
    net = f"MobileNetV2 at 96x96 on arrays in memory, SGD with momentum, {EFFECTIVE} samples an update; autobatch "
    safe = f"The safe size is the largest of a few whose measured peak (MiB: {peaks}) fits beside the largest "
    spare = f"neighbour with {SPARE_BYTES / MIB:.0f} MiB to spare. Scenes: "
    tighter = "Where the largest neighbour takes 70 % of the limit and more, nobody fits beside it at any size: "
    kind = (
        "Plain Keras updates after each of its small batches: more updates, of another kind, for each image. That is "
    )
    hand = "Who restarts is there at once, and starts in real seconds, of which an hour in miniature has few: a real "
    regrown = "So it is for autobatch: after a neighbour it grows again by readings of the clock, seconds in any hour. "
    return [
        told
        + "has ended; starting is a column of its own, with autobatch's trials in its first run (remembered then).",
        net + f"after share_memory(), Keras with its own allocator. The group's limit is {LIMIT_BYTES / MIB:,.0f} MiB.",
        safe + spare + "; ".join(f"{name}: it takes {share:.0%} of the limit" for name, share in (TIGHT, ROOMY)) + ".",
        tighter + "scenes that tight were left out.",
        kind + "what a safe size costs or buys besides speed, and is not weighed here.",
        hand + "hour would cost less for starts, and more for noticing and for what is lost since the last checkpoint.",
        regrown + "What was measured is what the miniature gives, without any correction for it.",
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=90.0, help="that the hour is told in")
    parser.add_argument(
        "--turns", type=int, default=3, help="of autobatch and of the safe size, each with its own script"
    )


def measure(args: argparse.Namespace) -> Findings:
    # Told to end, it ends the processes that it has started and removes its control group, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    with tempfile.TemporaryDirectory() as name:
        scenes = Scenes(Path(name), 25.0, most=16) if args.quick else Scenes(Path(name), args.seconds)
        try:
            act(scenes, TIGHT, 1 if args.quick else args.turns, others=not args.quick)
            if not args.quick:
                act(scenes, ROOMY, 1)
        except NoGroupError as skipped:
            why = f"Not measured: {skipped}."
            goal = Goal("at least 1.3 times the images of plain Keras at the safe size", None, "-")
            return Findings(goals=[goal], notes=[why])
    runs = scenes.runs
    pairs = dict.fromkeys((run["scene"], run["side"]) for run in runs)
    table = Table("An hour in miniature", COLUMNS, [row(runs, *pair) for pair in pairs])
    samples = {"peaks_bytes": scenes.peaks, "limit_bytes": LIMIT_BYTES, "runs": runs}
    return Findings([table], goals(runs), notes(scenes), samples, charts(runs))


if __name__ == "__main__":
    benchmark(
        "adapting", "Adapting", "How much is trained in an hour in which neighbours come and go?", measure, options
    )
