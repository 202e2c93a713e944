"""The command's words: which subcommands and options there are."""

import argparse

import autobatch
from autobatch.cli import values
from autobatch.cli.exit_codes import exit_code_table

_MODEL = (
    "a compiled model: a .keras file, or package.module:name of a model or of a function that takes nothing and "
    "returns one (the current folder is searched too)"
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `autobatch`; parsed arguments carry the subcommand's name as `command`."""
    parser = argparse.ArgumentParser(
        prog="autobatch",
        description="Finds the batch size that fits, proves it, and trains with it.",
        epilog=exit_code_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autobatch {autobatch.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_probe(commands)
    _add_fit(commands)
    _add_memory(commands)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=exit_code_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_memory(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _command(commands, "memory", "say how much memory there is, and what limits it")


def _add_probe(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "probe", "find the batch size that fits, without training")
    _add_inputs(parser)
    _add_search(parser)


def _add_fit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "fit", "find the batch size that fits, and train with it")
    _add_inputs(parser)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs", type=values.count, default=1, metavar="N", help="passes over the samples (default: 1)"
    )
    training.add_argument("--validation", metavar="DIR", help="folder of validation pictures, one subfolder per class")
    training.add_argument(
        "--when-memory-changes",
        choices=("keep", "resize"),
        help="keep the batch size and add up gradients over smaller micro-batches (default), or resize it",
    )
    training.add_argument(
        "--scale-learning-rate",
        choices=("linear", "sqrt"),
        help="how the learning rate follows a resized batch: linear for SGD, sqrt for Adam (default: not at all)",
    )
    training.add_argument("--output", metavar="FILE", help="where to save the trained model; ends in .keras")
    _add_search(parser)
    _add_supervision(parser)


def _add_supervision(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "staying alive",
        "The training runs in a process of its own. When the kernel kills it for memory, it goes on from its "
        "checkpoint with smaller micro-batches; any other end is handed on as it is.",
    )
    group.add_argument(
        "--restarts", type=values.restarts, default=3, metavar="N", help="restarts at most (default: 3; 0 for none)"
    )
    group.add_argument(
        "--checkpoint",
        metavar="FOLDER",
        help="folder to save the run in, and to go on from if it holds one that did not end; emptied when the "
        "training is done (default: a temporary one)",
    )
    group.add_argument(
        "--checkpoint-every", type=values.seconds, metavar="SECONDS", help="time between two saves (default: 60)"
    )
    group.add_argument(
        "--share-memory", action="store_true", help="use allocators that can give memory back to other processes"
    )
    group.add_argument(
        "--in-process", action="store_true", help="train in this process, without restarts (for debuggers)"
    )
    # What a restarted training is told by its supervisor: the largest micro-batch, and the largest in validation.
    group.add_argument("--ceiling", type=values.count, metavar="N", help=argparse.SUPPRESS)
    group.add_argument("--validation-ceiling", type=values.count, metavar="N", help=argparse.SUPPRESS)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("directory", metavar="DIR", help="folder of pictures, one subfolder per class")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--rescale",
        type=values.number,
        metavar="X",
        help="factor on every pixel (default: 1/255; 1 leaves them as they are)",
    )
    pictures.add_argument(
        "--validation-split", type=values.share, metavar="X", help="share of each class that is kept for validation"
    )
    pictures.add_argument("--horizontal-flip", action="store_true", default=None, help="mirror pictures at random")
    pictures.add_argument(
        "--datagen",
        metavar="NAME",
        help="package.module:name of an ImageDataGenerator, or of a function that returns one, "
        "instead of the three above",
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    search = parser.add_argument_group("batch size")
    search.add_argument(
        "--batch-size",
        type=values.batch_size,
        default="auto",
        metavar="SIZE",
        help="auto (default): the smallest that reaches 95%% of the best speed; largest: the largest safe one; "
        "or the number of samples behind one update",
    )
    search.add_argument("--max-batch-size", type=values.count, metavar="N", help="never try more than this")
    search.add_argument(
        "--reserve", type=values.reserve, metavar="AMOUNT", help="memory to leave free: 0.1, 10%% or 512MiB"
    )
    search.add_argument("--timeout", type=values.seconds, metavar="SECONDS", help="deadline of a single trial")
    search.add_argument("--no-cache", action="store_true", help="measure, whatever an earlier probe has found")
    search.add_argument("--seed", type=values.seed, metavar="N", help="order and augmentation depend on it alone")
