"""Class weights as Keras means them: a weight for each sample, by its class."""

from collections.abc import Mapping

from autobatch.data.batch import Batch
from autobatch.errors import ArgumentError


def with_class_weight(batch: Batch, class_weight: Mapping[int, float] | None) -> Batch:
    """The batch with each sample weighted by its class; unchanged without class weights.

    Raises:
        ArgumentError: The batch carries sample weights already, or targets that are no classes.
    """
    if class_weight is None:
        return batch
    if batch.sample_weight is not None:
        raise ArgumentError("The samples carry weights already. Received: class_weight beside them. Expected only one.")
    if batch.y is None or getattr(batch.y, "ndim", 0) not in {1, 2}:
        raise ArgumentError(
            "Only samples with class targets have classes. Received: class_weight without such targets."
        )
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    return Batch(batch.x, batch.y, class_weight_to_sample_weights(batch.y, dict(class_weight)))
