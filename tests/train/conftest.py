from pathlib import Path
from typing import Any

import pytest
from folders import write_pictures
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from autobatch.backend import engine_for
from autobatch.data.epoch import rungs
from autobatch.data.open import open_pictures
from autobatch.data.options import DataOptions
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.validation import DataValidation

EFFECTIVE = 8


class Bench:
    """Trains the same model on the same pictures with Keras' `fit` and with our loop, without a probe before.

    20 pictures for training and 12 for validation: at an effective batch of 8, 3 and 2 steps, the last short.
    """

    def __init__(self, folder: Path) -> None:
        self.training = write_pictures(folder / "training", 10, 10)
        self.held_out = write_pictures(folder / "held out", 6, 6, seed=8)
        self.datagen = ImageDataGenerator(rescale=1 / 255)

    def keras(self, model: Any, *, validate: bool = True, **options: Any) -> Any:
        """What Keras makes of it."""
        data = self._flow(self.held_out) if validate else None
        options = {"epochs": 2, "verbose": 0, "shuffle": False, "validation_data": data} | options
        return model.fit(self._flow(self.training), **options)

    def ours(
        self,
        model: Any,
        *,
        micro: int = EFFECTIVE,
        validate: bool = True,
        validation_steps: int | None = None,
        augment: bool = False,
        **plan: Any,
    ) -> Any:
        """What our loop makes of it."""
        source, _ = open_pictures(self.datagen, self.training, DataOptions(model, augment=augment, seed=1))
        engine = engine_for(model, source.read([0, 1], epoch=0))
        if validate:
            plan["validation"] = self.validation(model, micro, validation_steps)
        plan = {"epochs": 2, "verbose": 0, "shuffle": False, "workers": 1} | plan
        return run(model, engine, source, cutter(micro), TrainingPlan(effective_batch_size=EFFECTIVE, **plan))

    def validation(self, model: Any, micro: int, steps: int | None) -> DataValidation:
        """The held-out pictures, in order."""
        source, _ = open_pictures(self.datagen, self.held_out, DataOptions(model, seed=0, augment=False))
        return DataValidation(
            source, effective=EFFECTIVE, cutter=cutter(micro), steps=steps, workers=1, max_bytes=2**20
        )

    def _flow(self, folder: Path) -> Any:
        return self.datagen.flow_from_directory(folder, target_size=(8, 8), batch_size=EFFECTIVE, shuffle=False)


def cutter(micro: int) -> MicroBatchRunner:
    return MicroBatchRunner(controller_without_sensors(micro, rungs(EFFECTIVE, micro), lambda *decision: None))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))
