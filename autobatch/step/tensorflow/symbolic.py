"""Samples as Keras takes them to build a model on shapes alone."""

from typing import Any

import numpy as np
import tensorflow as tf

from autobatch.data.batch import Batch, holds_objects, map_leaves


def build_on(model: Any, example: Batch) -> None:
    """Builds what of a model, its metrics and its optimizer is not built yet; no numbers are looked at.

    Args:
        model: A Keras model.
        example: A few samples.
    """
    model._symbolic_build(data_batch=map_leaves(_with_known_type, example.nest))


def _with_known_type(array: Any) -> Any:
    """The array, or a tensor of its text: Keras knows no numpy type that holds text."""
    return tf.convert_to_tensor(array) if isinstance(array, np.ndarray) and holds_objects(array) else array
