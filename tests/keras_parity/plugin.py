"""Pytest plugin: Keras' own tests, with `Model.fit` counted or replaced by `autobatch.fit`.

What `AUTOBATCH_PARITY` names is run: "keras" as it is, "whole" by `autobatch.fit` with the batch that was asked for,
"cut" the same in micro-batches of at most half of it. The outcome of every test that calls `fit` goes, as a line of
JSON, to the file that `AUTOBATCH_PARITY_LOG` names.
"""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import pytest
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

import autobatch
import autobatch.train.fit
from autobatch.results.probe import ProbeResult

for framework in ("jax", "torch"):  # imported for tests of those backends
    sys.modules.setdefault(framework, ModuleType(framework))
sys.modules["conftest"] = ModuleType("conftest")  # Keras' own is not in its wheel
sys.modules["conftest"].skip_if_backend = lambda name, why: pytest.mark.skipif(  # type: ignore[attr-defined]
    keras.backend.backend() == name, reason=why
)
MODE = os.environ["AUTOBATCH_PARITY"]
LOG = Path(os.environ["AUTOBATCH_PARITY_LOG"])
_plain = TensorFlowTrainer.fit
_calls = 0


def _sized(data: Any, batch_size: int | None) -> tuple[Any, int]:
    """The data, and the samples of one batch as Keras would take it."""
    if hasattr(data, "shape") or isinstance(data, tuple | list | dict):
        return data, batch_size or 32
    if isinstance(data, keras.utils.PyDataset):
        return data, _size(data[0])
    if hasattr(data, "element_spec") or not hasattr(data, "__next__"):
        return data, _size(next(iter(data)))
    first = next(data)

    def whole() -> Iterator[Any]:
        yield from itertools.chain([first], data)

    return whole(), _size(first)


def _size(batch: Any) -> int:
    return int(next(leaf.shape[0] for leaf in keras.tree.flatten(batch) if leaf is not None))


def _ours(
    self: Any, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, **arguments: Any
) -> Any:
    global _calls  # noqa: PLW0603
    _calls += 1
    weight = arguments.pop("sample_weight", None)
    verbose = arguments.pop("verbose", "auto")
    if y is not None or weight is not None:
        x = (x, y) if weight is None else (x, y, weight)
    elif hasattr(x, "shape"):
        x = (x,)
    data, size = _sized(x, batch_size)
    most = max(1, size // 2) if MODE == "cut" else size
    return autobatch.fit(
        self,
        data,
        batch_size=size,
        max_batch_size=most,
        epochs=epochs,
        verbose=verbose,
        workers=1,
        cache=False,
        **{name: value for name, value in arguments.items() if value is not None},
    )


def _counted(self: Any, *args: Any, **arguments: Any) -> Any:
    global _calls  # noqa: PLW0603
    _calls += 1
    return _plain(self, *args, **arguments)


def _asked_for(task: Any, cache: Any, recorder: Any) -> ProbeResult:
    """The answer of a probe that found room for what was asked for: no trial is run."""
    size = task.request.rungs[0]
    return ProbeResult(size, "micro", size, None, (), effective_batch_size=task.request.effective_batch_size)


def pytest_configure() -> None:
    if MODE == "keras":
        TensorFlowTrainer.fit = _counted
    else:
        TensorFlowTrainer.fit = _ours
        sys.modules["autobatch.train.fit"].find_size = _asked_for  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    global _calls  # noqa: PLW0603
    outcome = yield
    report = outcome.get_result()
    if call.when == "setup":
        _calls = 0
    elif call.when == "call":
        error = "" if call.excinfo is None else f"{call.excinfo.typename}: {call.excinfo.value}"[:300]
        line = {"test": item.nodeid, "fits": _calls, "passed": report.passed, "error": error}
        with LOG.open("a") as file:
            file.write(json.dumps(line) + "\n")
