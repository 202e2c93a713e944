"""`autobatch fit`: a training at the size that fits, restarted when memory kills it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_args

from autobatch.cli.api import Api
from autobatch.cli.command import CommandOutput, Terminal, as_typed
from autobatch.cli.inputs import inputs, search
from autobatch.cli.options import (
    Switch,
    add_inputs,
    add_option,
    add_search,
    batch_statistics,
    count,
    positive_count,
    seconds,
)
from autobatch.errors import ArgumentError
from autobatch.train.learning_rate import Rule

if TYPE_CHECKING:
    from autobatch.train.checkpoint.saver import SupervisedFolder

SUMMARY = "find the batch size that fits, and train with it"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    _add_training(parser)
    add_search(parser)
    _add_supervision(parser)


def run(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput | int:
    if args.in_process:
        return _train(args, api, terminal)
    return api.supervise(terminal.words, args, terminal.err)


def _train(args: argparse.Namespace, api: Api, terminal: Terminal) -> CommandOutput:
    progress = terminal.err
    output = _output(args.output)
    if args.share_memory:  # before anything imports the framework
        print(api.share_memory(), file=progress, flush=True)
    model, *pictures = inputs(args, api, terminal)
    options = search(args) | _given(args, terminal.words)
    history = api.fit(model, *pictures, epochs=args.epochs, **options)
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
    return CommandOutput("\n".join(lines), data)


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training")
    add_option(training, "--epochs N", "passes over the samples (default: 1)", positive_count, default=1)
    add_option(training, "--validation DIR", "folder of validation pictures, one subfolder per class")
    text = "keep the batch size and accumulate gradients over smaller micro-batches (default), or resize the batch"
    add_option(training, "--on-memory-pressure", text, choices=("accumulate", "resize"))
    text = "how the learning rate follows a resized batch: linear for SGD, sqrt for Adam (default: not at all)"
    add_option(training, "--scale-learning-rate", text, choices=get_args(Rule))
    text = "what BatchNorm sees: micro (the micro-batch, default), or the number of samples in a group"
    add_option(training, "--batch-statistics SIZE", text, batch_statistics)
    text = "what rotates, shifts, shears and zooms pictures: scipy as in Keras (default), or opencv, which is faster"
    add_option(training, "--image-backend", text, choices=("scipy", "opencv"))
    add_option(training, "--output FILE", "where to save the trained model; ends in .keras")
    add_option(training, "--log-dir FOLDER", "where to write the log of the run, which `autobatch report` reads")


def _add_supervision(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "staying alive",
        "The training runs in a child process. If the kernel kills it for memory, it is\n"
        "restarted from its checkpoint with smaller micro-batches; any other end is passed on\nas it is.",
    )
    add_option(group, "--restarts N", "restarts at most (default: 3; 0 for none)", count, default=3)
    text = (
        "folder to save the run in, and to resume from if it holds one that did not end; emptied when the training is "
        "done (default: a temporary one)"
    )
    add_option(group, "--checkpoint FOLDER", text)
    add_option(group, "--checkpoint-every SECONDS", "time between two saves (default: 60)", seconds)
    text = "use allocators that can give memory back to other processes"
    add_option(group, "--share-memory", text, action=Switch, default=False)
    text = "train in this process, without restarts (for debuggers)"
    add_option(group, "--in-process", text, action="store_true")
    # What a supervisor tells its training: what was typed, and after a restart the largest micro-batches.
    add_option(group, "--typed COMMAND", argparse.SUPPRESS)
    add_option(group, "--max-micro-batch-size N", argparse.SUPPRESS, positive_count)
    add_option(group, "--max-validation-batch-size N", argparse.SUPPRESS, positive_count)


def _given(args: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """The arguments for `autobatch.fit` that were given; of the user's limit and a restart's, the smaller one holds."""
    from autobatch.train.checkpoint.saver import SupervisedFolder
    from autobatch.train.jsonl_log import LogDir

    limits = [limit for limit in (args.max_batch, args.max_micro_batch_size) if limit is not None]
    folder, logs = args.checkpoint, args.log_dir
    typed = args.typed or as_typed(words)  # to start the run, without what its supervisor has added
    options = {
        "max_batch_size": min(limits, default=None),
        "validation_batch_size": args.max_validation_batch_size,
        "checkpoint": None if folder is None else SupervisedFolder(folder, args.max_micro_batch_size),
        "checkpoint_every_s": args.checkpoint_every,
        "validation_data": args.validation,
        "on_memory_pressure": args.on_memory_pressure,
        "scale_learning_rate": args.scale_learning_rate,
        "batch_statistics": args.batch_statistics,
        "image_backend": args.image_backend,
        "log_dir": None if logs is None else LogDir(logs, typed),
        "verbose": 0 if args.quiet else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _forget(folder: "SupervisedFolder | None", progress: TextIO) -> None:
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
