"""What a user should know about the way a run is done: said once, when it becomes so."""

from typing import Any

import keras

from autobatch._text import format_count
from autobatch.data.check import is_keras_own
from autobatch.train.learning_rate import Rule

_FEW_UPDATES = 10


def resizing_remark(effective: int, rule: Rule | None) -> str:
    """What follows where the effective batch follows memory."""
    rate = "stays as it is" if rule is None else f"follows by the {rule} rule"
    return f"The effective batch follows memory, up to {effective} samples; the learning rate {rate}."


def accumulation_remarks(model: Any, micro: int, effective: int) -> list[str]:
    """What follows where an update is run in several micro-batches; nothing where it is not."""
    if micro >= effective:
        return []
    said = []
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers())
    if norms:
        said.append(
            f"The model's {norms} BatchNormalization layers normalise by the statistics of the micro-batch, {micro} "
            f"samples, not of all {effective}; their moving averages keep their time constant."
        )
    if not is_keras_own(model, "train_step"):
        said.append(
            "The model has a train_step of its own: updates in several micro-batches are exact if its loss is a mean "
            "over samples, and if it changes gradients only through the optimizer."
        )
    return said


def step_remarks(model: Any, *, stream: bool, effective: int, steps_per_epoch: int | None) -> list[str]:
    """What counts as a step, where that may be otherwise than one thinks."""
    said = []
    if stream and steps_per_epoch is not None:
        said.append(
            f"steps_per_epoch={steps_per_epoch} counts updates of {effective} samples, whatever size the data's own "
            "batches have."
        )
    at_once = getattr(model, "steps_per_execution", 1)
    if at_once != 1:
        said.append(f"steps_per_execution={at_once} has no effect: updates are run one at a time.")
    return said


def few_updates_remarks(updates: int | None, effective: int, *, chosen: bool) -> list[str]:
    """What follows where a size that was found leaves little to an epoch; nothing for one that was asked for."""
    if not chosen or updates is None or updates >= _FEW_UPDATES:
        return []
    left = f"{effective} samples an update leave {format_count(updates, 'update')} to an epoch."
    return [f"{left} Where that is too few to learn by, give a smaller batch_size=, or more epochs."]


def unused_rule_remarks(rule: Rule | None, *, changes: bool) -> list[str]:
    """What was asked for and has nothing to do."""
    if rule is None or changes:
        return []
    held = f"scale_learning_rate={rule!r} has nothing to do: the effective batch is held."
    return [f"{held} It changes with on_memory_pressure='resize', or with a schedule as batch_size."]
