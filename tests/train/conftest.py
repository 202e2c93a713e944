from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from faults import put_back, state
from folders import tiny_model, write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from nets import numbers
from surroundings import ROOMY, Run, Sensor

from autobatch.backend import engine_for
from autobatch.data.epoch import rungs
from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.probing.tuner import find_batch_size
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.validation import Validation

EFFECTIVE = 8


def unwatched(micro: int) -> MicroBatchRunner:
    return MicroBatchRunner(controller_without_sensors(micro, rungs(EFFECTIVE, micro), lambda *decision: None))


def watched(micro: int) -> MicroBatchRunner:
    """With more memory than is needed."""
    return MicroBatchRunner(Run(Sensor(2 * ROOMY), micro=micro, ladder=rungs(EFFECTIVE, micro)).controller)


class Bench:
    """Trains one model on the same pictures with Keras' `fit` and with our loop, without a probe before.

    20 pictures for training and 12 for validation: at an effective batch of 8, 3 and 2 steps, the last short.
    The model and its engine are made once and put back before each run, since tracing takes far longer than training.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self._training = write_pictures(folder / "training", 10, 10)
        self._held_out = write_pictures(folder / "held out", 6, 6, seed=8)
        self._datagen = ImageDataGenerator(rescale=1 / 255)
        self._batches, self._held_out_batches = self._read(self._training), self._read(self._held_out)
        metrics = ["accuracy", keras.metrics.AUC(name="auc")]
        self.model = tiny_model(metrics=metrics, weighted_metrics=["mse"], run_eagerly=False, **options)
        self._source = self._open(self._training, seed=1)
        self._engine = engine_for(self.model, self._source.read([0, 1], epoch=0))
        self._start = state(self.model)

    def begin(self, *, spoiled: bool = False) -> Any:
        """The model as it was made, or with other values that have to be restored."""
        self.model._initial_epoch = None
        put_back(self.model, {name: value * 0 + 3 if spoiled else value for name, value in self._start.items()})
        return self.model

    def everything(self) -> list[Any]:
        """Values of the model and its optimizer."""
        return numbers([*self.model.variables, *self.model.optimizer.variables])

    def keras(self, *, validate: bool = True, **options: Any) -> Any:
        """What Keras makes of the model as it stands."""
        held_out = self._held_out_batches if validate else None
        options = {"epochs": 2, "verbose": 0, "shuffle": False, "validation_data": held_out} | options
        return self.model.fit(self._batches, **options)

    def ours(
        self,
        *,
        micro: int = EFFECTIVE,
        validate: bool = True,
        validation_steps: int | None = None,
        engine: Any = None,
        is_watched: bool = False,
        **plan: Any,
    ) -> Any:
        """What our loop makes of it; `engine` may be one that trains nothing."""
        runner = watched if is_watched else unwatched
        if validate:
            plan["validation"] = Validation(
                self._open(self._held_out, seed=0),
                effective=EFFECTIVE,
                runner=runner(micro),
                steps=validation_steps,
                workers=1,
                max_bytes=2**20,
            )
        plan = {"epochs": 2, "verbose": 0, "shuffle": False, "workers": 1} | plan
        options = TrainingPlan(effective_batch_size=EFFECTIVE, **plan)
        return run(self.model, engine or self._engine, self._source, runner(micro), options)

    def _open(self, folder: Path, seed: int) -> Any:
        return open_pictures(self._datagen, folder, DataOptions(self.model, augment=False, seed=seed))[0]

    def _read(self, folder: Path) -> Any:
        """The batches of a flow, which Keras goes through in a third of the time."""
        flow = self._datagen.flow_from_directory(folder, (8, 8), batch_size=100, shuffle=False)
        return tf.data.Dataset.from_tensor_slices(flow[0]).batch(EFFECTIVE)


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    shared_bench.begin()
    return shared_bench


@pytest.fixture(scope="module")
def probed_once() -> Iterator[None]:
    """From here to the end of a module, what trials have answered for models of the same layers is not tried again."""
    answers: dict[Any, Any] = {}

    def find(model: Any, samples: Any, request: Any, **options: Any) -> Any:
        layers = tuple(type(layer) for layer in model.layers)
        question = (layers, request.mode, request.effective_batch_size, request.cap)
        if question not in answers:
            answers[question] = find_batch_size(model, samples, request, **options)
        return answers[question]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autobatch.train.opening.find_batch_size", find)
        yield
