"""The subcommands, one module each."""

from autobatch.cli.command import Command
from autobatch.cli.commands import doctor, fit, memory, probe, report

COMMANDS: dict[str, Command] = {"probe": probe, "fit": fit, "memory": memory, "report": report, "doctor": doctor}
