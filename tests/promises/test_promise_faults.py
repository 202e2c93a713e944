"""Promise 5 to 8 under faults: fail the n-th operation of each kind, once, for good, and two kinds at a time.

The operations are counted in a run without faults, and each of them fails in a run of its own, as SQLite's tests do it.
Whatever fails, the training finishes, or ends with one clear error; what was trained on and what it came to are those
of an undisturbed run that is cut the same way.
"""

import errno
import threading
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from faults import FaultyLoss, put_back, state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from surroundings import PER_SAMPLE, PLAIN, Clock, FailingDisk, Numbered, Sensor, expected_samples, updates
from tensorflow.python.framework import config as determinism

from autobatch.backend import engine_for
from autobatch.data.batch import Batch
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.errors import DataError, DoesNotFitError
from autobatch.memory.budget import Reserve
from autobatch.memory.peak_model import PeakModel
from autobatch.memory.reading import MemoryReading
from autobatch.probing.request import ProbeRequest
from autobatch.results.probe import ProbeResult
from autobatch.results.run import RunReport
from autobatch.results.trial import Outcome, Trial
from autobatch.train.checkpoint.saver import InFlightJournal, Saver
from autobatch.train.checkpoint.store import CheckpointStore
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.control.setup import ControllerSetup, ControlSeams
from autobatch.train.loop import TrainingPlan, run
from autobatch.train.microbatch import MicroBatchRunner
from autobatch.train.passes import Feed
from autobatch.train.recorder import Recorder
from autobatch.train.validation import Validation

SAMPLES, EFFECTIVE, EPOCHS = 20, 8, 2
WINDOWS = [stop - start for start, stop in updates(SAMPLES, EFFECTIVE)] * EPOCHS
EVERYTHING = expected_samples(SAMPLES, EPOCHS)
# Memory falls in the first epoch and comes back in the second; a little above the need, which has a margin of 1 %.
BUDGETS = [int(1.1 * PER_SAMPLE * size) for size in (8, 8, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 8)]


ERRORS: dict[str, Callable[[], Exception]] = {
    "reading": lambda: OSError(errno.EIO, "the sensor is gone"),
    "giving back": lambda: RuntimeError("the pool is gone"),
    "data": lambda: DataError("This picture cannot be read.", "picture.png"),
    "step": lambda: MemoryError("OOM when allocating tensor with shape[8,4]"),
    "checkpoint": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "journal": lambda: OSError(errno.ENOSPC, "No space left on device"),
}


class Faults:
    """Which operations fail; each is counted by its kind.

    Args:
        plan: From a kind to the first operation that fails and whether all after it fail as well.
    """

    def __init__(self, **plan: tuple[int, bool]) -> None:
        self.plan = {kind.replace("_", " "): how for kind, how in plan.items()}
        self.count: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()

    def due(self, kind: str) -> bool:
        self.count[kind] += 1
        first, for_good = self.plan.get(kind, (0, False))
        fails = self.count[kind] == first or (for_good and self.count[kind] > first > 0)
        self.happened[kind] += fails
        return fails

    def check(self, kind: str) -> None:
        if self.due(kind):
            raise error_of(kind)

    def disk(self, kind: str) -> FailingDisk:
        """A disk whose operations count; of the many writes of a file only the first does."""
        written = False

        def fails(operation: str) -> OSError | None:
            nonlocal written
            written, again = operation == "write", operation == "write" and written
            return error_of(kind) if not again and self.due(kind) else None

        return FailingDisk(fails)


def error_of(kind: str) -> Any:
    """The error of a kind."""
    return ERRORS[kind]()


class Labelled(Numbered):
    """Three classes."""

    def read(self, indices: Any, epoch: int) -> Batch:
        batch = super().read(indices, epoch)
        return Batch(batch.x, np.eye(3, dtype=np.float32)[np.asarray(indices) % 3])


class Noting:
    """An engine that keeps how each update was cut, and what was in it."""

    def __init__(self, engine: Any, source: Numbered) -> None:
        self._engine, self._source = engine, source
        self.updates: list[list[tuple[int, int]]] = []
        self.cuts: list[list[int]] = []
        self._pending: list[Batch] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def accumulate(self, batch: Batch, whole: Any) -> Any:
        logs = self._engine.accumulate(batch, whole)
        self._pending.append(batch)
        if batch.size == whole.size:
            self._note()
        return logs

    def apply(self) -> None:
        self._engine.apply()
        if self._pending:
            self._note()

    def abandon(self) -> None:
        self._engine.abandon()
        self._pending = []

    def _note(self) -> None:
        self.updates.append(list(chain.from_iterable(map(self._source.numbers, self._pending))))
        self.cuts.append([part.size for part in self._pending])
        self._pending = []


class Ended(SimpleNamespace):
    """What came of a run: error, engine, report."""


class Lab:
    """A model that is put back before every run, and everything that `fit` puts around it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.loss = FaultyLoss(lambda call: False)
        keras.utils.set_random_seed(1)
        layers = [keras.Input((2,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
        layers += [keras.layers.Dropout(0.3, seed=3), keras.layers.Dense(3, activation="softmax")]
        self.model = keras.Sequential(layers)
        self.model.compile(keras.optimizers.Adam(1e-2), loss=self.loss, metrics=["accuracy"])
        self.source = Labelled(SAMPLES)
        self.engine = engine_for(self.model, self.source.read([0, 1], 0))
        self._start = state(self.model)
        self._calm: dict[Any, dict[str, bytes]] = {}
        faults = Faults()
        self.train(faults)
        self.count = faults.count

    def train(self, faults: Faults, *, folder: Path | None = None, resume: bool = False) -> Ended:
        self._runs += 1
        folder = folder or self._folder / str(self._runs)
        clock = Clock(step_s=3.0)  # a reading is always due
        recorder = Recorder(clock=clock)
        recorder.report = report = RunReport(EFFECTIVE, EFFECTIVE, 5, None, [])  # type: ignore[arg-type]
        checkpoint = CheckpointStore(folder, faults.disk("checkpoint"))
        journal = InFlightJournal(folder, faults.disk("journal"))
        saver = Saver(checkpoint, 0.5, journal, note=recorder.note, clock=clock)
        setup = self._setup(faults, recorder, saver, clock)
        engine = Noting(self.engine, self.source)
        validation = Validation(
            Labelled(6),
            effective=4,
            runner=MicroBatchRunner(setup.controller("validation", 4, 4)),
            steps=None,
            workers=1,
            max_bytes=2**20,
        )
        state = None
        if resume:
            stored = checkpoint.load()
            state = None if stored is None else checkpoint.restore(self.model, stored)
        else:
            put_back(self.model, self._start)
        source = Labelled(SAMPLES, lambda: faults.check("data"))
        plan = TrainingPlan(
            effective_batch_size=EFFECTIVE,
            epochs=EPOCHS,
            verbose=0,
            workers=1,
            validation=validation,
            recorder=recorder,
            policy_for=setup.next_policy,
            saver=saver,
            resumed=state,
        )
        self.loss.fails = lambda call: faults.due("step")
        error = None
        try:
            run(
                self.model,
                engine,
                source,
                MicroBatchRunner(setup.controller("training", EFFECTIVE, EFFECTIVE)),
                plan,
            )
        except Exception as caught:  # noqa: BLE001 - which ones may come is what is tested
            error = caught
        finally:
            self.loss.fails = lambda call: False
        return Ended(error=error, engine=engine, report=report, folder=folder, state=state)

    def undisturbed(self, cuts: list[list[int]]) -> dict[str, bytes]:
        """The state after updates that were cut this way, nothing failing."""
        key = tuple(map(tuple, cuts))
        if key not in self._calm:
            put_back(self.model, self._start)
            replay = iter(cuts)
            controller = controller_without_sensors(EFFECTIVE, (EFFECTIVE,), lambda *decision: None)
            runner = MicroBatchRunner(controller, lambda count, micro: next(replay))
            with SourceLoader(self.source, passes=EPOCHS, workers=1) as loader:
                feed = Feed(loader)
                for size in WINDOWS[: len(cuts)]:
                    runner.update(self.engine, feed, size)
            self._calm[key] = self.learned()
        return self._calm[key]

    def learned(self) -> dict[str, bytes]:
        """The weights and the optimizer; the rest of the state may be that of an update that was begun."""
        variables = [*self.model.trainable_variables, *self.model.optimizer.variables]
        return {f"{place} {variable.path}": variable.numpy().tobytes() for place, variable in enumerate(variables)}

    def _setup(self, faults: Faults, recorder: Recorder, saver: Saver, clock: Clock) -> ControllerSetup:
        sensor = Sensor(*BUDGETS)

        def read() -> MemoryReading:
            faults.check("reading")
            return sensor()

        def give_back() -> Any:
            faults.check("giving back")
            return SimpleNamespace(host_bytes=1, device_bytes=None, holds={})

        trial = Trial(EFFECTIVE, Outcome.RAN, {"host": PER_SAMPLE * EFFECTIVE}, wall_s=1.0)
        models = {"host": PeakModel(0.0, float(PER_SAMPLE), 0.0, EFFECTIVE)}
        found = ProbeResult(EFFECTIVE, "micro", EFFECTIVE, None, (trial,), models=models)
        question = ProbeRequest("micro", EFFECTIVE, "the effective batch", EFFECTIVE, Reserve(0.0, 0), 0, 1.0)
        seams = ControlSeams(read, clock, clock.sleep, give_back, PLAIN)
        return ControllerSetup(found, question, Sensor(0)(), recorder, cuttable=True, saver=saver, seams=seams)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    determinism.enable_op_determinism()
    yield Lab(tmp_path_factory.mktemp("faults"))
    determinism.disable_op_determinism()


def require_intact(lab: Lab, faults: Faults, done: Ended) -> None:
    """The invariants, whatever has failed."""
    made = done.engine.updates
    assert list(chain.from_iterable(made)) == EVERYTHING[: sum(map(len, made))]
    assert [len(update) for update in made] == WINDOWS[: len(made)]
    assert lab.learned() == lab.undisturbed(done.engine.cuts)
    assert {entry.name for entry in done.folder.iterdir()} <= {"training.checkpoint", "in_flight.json"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("autobatch")]
    assert len(set(done.report.notes)) == len(done.report.notes)
    CheckpointStore(done.folder).load()  # whole, or not there
    if done.error is None:
        assert len(made) == len(WINDOWS)
        assert list(done.folder.iterdir()) == []
        assert lab.model.history.epoch == list(range(EPOCHS))
    elif isinstance(done.error, DataError):
        assert str(done.error) == str(error_of("data")), "the injected error, unchanged"
    else:
        assert isinstance(done.error, DoesNotFitError)
        assert faults.happened["step"], "nothing ran out of memory"


def require_resumable(lab: Lab, done: Ended) -> None:
    """What was saved goes on to the end, every sample once in the state that survives."""
    again = lab.train(Faults(), folder=done.folder, resume=True)
    assert again.error is None
    kept = 0 if again.state is None else again.state.epoch * len(WINDOWS) // EPOCHS + again.state.update
    assert done.engine.updates[:kept] + again.engine.updates == [
        EVERYTHING[sum(WINDOWS[:place]) : sum(WINDOWS[: place + 1])] for place in range(len(WINDOWS))
    ]


def test_without_faults_memory_falls_and_comes_back(lab: Lab) -> None:
    """The run that is disturbed below: it shrinks, grows, saves, validates."""
    faults = Faults()
    done = lab.train(faults)
    assert done.error is None
    require_intact(lab, faults, done)
    phases = Counter((decision.phase, decision.after > decision.before) for decision in done.report.decisions)
    assert phases[("training", False)] >= 2
    assert phases[("training", True)] >= 1  # at once, to what the trials have proven
    assert set(faults.count) == set(ERRORS)
    assert min(faults.count.values()) >= 2


FEW, ALL = 2, 10_000
# A disk that fails for good fails in the same ways whenever it does: opening, writing, syncing, replacing.
WAYS_OF_A_DISK = 12


@pytest.mark.parametrize("most", [FEW, pytest.param(ALL, marks=pytest.mark.slow)], ids=["a few", "all"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_fails_nothing_is_lost(lab: Lab, kind: str, for_good: bool, most: int) -> None:
    """Each operation in a run of its own; at most so many of them, evenly spread.

    Seen to fail with what failed not put back, with a failed step not undone, and with the errors of the disk, of the
    sensors and of the giving back passed on.
    """
    count = min(lab.count[kind], WAYS_OF_A_DISK) if for_good and kind in {"checkpoint", "journal"} else lab.count[kind]
    for first in range(1, count + 1, -(-count // most)):
        faults = Faults(**{kind.replace(" ", "_"): (first, for_good)})
        done = lab.train(faults)
        assert faults.happened[kind], first
        require_intact(lab, faults, done)
        # Data that cannot be read and steps that never fit end the training; nothing else does, nor anything once.
        assert (done.error is not None) == (for_good and kind in {"data", "step"}), (first, done.error)
        if done.error is not None:
            require_resumable(lab, done)


HOW = st.tuples(st.integers(1, 40), st.booleans())


@given(
    first=st.sampled_from(sorted(ERRORS)),
    second=st.sampled_from(sorted(ERRORS)),
    hows=st.tuples(HOW, HOW),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_kinds_of_faults_at_once_lose_nothing(lab: Lab, first: str, second: str, hows: Any) -> None:
    """Seen to fail with what failed not put back."""
    plan = {kind.replace(" ", "_"): how for kind, how in zip((first, second), hows, strict=True)}
    faults = Faults(**plan)
    done = lab.train(faults)
    require_intact(lab, faults, done)
    if done.error is not None:
        require_resumable(lab, done)


def test_a_disk_that_fails_for_good_is_said_once(lab: Lab) -> None:
    done = lab.train(Faults(checkpoint=(1, True)))
    assert len([note for note in done.report.notes if "could not be saved" in note]) == 1
    assert not (done.folder / "training.checkpoint").exists()


def test_out_of_memory_in_validation_leaves_the_size_of_training(lab: Lab) -> None:
    """Seen to fail with one controller for both."""
    sizes: dict[str, set[int]] = {}
    for first in (1, lab.count["step"]):  # the first of the training, the last of the validation
        done = lab.train(Faults(step=(first, False)))
        for decision in done.report.decisions:
            if "ran out of" in decision.reason:
                sizes.setdefault(decision.phase, set()).add(decision.before)
    assert sizes == {"training": {EFFECTIVE}, "validation": {4}}
