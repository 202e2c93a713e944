"""What belongs to the pictures of an array: further inputs, targets and weights, which nothing is done to."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autobatch.data.batch import Batch, leaves, map_leaves
from autobatch.data.options import ClassMode


class _Place:
    """Stands where the pictures belong."""

    def __repr__(self) -> str:
        return "PICTURES"


PICTURES: Final = _Place()
"""Stands for the pictures in a nest of arrays."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Arrays of which each picture has a row.

    Attributes:
        x: The inputs: `PICTURES`, or a list, tuple or dict with it and other arrays.
        y: The targets: arrays in any nest, `PICTURES` if they are the pictures themselves, or `None`.
        sample_weight: Weights in any nest, or `None`.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None

    @property
    def class_mode(self) -> ClassMode:
        """The form of the targets, as Keras names it for dataframes."""
        return None if self.y is None else "input" if self.y is PICTURES else "raw"

    def sample_bytes(self, picture_bytes: int) -> int:
        """Bytes of one sample with everything that belongs to it."""
        nest = (self.x, self.y, self.sample_weight)
        return sum(picture_bytes if leaf is PICTURES else bytes_of_one(leaf) for leaf in leaves(nest))

    def join(self, pictures: Any, indices: Any) -> Batch:
        """The samples at `indices`, whose pictures are given."""
        x = map_leaves(lambda leaf: pictures if leaf is PICTURES else leaf[indices], self.x)
        y = map_leaves(lambda leaf: pictures.copy() if leaf is PICTURES else leaf[indices], self.y)
        return Batch(x, y, map_leaves(lambda leaf: leaf[indices], self.sample_weight))


def bytes_of_one(nest: Any) -> int:
    """Bytes of one sample of the arrays of a nest."""
    arrays = (np.asarray(leaf) for leaf in leaves(nest))
    return sum(array.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
