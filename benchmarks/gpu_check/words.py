"""The words that every check understands."""

import argparse


def add_stage(parser: argparse.ArgumentParser) -> None:
    """Where a check runs: on the GPU, or on the CPU to see that it works at all."""
    parser.add_argument(
        "--stage",
        choices=("gpu", "cpu"),
        default="gpu",
        help="cpu runs the same on a CPU, with a limit: to see that the check works, not to measure",
    )
