"""What the adapting benchmark trains: a net, a loss and a metric by which every sample can be told, and the samples.

They have a module of their own because trials run in another process, which can't import a script.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from support.adapting_scene import IMAGES

SIDE, CLASSES = 96, 10


@keras.saving.register_keras_serializable("adapting")
def loss_by_number(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy where a label is the sample's number, and its class that number's last digit."""
    return keras.losses.sparse_categorical_crossentropy(ops.cast(y_true, "int32") % CLASSES, y_pred)


@keras.saving.register_keras_serializable("adapting")
class UsedOnce(keras.metrics.Metric):
    """How many samples were used exactly once since the epoch began."""

    def __init__(self, name: str = "used_once", **rest: Any) -> None:
        super().__init__(name=name, **rest)
        self.counts = self.add_variable((IMAGES,), "zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del y_pred, sample_weight
        numbers = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        self.counts.assign_add(ops.sum(ops.one_hot(numbers, IMAGES, dtype=self.counts.dtype), axis=0))

    def result(self) -> Any:
        return ops.sum(ops.cast(ops.equal(self.counts, 1), "float32"))


def build() -> Any:
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None, classes=CLASSES)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss_by_number, metrics=[UsedOnce()], jit_compile=False)
    return model


def data() -> tuple[Any, Any]:
    """Noise, numbered. In memory, so that reading pictures takes nobody's time."""
    draw = np.random.default_rng(0)
    return draw.random((IMAGES, SIDE, SIDE, 3), dtype=np.float32), np.arange(IMAGES, dtype=np.float32)
