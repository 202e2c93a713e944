"""What a user should know about the way a run is done: said once, when it becomes so."""

from dataclasses import dataclass
from typing import Any

import keras

from autobatch._text import format_count
from autobatch.train.learning_rate import Rule

_FEW_UPDATES = 10


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What of a model decides how its updates may be run."""

    batch_norms: int = 0  # its BatchNormalization layers
    group: int = 1  # samples whose batch statistics are taken together; 1 for those of a micro-batch

    @classmethod
    def of(cls, model: Any, group: int = 1) -> "ModelTraits":
        norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers())
        return cls(norms, group)


def resizing_remark(effective: int, rule: Rule | None) -> str:
    """What follows where the effective batch follows memory."""
    rate = "stays as it is" if rule is None else f"follows by the {rule} rule"
    return f"The effective batch follows memory, up to {effective} samples; the learning rate {rate}."


def accumulation_remarks(traits: ModelTraits, micro: int, effective: int) -> list[str]:
    """What follows where an update is run in several micro-batches; nothing where it is not."""
    if micro >= effective or not traits.batch_norms or traits.group > 1:
        return []
    remark = (
        f"The model's {traits.batch_norms} BatchNormalization layers normalise by the statistics of the micro-batch, "
        f"{micro} samples, not of all {effective}; their moving averages keep their time constant. "
        "batch_statistics=16 takes them over groups of 16 samples, whatever the micro-batch."
    )
    return [remark]


def statistics_remarks(traits: ModelTraits, effective: int) -> list[str]:
    """What follows where batch statistics are to be taken over groups; nothing where they are not."""
    if traits.group == 1:
        return []
    if not traits.batch_norms:
        return [f"batch_statistics={traits.group} has no effect: the model has no BatchNormalization layers."]
    last = effective % traits.group
    less = f" (the last group of each update has {last})" if last else ""
    layers = f"The model's {traits.batch_norms} BatchNormalization layers"
    return [f"{layers} normalise by groups of {traits.group} samples{less}, whatever the micro-batch."]


def step_remarks(*, stream: bool, effective: int, steps_per_epoch: int | None) -> list[str]:
    """What counts as a step, where that may be otherwise than one thinks."""
    if not stream or steps_per_epoch is None:
        return []
    counted = f"steps_per_epoch={steps_per_epoch} counts updates of {effective} samples"
    return [f"{counted}, whatever size the data's own batches have."]


def few_updates_remarks(updates: int | None, effective: int, *, chosen: bool) -> list[str]:
    """What follows where a size that was found leaves little to an epoch; nothing for one that was asked for."""
    if not chosen or updates is None or updates >= _FEW_UPDATES:
        return []
    left = f"{effective} samples an update leave {format_count(updates, 'update')} to an epoch."
    return [f"{left} Where that is too few to learn by, give a smaller batch_size=, or more epochs."]


def unused_rule_remarks(rule: Rule | None, *, changes: bool) -> list[str]:
    """What is to be said of a rule for a learning rate that has nothing to follow."""
    if rule is None or changes:
        return []
    held = f"scale_learning_rate={rule!r} has no effect: the effective batch is held."
    return [f"{held} It changes with on_memory_pressure='resize', or with a schedule as batch_size."]
