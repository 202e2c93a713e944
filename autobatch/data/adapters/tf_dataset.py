"""Batches from a `tf.data.Dataset`, batched or not, as they come."""

from collections.abc import Iterator, Sequence
from typing import Any

from autobatch.data.batch import EXPECTED, Batch, as_batches, leaves, map_leaves, refusal
from autobatch.data.model_spec import Shape
from autobatch.errors import ArgumentError, DataError

_BATCH = 32
_INFINITE = -1


class DatasetStream:
    """The batches of a dataset, pass after pass, each from an iterator of its own.

    A dataset of single samples is batched here, by 32. Which of the two it is, the shapes of the model's inputs tell
    (`input_shapes`, with their batch dimension, in any order); where they don't, it is batched if its first dimension
    is open or its labels are no scalars.
    """

    repeatable = True

    def __init__(self, dataset: Any, *, seed: int = 0, input_shapes: Sequence[Shape] = ()) -> None:
        x, y = _checked(dataset.element_spec)
        self.seed = seed
        self.batched = is_batched(x, y, input_shapes)
        self._dataset = dataset if self.batched else dataset.batch(_BATCH)
        shapes = [spec.shape for spec in leaves((x, y))] if self.batched else []
        self.open_lengths = any(shape.rank is None or None in shape[1:] for shape in shapes)
        count = int(dataset.cardinality())
        self.samples = None if self.batched or count < 0 else count
        self.infinite = count == _INFINITE
        self._first: Batch | None = None
        self._begun: Iterator[Batch] | None = None
        cut = "Its batches are cut and joined as they come" if self.batched else "Its samples are batched as they come"
        self.notes: tuple[str, ...] = (
            f"The order and any augmentation are the dataset's own. {cut}, each sample of a pass once.",
        )

    @property
    def batches(self) -> int | None:
        count = int(self._dataset.cardinality())
        return None if count < 0 else count

    @property
    def sample_bytes(self) -> int:
        return self.few().sample_bytes

    def few(self) -> Batch:
        """The first batch; the pass that is opened first begins with it and goes on from there.

        With an iterator of its own, a shuffle buffer would be filled twice, the training would get the second order
        that a seed gives instead of the first, and what a source has only once would be lost.
        """
        if self._first is None:
            begun = self._iterate()
            self._first = next(begun, None)
            self._begun = begun
        if self._first is None:
            raise DataError("The dataset has no samples. Received: an empty dataset. Expected at least one sample.")
        return self._first

    def open(self, epoch: int) -> Iterator[Batch]:  # noqa: ARG002 - what differs between passes is the dataset's own
        begun, self._begun = self._begun, None
        if begun is not None and self._first is not None:
            yield self._first
        yield from begun or self._iterate()

    def _iterate(self) -> Iterator[Batch]:
        return as_batches(self._dataset.as_numpy_iterator(), "the dataset")


def is_batched(x: Any, y: Any, input_shapes: Sequence[Shape] = ()) -> bool:
    """Whether elements with these specs are batches rather than single samples; without evidence they are, as in Keras.

    A spec's `shape` has a `rank` and, if that is known, dimensions.
    """
    inputs, labels = list(leaves(x)), list(leaves(y))
    ranks = [spec.shape.rank for spec in inputs]
    if 0 in ranks or any(spec.shape.rank == 0 for spec in labels):
        return False
    if _have_ranks(ranks, input_shapes, missing=0):
        return True
    if _have_ranks(ranks, input_shapes, missing=1):
        return _lacks_last(inputs, labels, input_shapes)
    known = [spec.shape[0] for spec in (*inputs, *labels) if spec.shape.rank is not None]
    if any(size is None for size in known):
        return True
    return len(set(known)) <= 1


def _lacks_last(inputs: list[Any], labels: list[Any], shapes: Sequence[Shape]) -> bool:
    """Whether inputs that lack a dimension lack the last, which Keras adds if it is 1, and not that of the samples."""
    flat = _fit(inputs, [shape[:-1] for shape in shapes if shape[-1] == 1])
    single = _fit(inputs, [shape[1:] for shape in shapes])
    if flat != single:
        return flat
    first = {spec.shape[0] for spec in inputs}
    if first == {None}:
        return bool(labels)
    return len(first) == 1 and first == {spec.shape[0] for spec in labels if spec.shape.rank is not None}


def _fit(specs: list[Any], shapes: list[Shape]) -> bool:
    """Whether each spec may stand for one of the shapes."""
    return all(any(spec.shape.is_compatible_with(shape) for shape in shapes) for spec in specs)


def _have_ranks(ranks: list[Any], shapes: Sequence[Shape], *, missing: int) -> bool:
    """Whether these are the ranks of all shapes, less so many dimensions."""
    if not shapes or None in ranks:
        return False
    return sorted(ranks) == sorted(len(shape) - missing for shape in shapes)


def _checked(spec: Any) -> tuple[Any, Any]:
    parts = spec if isinstance(spec, tuple) else (spec,)
    if not 1 <= len(parts) <= 3:
        raise ArgumentError(f"A dataset's elements are batches. Received: elements of {len(parts)} parts. {EXPECTED}")
    for leaf in leaves(parts):
        reason = refusal(leaf)
        if reason is not None:
            raise ArgumentError(f"A part of the dataset can't be cut by samples: {reason}. Received: {leaf}.")
    x, y = (map_leaves(_shaped, part) for part in (*parts, None)[:2])
    return x, y


def _shaped(spec: Any) -> Any:
    """The spec, or `None` for that of an element's `None`."""
    return None if type(spec).__name__ == "NoneTensorSpec" else spec
