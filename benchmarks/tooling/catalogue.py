"""All benchmarks, in the order in which they are run and told."""

import ast
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark."""

    name: str  # of its program, without the ending
    title: str  # for people
    asks: str  # what it answers
    deadline_s: float = 1200  # after which its full form is ended; several times what it takes on two quiet cores
    quick_deadline_s: float = 300  # the same of its quick form

    def program(self, folder: Path = FOLDER) -> Path:
        return folder / f"{self.name}.py"


ENTRIES = (
    Entry(
        "finding", "Finding the size", "Which way finds the largest size soonest, and without running out?", 3600, 600
    ),
    Entry("prediction", "Prediction error", "How far is the predicted peak from the measured one?", 2400, 400),
    Entry("overhead", "Overhead", "How long does an update take, over one of plain Keras at the same size?"),
    Entry("accumulation", "Accumulation", "What does a large batch in small parts cost, and is it the same update?"),
    Entry("exact", "Exact updates", "What does it cost that an update which is cut equals the whole one?"),
    Entry("adapting", "Adapting", "How much is trained in an hour in which neighbours come and go?", 2400, 400),
    Entry(
        "rebuilding", "Rebuilding", "How much faster is the same flow at another size than flow_from_directory again?"
    ),
    Entry("feeding", "Feeding", "How many images a second reach the model?"),
    Entry("growth", "Growth", "Which costs grow with the files, the batch and the model, and how?"),
    Entry("startup", "Start-up", "How long do the import, the command's help and a reading of the memory take?"),
)


def is_ready(program: Path) -> bool:
    """Whether a program is there and speaks the interface: it imports `benchmark` from the harness."""
    try:
        tree = ast.parse(program.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return program.exists()  # one that cannot be read has to fail, and be seen to
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return any(node.module == "harness" and any(one.name == "benchmark" for one in node.names) for node in froms)
