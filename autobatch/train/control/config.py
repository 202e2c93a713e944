"""How careful the controller is: its patience, its margins, its deadline.

How often memory is read is said in `watcher.py`, when it is given back in `controller.py`.
"""

from dataclasses import dataclass

from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    patience: int = 10  # readings in a row in which a larger size must fit before it is entered
    margin: float = 0.02  # part of the budget that growing must leave over
    foresight: float = 1.5  # micro-batches during which others may go on taking at their recent rate
    clearly: float = 0.1  # by what fraction a budget must have grown before a size that ran out is tried again
    hold: int = 5  # how many times its patience a larger size must last; a shrink before that doubles the patience
    longest: int = 32  # the most that the patience is multiplied by
    starved_s: float = 60.0  # seconds to wait while not even the smallest micro-batch fits; then training ends

    def __post_init__(self) -> None:
        least = {"patience": 1, "margin": 0, "foresight": 0, "clearly": 0, "hold": 1, "longest": 1, "starved_s": 0}
        for name, lowest in least.items():
            if not getattr(self, name) >= lowest:
                raise ArgumentError(
                    "The controller cannot work with such a setting. "
                    f"Received: {name}={getattr(self, name)!r}. Expected {lowest} or more."
                )
