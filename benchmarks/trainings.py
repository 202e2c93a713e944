"""A training of ours that can be run again and again, so that it can take turns with `model.fit`.

`autobatch.fit` looks for a size and compiles anew at each call; beside the epochs of a model that is compiled once,
that would count for the wrong side. So the loop, the controller and the readings that `fit` sets up are set up here.
"""

from typing import Any

from autobatch.data.batch import Batch
from autobatch.data.cut import rungs
from autobatch.memory.read import read_memory
from autobatch.memory.reading import DEFAULT_RESERVE
from autobatch.step.backend import engine_for
from autobatch.step.sharing import give_back
from autobatch.train.controller import Controller, Outside
from autobatch.train.loop import Plan, run
from autobatch.train.policy import Policy
from autobatch.train.rooms import Rooms
from autobatch.train.updating import Cutter
from autobatch.train.watch import Watch


class Arrays:
    """A source of arrays in memory."""

    seed = 0

    def __init__(self, data: Batch) -> None:
        self._data = data
        self.sample_bytes = data.nbytes // data.size

    def __len__(self) -> int:
        return self._data.size

    def read(self, indices: Any, epoch: int) -> Batch:
        """The samples at `indices`, the same in every epoch."""
        del epoch
        return self._data.take(indices)


def controller(effective: int, micro: int) -> Controller:
    """A controller that reads the memory as in a training and has something to weigh; what it decides is to stay."""
    held = read_memory().process.rss_bytes
    policy = Policy(rungs(effective, micro), {"host": lambda samples: held + 2**30 + samples})
    outside = Outside(changed=print, watch=Watch(read_memory, Rooms(DEFAULT_RESERVE)), give_back=give_back)
    return Controller(policy, micro, outside)


class Ours:
    """Trains a compiled model for an epoch at each call.

    Args:
        model: A compiled model.
        data: The samples of an epoch.
        effective: Samples behind one update.
        micro: Samples in a micro-batch.
    """

    def __init__(self, model: Any, data: Batch, effective: int, micro: int) -> None:
        self._model, self._data, self._effective, self._micro = model, data, effective, micro
        self._engine = engine_for(model, data[:2])

    def __call__(self) -> None:
        """One epoch."""
        cutter = Cutter(controller(self._effective, self._micro))
        run(self._model, self._engine, Arrays(self._data), cutter, Plan(effective=self._effective, verbose=0))
