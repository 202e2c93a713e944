"""Whether an earlier probe answers a request: what it depends on is the same, and it holds under today's budget.

The same question is asked under one budget and another: of the machine as it is, and as if it had less. So the trials
of a few searches are kept beside each other, each by itself, because what a search has left out follows from its own.
"""

import hashlib
import inspect
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras.src.utils.naming import to_snake_case

from autobatch.backend import current_backend, settings
from autobatch.data.batch import Batch, leaves
from autobatch.memory.reading import MemoryReading
from autobatch.memory.sensors.nvml import read_driver
from autobatch.memory.types import Driver
from autobatch.probing.request import ProbeRequest
from autobatch.probing.search import (
    MAX_TRIALS,
    ladder_prev,
    largest,
    levels_off,
    next_size,
    next_throughput_size,
    verdict,
)
from autobatch.probing.step_budgets import StepBudgets
from autobatch.probing.trials.measure import WORST
from autobatch.probing.trials.serialize import configuration, custom_objects
from autobatch.results.environment import package_version
from autobatch.results.trial import Trial

_WORTH_A_NEW_PROBE = 1.1  # with an earlier answer at hand, look again only if more than this is to be gained
_MOST_SEARCHES = 8


@dataclass(frozen=True, slots=True)
class EarlierSearch:
    trials: list[Trial]  # those that ran, judged anew
    # Per resource, what the process of the trials took beside the caller, as it would again.
    beside_bytes: Mapping[str, int]


def recall(stored: Mapping[str, Any] | None, request: ProbeRequest, budgets: StepBudgets) -> EarlierSearch | None:
    """An earlier search, if it is an answer; of several the last one."""
    answers = (_recalled(search, request, budgets) for search in _searches(stored))
    return next((answer for answer in answers if answer is not None), None)


def with_search(
    stored: Mapping[str, Any] | None, trials: Sequence[Trial], beside_bytes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What to keep after a new search: its trials that ran, and those of the few searches before it."""
    ran = [trial.to_dict() for trial in trials if trial.outcome.ran]
    search = {"trials": ran, "beside_bytes": dict(beside_bytes or {})}
    return {"searches": [search, *_searches(stored)[: _MOST_SEARCHES - 1]]}


def _searches(stored: Mapping[str, Any] | None) -> list[Any]:
    """The searches that were kept, the last one first."""
    searches = (stored or {}).get("searches")
    return searches if isinstance(searches, list) else []


def _recalled(search: Any, request: ProbeRequest, budgets: StepBudgets) -> EarlierSearch | None:
    try:
        trials = [Trial.from_dict(trial) for trial in search["trials"]]
        beside_bytes = {str(name): int(taken) for name, taken in search["beside_bytes"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    trials = [trial for trial in trials if trial.size <= request.cap]
    if any(trial.peaks and not budgets.now.keys() <= trial.peaks.keys() for trial in trials):
        return None
    # What was over the budget of that day may be within that of today, and the other way round.
    trials = [replace(t, outcome=verdict(t.peaks, budgets.now)) if t.peaks else t for t in trials]
    earlier = EarlierSearch(trials, beside_bytes)
    return earlier if _is_answer(earlier, request, budgets) else None


def _is_answer(search: EarlierSearch, request: ProbeRequest, budgets: StepBudgets) -> bool:
    trials = search.trials
    best, answer = largest(trials, budgets.now), largest(trials, budgets.now, request.rungs)
    if best is None or answer is None:
        return False
    if not budgets.fits_at_worst(answer) and sum(trial.size == answer.size for trial in trials) < 2:
        return False  # it was not the answer then, so it has run a few updates only
    upcoming = _next_size(search, best, request, budgets)
    if request.effective_batch_size is not None:
        return upcoming <= best.size
    grows = upcoming > _WORTH_A_NEW_PROBE * best.size
    if request.mode == "auto":
        return (levels_off(trials) or not grows) and next_throughput_size(trials, rungs=request.rungs) is None
    return not grows


def _next_size(search: EarlierSearch, best: Trial, request: ProbeRequest, budgets: StepBudgets) -> int:
    """What a search that had come so far would try next, beside its own process; the largest safe size if nothing.

    Trials above it are left out, but for what they rule out: from far above they bound what is in between too roughly.
    And a search that was ended by the number of its trials may have more to find under a larger budget.
    """
    below = [trial for trial in search.trials if trial.size <= best.size][-(MAX_TRIALS - 1) :]
    over = min((trial.size for trial in search.trials if trial.size > best.size), default=None)
    left = less(budgets.now, search.beside_bytes)
    guards = less(budgets.guards(search.trials), {WORST: search.beside_bytes.get("host", 0)})
    counting = tuple(rung for rung in request.rungs if over is None or rung < over)
    for_speed = request.mode == "auto"
    upcoming = next_size(below, left, request.cap, guards, rungs=counting, for_speed=for_speed) or best.size
    return upcoming if over is None else min(upcoming, ladder_prev(over))


def less(budgets: Mapping[str, int], taken: Mapping[str, int]) -> dict[str, int]:
    """Budgets less what is taken of some of them."""
    return {name: budget - taken.get(name, 0) for name, budget in budgets.items()}


_NUMBER = re.compile(r"_\d+$")


def without_generated_names(config: Any) -> Any:
    """The configuration with every name that Keras made up replaced by its place in order of appearance.

    Names of the user's own stay, and so does what refers to what.
    """
    names: dict[str, str] = {}
    for name in _made_up(config):
        names.setdefault(name, f"{_NUMBER.sub('', name)} #{len(names)}")
    return _renamed(config, names)


def _made_up(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        inner = node.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and _NUMBER.sub("", name) == to_snake_case(str(node.get("class_name"))):
            yield name
        for value in node.values():
            yield from _made_up(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _made_up(value)


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_renamed(value, names) for value in node]
    return names.get(node, node) if isinstance(node, str) else node


# Variables that change how much memory a step takes, how fast it is, or which device it runs on.
_ENVIRONMENT = ("KERAS_", "CUDA_", "OMP_", "MKL_", "GLIBC_", "MALLOC_", "LD_PRELOAD")
_PACKAGES = ("keras-autobatch", "keras", "numpy")


def fingerprint(
    model: Any,
    samples: Batch,
    reading: MemoryReading,
    request: Mapping[str, Any],
    step: str = "train",
    *,
    driver: Callable[[], tuple[Driver | None, tuple[str, ...]]] = read_driver,
) -> dict[str, Any] | None:
    """Everything that the memory and speed of a model's steps depend on, as JSON-ready values.

    `None` where that cannot be written down: a model without a configuration, or code without a source.
    """
    try:
        config = json.dumps(without_generated_names(configuration(model, step)), sort_keys=True)
        sources = {inspect.getsource(item) for item in custom_objects(model, step)}
        code = sorted(hashlib.sha256(source.encode()).hexdigest() for source in sources)
    except Exception:  # noqa: BLE001 - any get_config may raise anything; then the answer is just not kept
        return None
    backend = current_backend()
    gpu_driver = driver()[0] if reading.devices else None
    telling = (*_ENVIRONMENT, *backend.environment)
    return {
        "model": hashlib.sha256(config.encode()).hexdigest(),
        "code": code,
        "frozen": [bool(variable.trainable) for variable in model.variables],
        "samples": [[str(array.dtype), list(array.shape[1:])] for array in leaves((samples.x, samples.y))],
        "weighted": samples.sample_weight is not None,
        "policy": [keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()],
        "compile": [bool(model.jit_compile), bool(model.run_eagerly)],
        "framework": settings(),
        "environment": {key: os.environ[key] for key in sorted(os.environ) if key.startswith(telling)},
        "packages": {name: package_version(name) for name in (*_PACKAGES, *backend.packages)},
        "machine": [platform.machine(), platform.python_version(), _processor(), os.cpu_count()],
        "host": reading.host.total_bytes,
        "devices": [[device.uuid, device.name, device.total_bytes] for device in reading.devices],
        "driver": None if gpu_driver is None else gpu_driver.version,
        "question": dict(request),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a pseudo-file, read line by line
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
