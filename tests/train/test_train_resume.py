"""Runs that begin in the middle, and validation that runs out of memory: what both may not lose."""

import keras
import numpy as np
import pytest

from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.adapters.batch_generator import BatchGeneratorStream
from autobatch.data.batch import Batch
from autobatch.errors import DoesNotFitError, OutOfMemoryError
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.validation import Validation

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

    needs_divisors = False

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
    plan = TrainingPlan(effective_batch_size=EFFECTIVE, verbose=0, workers=1, **options)
    run(model, engine, Numbered(), MicroBatchRunner(controller_without_sensors(EFFECTIVE, (EFFECTIVE,), print)), plan)
    return engine.seen


@pytest.mark.filterwarnings("ignore:The data come to an end after:UserWarning")
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
    """Stands for an engine whose evaluation fits only up to some size, and for the model that it evaluates."""

    needs_divisors = False
    stop_evaluating = False

    def __init__(self, fits, error=None):
        self.fits, self.seen, self.sizes = fits, [], []
        self.error = error

    def evaluate(self, batch, whole):
        self.sizes.append(batch.size)
        if batch.size > self.fits:
            raise self.error or OutOfMemoryError("too large", batch.size)
        self.seen += batch.x[:, 0].astype(int).tolist()
        return {}

    def reset_metrics(self):
        """There are none."""

    def _get_metrics_result_or_logs(self, logs):
        return {"seen": float(len(self.seen))}


def validation(engine, data, told=print, steps=None):
    runner = MicroBatchRunner(controller_without_sensors(4, (4, 2, 1), told))
    given = Validation(data, effective=4, runner=runner, steps=steps, workers=1, max_bytes=2**20)
    result = given.run(engine, engine, keras.callbacks.CallbackList())
    return result, given


def test_a_validation_runs_on_in_smaller_pieces_when_memory_runs_out_and_loses_nothing():
    """Seen to fail with the samples of the failed piece left out."""
    decisions = []
    engine = RunsOut(fits=2)
    result, again = validation(engine, ArraySource(np.arange(10.0)[:, None]), lambda *one: decisions.append(one[:2]))
    assert result == {"seen": 10.0}
    assert engine.seen == list(range(10))
    assert engine.sizes == [4, 2, 2, 2, 2, 2]
    assert decisions == [(4, 2)]
    again.run(engine, engine, keras.callbacks.CallbackList())
    assert max(engine.sizes[6:]) == 2


def test_when_nothing_fits_the_validation_says_so_and_chains_the_cause():
    engine = RunsOut(fits=0, error=OutOfMemoryError("too large", 4))
    with pytest.raises(DoesNotFitError) as caught:
        validation(engine, ArraySource(np.zeros((4, 2))))
    assert caught.value.__cause__ is engine.error


def test_other_errors_of_a_validation_pass_unchanged():
    with pytest.raises(ValueError, match="a bad label"):
        validation(RunsOut(fits=0, error=ValueError("a bad label")), ArraySource(np.zeros((4, 2))))


def test_a_generator_is_validated_on_piece_by_piece_and_nothing_of_it_is_lost_in_between():
    """Seen to fail with what was read ahead thrown away after each validation."""
    engine = RunsOut(fits=4)
    _, again = validation(
        engine, BatchGeneratorStream(np.arange(n, n + 3.0)[:, None] for n in range(0, 90, 3)), steps=2
    )
    assert engine.seen == list(range(8))
    again.run(engine, engine, keras.callbacks.CallbackList())
    again.close()
    assert engine.seen == list(range(16))
