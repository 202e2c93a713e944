"""A prediction that really runs out of memory, as it does on a GPU: TensorFlow's pool on the CPU, with a limit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENE = """
import keras
import numpy as np
from autobatch.data.adapters.arrays import ArraySource
from autobatch.data.epoch import rungs
from autobatch.data.prefetch.source_loader import SourceLoader
from autobatch.infer.predict import OutputRows
from autobatch.backend import forward_engine_for
from autobatch.backend.base import BatchTotals
from autobatch.train.control.controller import controller_without_sensors
from autobatch.train.passes import Feed
from autobatch.train.microbatch import MicroBatchRunner

keras.utils.set_random_seed(1)
layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(32, 3), keras.layers.Conv2D(8, 3)]
model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
model.compile(loss="mse")
x = np.random.default_rng(0).normal(size=(800, 32, 32, 3)).astype(np.float32)
y = np.zeros((len(x), 3), np.float32)
expected = np.concatenate([np.array(model(x[start : start + 100])) for start in range(0, len(x), 100)])
loss = np.mean(expected**2)
for evaluates in (False, True):
    sizes = []
    ladder, told = rungs(len(x), len(x)), lambda before, after, reason: sizes.append(after)
    runner = MicroBatchRunner(controller_without_sensors(len(x), ladder, told))
    with SourceLoader(ArraySource(x, y), shuffle=False, passes=1) as loader:
        feed = Feed(loader)
        source = ArraySource(x, y).read([0, 1], 0)
        engine = forward_engine_for(model, source, evaluates=evaluates)
        if evaluates:
            model.reset_metrics()
            logs = runner.evaluate(engine, feed, len(x))
            assert abs(float(logs["loss"]) / loss - 1) < 1e-4, (logs, loss)
        else:
            rows = OutputRows(len(x))
            runner.predict(engine, feed, len(x), rows.add)
            assert np.allclose(rows.result(), expected, rtol=1e-3, atol=1e-5)
    print("sizes", *sizes)
"""
LIMITED = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPU_ALLOCATOR_USE_BFC": "1", "TF_CPU_BFC_MEM_LIMIT_IN_MB": "100"}


@pytest.mark.slow
def test_what_ran_out_of_memory_is_run_again_smaller(tmp_path: Path) -> None:
    """Seen to fail with the error of TensorFlow passed on as it is."""
    command, environ = [sys.executable, "-c", SCENE], {**os.environ, **LIMITED}
    ran = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    falls = [line.split()[1:] for line in ran.stdout.splitlines() if line.startswith("sizes")]
    assert len(falls) == 2
    assert all(falls)
