"""The pages made of the results: one for GitHub, one to look at."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tooling.catalogue import FOLDER
from tooling.markdown import markdown_page
from tooling.overview import left_out
from tooling.page import html_page
from tooling.results import read_folder


def main(words: Sequence[str] | None = None) -> int:
    """Writes the pages as the command line asks.

    Args:
        words: The command line; that of this process if left out.

    Returns:
        The exit status: 0, or 1 where a file could not be read.
    """
    args = _parser().parse_args(words)
    results, gpu, out = places(args.results, args.gpu, args.out)
    folder = read_folder(results, gpu)
    out.mkdir(parents=True, exist_ok=True)
    for name, make in (("RESULTS.md", markdown_page), ("results.html", html_page)):
        (out / name).write_text(make(folder), encoding="utf-8", errors="replace", newline="\n")
        print(out / name)
    for one in folder.unreadable:
        print(left_out(one), file=sys.stderr)
    return 1 if folder.unreadable else 0


def places(results: Path | None, gpu: Path | None, out: Path | None) -> tuple[Path, Path | None, Path]:
    """Where results are, those of a GPU, and where the pages go.

    The pages of another folder go there, and leave alone those that are kept.
    """
    if results is None:
        return FOLDER / "results", gpu or FOLDER / "gpu", out or FOLDER
    return results, gpu, out or results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/report", description="Makes RESULTS.md and results.html of the results."
    )
    own = "{}; benchmarks/{} if left out"
    parser.add_argument("--results", type=Path, metavar="FOLDER", help=own.format("where they are", "results"))
    parser.add_argument("--gpu", type=Path, metavar="FOLDER", help=own.format("where those of a GPU are", "gpu"))
    out = "where the pages go; benchmarks, or the folder that --results names, if left out"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out)
    return parser
