"""`autobatch.fit` in a Jupyter kernel: it works, shows its progress, and an interrupt leaves a model to go on with."""

import importlib.util
import os
import queue
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from folders import write_pictures

MISSING = [
    name for name in ("nbclient", "nbformat", "ipykernel", "jupyter_client") if not importlib.util.find_spec(name)
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed"),
    pytest.mark.filterwarnings("ignore"),  # of what runs the notebook, not of what runs in it
]

SETUP = """
import os, threading, keras, numpy as np, autobatch
from keras.src.legacy.preprocessing.image import ImageDataGenerator

keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.Input((8, 8, 3)),
    keras.layers.Conv2D(4, 3, activation="relu"),
    keras.layers.Flatten(),
    keras.layers.Dense(2, activation="softmax"),
])
model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
datagen = ImageDataGenerator(rescale=1 / 255)
options = dict(batch_size=8, cache=False, seed=1)
before = set(threading.enumerate())

def children():
    found = []
    for name in os.listdir("/proc"):
        try:
            fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split() if name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(open(f"/proc/{name}/cmdline").read())
    return [command for command in found if "autobatch" in command]

def threads():
    return [thread.name for thread in threading.enumerate() if thread not in before]
"""
TRAIN = "history = autobatch.fit(model, datagen, folder, epochs=2, **options)"
FACTS = """
print(sorted({trial.where for trial in history.autobatch.probe.trials}), history.epoch, children(), threads())
"""
GO_ON = """
updates = int(model.optimizer.iterations) if model.optimizer.built else 0
assert all(np.isfinite(weight).all() for weight in model.get_weights())
history = autobatch.fit(model, datagen, folder, epochs=1, verbose=0, **options)
print(int(model.optimizer.iterations) - updates, model.predict(np.zeros((3, 8, 8, 3)), verbose=0).shape)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("notebook") / "training", 10, 10)


def heard(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_a_notebook_trains_and_shows_it(folder: Path) -> None:
    """Trials run in the worker, though the model is made in a kernel's `__main__`; the bar is in the cell's output."""
    import nbformat
    from nbclient import NotebookClient

    cells = [f"folder = {str(folder)!r}{SETUP}", TRAIN, FACTS, GO_ON]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    _, shown, facts, after = map(heard, notebook.cells)
    assert "batch_size=8 (micro-batch 8 x 1)" in shown
    assert "Epoch 2/2" in shown
    assert "3/3" in shown
    assert "loss" in shown
    assert facts.strip() == "['worker'] [0, 1] [] []"
    assert after.strip() == "3 (3, 2)"


class Kernel:
    """A kernel that cells are sent to one at a time, and interrupted in the middle as Jupyter does it."""

    def __init__(self) -> None:
        from jupyter_client.manager import start_new_kernel

        self._manager, self._client = start_new_kernel(kernel_name="python3", startup_timeout=120)

    def run(self, code: str, *, interrupt_at: str | None = None, limit_s: float = 200) -> tuple[str, str | None]:
        """What a cell prints, and the name of the error that it ends with.

        Args:
            code: The cell.
            interrupt_at: Interrupt it once it has printed this.
            limit_s: Seconds it may take.
        """
        asked, text, error = self._client.execute(textwrap.dedent(code)), "", None
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            text += content.get("text", "") if kind == "stream" else ""
            error = content["ename"] if kind == "error" else error
            if interrupt_at is not None and interrupt_at in text:
                interrupt_at = None
                self._manager.interrupt_kernel()
            if kind == "status" and content["execution_state"] == "idle":
                return text, error
        raise TimeoutError(f"the cell did not end within {limit_s} s; it printed {text!r}")

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(folder: Path) -> Iterator[Kernel]:
    kernel = Kernel()
    try:
        _, error = kernel.run(f"folder = {str(folder)!r}{SETUP}")
        assert error is None
        yield kernel
    finally:
        kernel.close()


TRAINING = """
class Tells(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(model.optimizer.iterations) == 7:
            print("seven updates done", flush=True)

autobatch.fit(model, datagen, folder, epochs=100_000, callbacks=[Tells()], verbose=0, validation_data=folder, **options)
"""
# Says so once the worker is there, from another thread: nothing of the probe runs in the kernel's own code.
PROBING = """
def tell():
    while not children():
        time.sleep(0.05)
    print("a worker is there", flush=True)

import time
watcher = threading.Thread(target=tell)
before.add(watcher)
watcher.start()
autobatch.fit(model, datagen, folder, epochs=100_000, verbose=0, **options)
"""
INTERRUPTED = {
    "in the middle of training": (TRAINING, "seven updates done"),
    "in the middle of the probe": (PROBING, "a worker is there"),
}


@pytest.mark.skipif(os.name != "posix", reason="kernels are interrupted by a signal")
@pytest.mark.parametrize("when", INTERRUPTED)
def test_an_interrupt_ends_cleanly_and_the_next_cell_trains_on(kernel: Kernel, when: str) -> None:
    """Neither a worker nor a thread stays, and the model can be used. Seen to fail with either left open."""
    code, sign = INTERRUPTED[when]
    _, error = kernel.run(code, interrupt_at=sign)
    assert error == "KeyboardInterrupt"
    left, error = kernel.run("print(children(), threads(), int(model.optimizer.iterations) >= 7)")
    assert error is None
    assert left.strip() == f"[] [] {when == 'in the middle of training'}"
    after, error = kernel.run(GO_ON)
    assert error is None
    assert after.strip() == "3 (3, 2)"
