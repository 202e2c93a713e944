"""One variable of a model's state, as something that can be written to a file and read back, whatever the backend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StateVariable:
    """A variable that a training changes.

    Attributes:
        name: Its path in the model.
        shape: Its shape.
        dtype: The name of its numbers' type (`"float32"`, `"bfloat16"`).
        nbytes: What its values take.
        read: Returns its values as bytes, in C order; they are a copy.
        write: Takes such bytes as its values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    read: Callable[[], Any]
    write: Callable[[bytes], None]
