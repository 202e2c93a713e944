"""With which micro-batches a training that was killed for memory may go on."""

from autobatch.data.splitting import next_rung, rungs


def micro_below(micro: int, effective: int | None) -> int | None:
    """The next smaller micro-batch, `None` if there is none.

    Args:
        micro: The size that was running when memory ran out.
        effective: Samples behind one update; `micro`, where it is not known or smaller than that, as it may be where
            the effective batch changes.

    Example:
        >>> micro_below(64, 64), micro_below(22, 64), micro_below(1, 64)
        (32, 16, None)
    """
    return next_rung(micro, rungs(max(effective or micro, micro), micro))
