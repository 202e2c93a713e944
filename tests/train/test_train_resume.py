"""Runs that begin in the middle, and validation that Keras does: what both may not lose."""

import keras
import numpy as np
import pytest

from autobatch.data.batch import Batch
from autobatch.errors import DoesNotFitError
from autobatch.train.controller import falling
from autobatch.train.loop import Plan, run
from autobatch.train.updating import Cutter
from autobatch.train.validating import KerasValidation

SAMPLES, EFFECTIVE = 23, 5


class Numbered:
    seed = 3
    sample_bytes = 16

    def __len__(self):
        return SAMPLES

    def read(self, indices, epoch):
        return Batch(
            np.stack([indices, np.full(len(indices), epoch)], axis=1).astype(np.float32), np.zeros(len(indices))
        )


class Noting:
    """An engine that notes what it is trained on."""

    needs_weights = False

    def __init__(self):
        self.seen = []

    def accumulate(self, batch, whole):
        self.seen += [tuple(row) for row in batch.x.astype(int).tolist()]
        return {}

    def apply(self):
        """Nothing is kept."""

    def abandon(self):
        """Nothing is kept."""

    def finish(self):
        """Nothing to write."""


def trained_on(**options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    engine = Noting()
    plan = Plan(effective=EFFECTIVE, verbose=0, workers=1, **options)
    run(model, engine, Numbered(), Cutter(falling(EFFECTIVE, (EFFECTIVE,), print)), plan)
    return engine.seen


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("steps", [None, 2, 5, 7])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_run_begun_later_goes_on_where_the_whole_one_would_be(steps, first, shuffle):
    """Seen to fail with the epoch taken for the pass where an epoch is not one pass."""
    options = {"steps_per_epoch": steps, "shuffle": shuffle, "epochs": 4}
    whole = trained_on(**options)
    before = trained_on(**options | {"epochs": first})
    after = trained_on(**options, initial_epoch=first)
    assert before + after == whole


class RunsOut:
    """Stands for a model whose evaluation fits only up to some size."""

    def __init__(self, fits, error=None):
        self.fits, self.sizes = fits, []
        self.error = error or MemoryError("OOM when allocating tensor")

    def evaluate(self, x, y, *, batch_size, **options):
        self.sizes.append(batch_size)
        if batch_size > self.fits:
            raise self.error
        return {"loss": float(len(x))}


def test_arrays_are_validated_in_smaller_batches_when_memory_runs_out():
    """Seen to fail with the error passed on."""
    decisions = []
    controller = falling(32, (32, 16, 8, 4), lambda *decision: decisions.append(decision[:2]))
    model = RunsOut(fits=8)
    validation = KerasValidation((np.zeros((40, 2)), np.zeros(40)), controller=controller, steps=None)
    assert validation.run(model, None, None) == {"loss": 40.0}
    assert model.sizes == [32, 16, 8]
    assert decisions == [(32, 16), (16, 8)]
    validation.run(model, None, None)
    assert model.sizes[3:] == [8]


def test_when_nothing_fits_the_validation_says_so_and_chains_the_cause():
    model = RunsOut(fits=0)
    validation = KerasValidation((np.zeros((4, 2)), np.zeros(4)), controller=falling(2, (2, 1), print), steps=None)
    with pytest.raises(DoesNotFitError) as caught:
        validation.run(model, None, None)
    assert caught.value.__cause__ is model.error


def test_other_errors_of_a_validation_pass_unchanged():
    model = RunsOut(fits=0, error=ValueError("a bad label"))
    validation = KerasValidation((np.zeros((4, 2)), np.zeros(4)), controller=falling(2, (2, 1), print), steps=None)
    with pytest.raises(ValueError, match="a bad label"):
        validation.run(model, None, None)
