"""`autobatch doctor`: what was found on this machine, what would be used, and what to do about each warning."""

import argparse
import contextlib
import os

from autobatch.cli.api import Api
from autobatch.cli.command import Answer, Terminal
from autobatch.cli.exit_codes import ExitCode
from autobatch.cli.quiet import LEVEL, held_back, import_keras

SUMMARY = "say what was found on this machine, what would be used, and what to do about each warning"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds no words, but says what its status tells."""
    parser.description = f"{parser.description} Ends with 2 where nothing can be trained; warnings leave it at 0."


def run(_args: argparse.Namespace, _api: Api, terminal: Terminal) -> Answer:
    """The check-up; its status tells whether anything can be trained."""
    from autobatch.cli.doctor_view import checkup_lines
    from autobatch.cli.wrapped import width_of
    from autobatch.doctor.checkup import check_up
    from autobatch.doctor.look import look

    # What TensorFlow writes about GPUs that it cannot use is a finding, too; who sets its log level reads all of it.
    with contextlib.nullcontext() if LEVEL in os.environ else held_back(2):
        checkup = check_up(look(import_quietly=import_keras))
    status = ExitCode.USAGE if checkup.counts["problem"] else ExitCode.OK
    return Answer("\n".join(checkup_lines(checkup, width_of(terminal.out))), checkup.to_dict(), status)
