"""By what the learning rate is multiplied when an update stands for more or fewer samples than it was chosen for.

**linear** is for SGD, with or without momentum: k times the batch, k times the rate (Goyal et al. 2017, arXiv
1706.02677, section 2.1). One update on k batches then moves about as far as k updates on one.

**sqrt** keeps the variance of an update instead of its length: k times the batch, the root of k times the rate
(Krizhevsky 2014, arXiv 1404.5997, section 5). It is the rule for Adam and RMSprop, whose updates are divided by the
size of the gradient's noise (Malladi et al. 2022, arXiv 2205.10287; their rule moves the betas and epsilon too, which
are left alone here).

The rate is multiplied inside the update only. What the optimizer, its callbacks and the logs show is the user's own
rate, for the reference batch; a schedule, `ReduceLROnPlateau` or `LearningRateScheduler` goes on working with that.

**Momentum is not corrected.** Keras' SGD folds the rate into its velocity, `v = m v - rate g`, so for about
`1 / (1 - m)` updates after a change the velocity still carries the old rate. Goyal et al. (section 3) multiply the
velocity by the ratio of the two rates, the momentum correction, which they find to matter most where the rate is raised
by much. Here the batch changes with the rate. Under the linear rule the gradient of a sample moves the weights by
`rate / (batch * (1 - m))` of itself in the end, the same in every batch. An uncorrected velocity keeps that for the
samples of before the change; a corrected one would count what is still to come of them k times. Leaving it alone is
also what Keras does when a schedule or a callback changes the rate.

Adam-like optimizers need nothing: their moments are averages of gradients without the rate, which enters when the
weights are written. Decoupled weight decay is multiplied by the rate in Keras, and so scales with it.
"""

import math
from typing import Any, Literal, get_args

from autobatch.errors import ArgumentError

Rule = Literal["linear", "sqrt"]


def scale(rule: Rule | None, size: int, reference: int) -> float:
    """What the learning rate is multiplied by when `size` samples stand behind an update.

    Returns:
        Exactly 1 where both are equal.

    Example:
        >>> scale("linear", 64, 256)
        0.25
        >>> scale("sqrt", 64, 256)
        0.5
    """
    ratio = size / reference
    if rule is None:
        return 1.0
    return ratio if rule == "linear" else math.sqrt(ratio)


def parse_rule(value: Any) -> Rule | None:
    """The rule that was asked for.

    Example:
        >>> parse_rule("sqrt")
        'sqrt'
    """
    if value is None or (isinstance(value, str) and value in get_args(Rule)):
        return value  # type: ignore[return-value]
    msg = (
        "The learning rate cannot follow the effective batch this way. "
        f"Received: scale_learning_rate={value!r}. Expected 'linear' (for SGD), 'sqrt' (for Adam and the like) or None."
    )
    raise ArgumentError(msg)
