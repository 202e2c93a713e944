"""From parsed arguments to the arguments of `autobatch.probe` and `autobatch.fit`."""

import argparse
from pathlib import Path
from typing import Any

from autobatch.cli.api import Api
from autobatch.cli.command import Terminal
from autobatch.cli.devices import require_usable
from autobatch.cli.settings import Origin
from autobatch.errors import ArgumentError, DataError

PICTURES = ("rescale", "validation_split", "horizontal_flip")


def inputs(args: argparse.Namespace, api: Api, terminal: Terminal) -> tuple[Any, ...]:
    """The model and its data, in the order in which `autobatch.fit` and `autobatch.probe` take them."""
    from autobatch.cli.model_ref import compiled

    # cheap checks first: building a model can take a minute, and a wrong path is told at once
    described = described_pictures(args)
    if args.directory is not None and not Path(args.directory).is_dir():
        raise DataError(f"There is no folder at {args.directory!r}.", path=args.directory)
    if args.device is not None:
        api.set_device(args.device)
    model = compiled(api.load_model(args.model), args.loss, args.optimizer, terminal.words)
    if args.device is not None:
        require_usable(args.device, api.accelerators(), api.read_memory().devices)
    if args.directory is None:
        return model, api.make_samples(model)
    if isinstance(described, str):
        return model, api.load_datagen(described), args.directory
    return model, api.make_datagen(**{"rescale": 1 / 255, **described}), args.directory


def search(args: argparse.Namespace) -> dict[str, Any]:
    options = {
        "max_batch_size": args.max_batch,
        "reserve": args.reserve,
        "trial_timeout_s": args.trial_timeout,
        "seed": args.seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return {"batch_size": args.batch_size, "cache": args.cache, **given}


def described_pictures(args: argparse.Namespace) -> str | dict[str, Any]:
    """The generator's name, or its settings: whichever of the two comes from the stronger source."""
    given_pictures = {name: getattr(args, name) for name in PICTURES if getattr(args, name) is not None}
    if args.directory is None:
        # Settings from elsewhere than the command line have no effect then.
        names = [*given_pictures, *(["datagen"] if args.datagen is not None else [])]
        flags = [args.settings[name].where for name in names if args.settings[name].origin is Origin.FLAG]
        if flags:
            raise ArgumentError(f"There are no pictures to read. Received: {', '.join(flags)} without DIR.")
        return {}
    if args.datagen is None:
        return given_pictures
    beside = {name for name in given_pictures if args.settings[name].origin >= args.settings["datagen"].origin}
    if not beside:
        return str(args.datagen)
    if any(args.settings[name].origin == args.settings["datagen"].origin for name in beside):
        places = ", ".join(args.settings[name].where for name in PICTURES if name in beside)
        raise ArgumentError(
            f"--datagen brings its own settings. Received: {places} beside it. Expected: one or the other."
        )
    return given_pictures
