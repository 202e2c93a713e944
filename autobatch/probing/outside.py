"""What a process takes of a GPU outside its allocator: the context, loaded kernels, workspaces of cuBLAS and cuDNN.

The allocator does not count it and the driver does, so it is in the difference of the two. So are holes, and what the
allocator has taken ahead (TensorFlow's doubles what it takes each time): each difference is too large rather than too
small. What really lies outside is in all of them, so the least is the best known. Not covered: what the allocator had
taken ahead before the first trial hides as much of what comes later, and a process that holds the whole GPU already
shows nothing.
"""


class Outside:
    """What lies outside the allocator at least, over all trials of a search.

    Example:
        >>> outside = Outside()
        >>> outside.after(own_bytes=900, in_use_bytes=300), outside.after(own_bytes=4000, in_use_bytes=2200)
        (600, 600)
    """

    def __init__(self) -> None:
        self._least: int | None = None

    def after(self, own_bytes: int | None, in_use_bytes: int) -> int:
        """The bytes to add to what the allocator says, from what is known after a trial.

        Args:
            own_bytes: What the driver books on the process of the trials, above its baseline; `None` for unknown.
            in_use_bytes: The most that its allocator has had in use in that trial, above the same baseline.
        """
        if own_bytes is not None:
            here = max(0, own_bytes - in_use_bytes)
            self._least = here if self._least is None else min(self._least, here)
        return self._least or 0
