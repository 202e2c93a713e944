"""The subcommands: from parsed arguments to a call of autobatch, and from its result to something to print."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from autobatch.cli.api import Api
from autobatch.errors import ArgumentError, DataError
from autobatch.train.supervised import Supervised


@dataclass(frozen=True, slots=True)
class Answer:
    """What a subcommand found.

    Attributes:
        text: For people.
        data: For `--json`.
    """

    text: str
    data: dict[str, Any]


def memory(_args: argparse.Namespace, api: Api, _progress: TextIO) -> Answer:
    """What limits this process now."""
    reading = api.read_memory()
    return Answer(str(reading), reading.to_dict())


def probe(args: argparse.Namespace, api: Api, progress: TextIO) -> Answer:
    """The batch size that fits; each trial is a line of progress."""
    model, datagen = _inputs(args, api)
    result = api.probe(model, datagen, args.directory, on_trial=TrialLine(progress), **_search(args))
    return Answer(str(result), result.to_dict())


def fit(args: argparse.Namespace, api: Api, progress: TextIO) -> Answer:
    """A training at the size that fits, in this process; the model is saved where `--output` says."""
    output = _output(args.output)
    if args.share_memory:  # before anything imports TensorFlow
        print(api.share_memory(), file=progress, flush=True)
    model, datagen = _inputs(args, api)
    options = _search(args) | _bounded(args) | _saved(args)
    named = {
        "validation_data": args.validation,
        "when_memory_changes": args.when_memory_changes,
        "scale_learning_rate": args.scale_learning_rate,
    }
    options |= {name: value for name, value in named.items() if value is not None}
    history = api.fit(model, datagen, args.directory, epochs=args.epochs, **options)
    lines = [str(history.autobatch), *_last_epoch(history)]
    if output is not None:
        model.save(output)
        lines.append(f"saved to {output}")
    _forget(options.get("checkpoint"), progress)
    data = {
        "history": history.history,
        "epochs": list(history.epoch),
        "run": history.autobatch.to_dict(),
        "output": None if output is None else str(output),
    }
    return Answer("\n".join(lines), data)


COMMANDS: dict[str, Callable[[argparse.Namespace, Api, TextIO], Answer]] = {
    "fit": fit,
    "memory": memory,
    "probe": probe,
}


class TrialLine:
    """Writes one line for each trial that it is called with.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0

    def __call__(self, trial: Any) -> None:
        """Writes the line of one trial."""
        self._count += 1
        outcome = trial.outcome.name.lower().replace("_", " ")
        speed = "" if trial.samples_per_s is None else f", {trial.samples_per_s:,.0f} samples/s"
        print(
            f"trial {self._count}: {trial.size} samples: {outcome}{speed}, {trial.wall_s:.1f} s",
            file=self._stream,
            flush=True,
        )


def _inputs(args: argparse.Namespace, api: Api) -> tuple[Any, Any]:
    # the folder is looked at first: building a model can take a minute, a wrong path is told at once
    if not Path(args.directory).is_dir():
        raise DataError(f"There is no folder at {args.directory!r}.", path=args.directory)
    own = {
        "rescale": args.rescale,
        "validation_split": args.validation_split,
        "horizontal_flip": args.horizontal_flip,
    }
    given = {name: value for name, value in own.items() if value is not None}
    if args.datagen is not None and given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ArgumentError(
            f"--datagen brings its own settings. Received: {flags} beside it. Expected: one or the other."
        )
    datagen = (
        api.make_datagen(**{"rescale": 1 / 255, **given}) if args.datagen is None else api.load_datagen(args.datagen)
    )
    return api.load_model(args.model), datagen


def _search(args: argparse.Namespace) -> dict[str, Any]:
    options = {
        "max_batch_size": args.max_batch_size,
        "reserve": args.reserve,
        "trial_timeout_s": args.timeout,
        "seed": args.seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return {"batch_size": args.batch_size, "cache": not args.no_cache, **given}


def _bounded(args: argparse.Namespace) -> dict[str, Any]:
    """The smaller of the user's bound and that of a restart, and what a restart says of validation."""
    bounds = [bound for bound in (args.max_batch_size, args.ceiling) if bound is not None]
    options = {"max_batch_size": min(bounds, default=None), "validation_batch_size": args.validation_ceiling}
    return {name: value for name, value in options.items() if value is not None}


def _saved(args: argparse.Namespace) -> dict[str, Any]:
    folder = None if args.checkpoint is None else Supervised(args.checkpoint, args.ceiling)
    options = {"checkpoint": folder, "checkpoint_every_s": args.checkpoint_every}
    return {name: value for name, value in options.items() if value is not None}


def _forget(folder: Supervised | None, progress: TextIO) -> None:
    """Removes the stored run, once nothing depends on it any more."""
    try:
        if folder is not None:
            folder.clear()
    except OSError as error:
        print(f"autobatch: the saved run could not be removed ({error})", file=progress, flush=True)


def _output(name: str | None) -> Path | None:
    if name is None:
        return None
    path = Path(name)
    if path.suffix != ".keras" or not path.parent.is_dir():
        raise ArgumentError(
            f"The trained model cannot be saved there. Received: --output {name}. "
            "Expected: a name ending in .keras, in a folder that exists."
        )
    return path


def _last_epoch(history: Any) -> list[str]:
    if not history.epoch:
        return []
    shown = {name: values[-1] for name, values in history.history.items() if values and "/" not in name}
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    return [f"epoch {history.epoch[-1] + 1}: {metrics}"]
