"""Programs as a user starts them."""

import multiprocessing
import os
import runpy
from multiprocessing import forkserver
from pathlib import Path

import pytest


def environment(**own: str) -> dict[str, str]:
    """This process's environment with some values of its own; a script finds the modules beside it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {**inherited, "TF_CPP_MIN_LOG_LEVEL": "2", **own}


def run_beside_imports(program: str, folder: Path, **environ: str) -> str:
    """What a program prints in a process where TensorFlow is imported and has not started.

    It is forked from one that has done nothing else, which saves the import: seconds for each program. TensorFlow reads
    these variables when it starts, all but oneDNN's: that is on, as it is by itself where a processor has AVX-512;
    without it there is no pool that counts.
    """
    starter = multiprocessing.get_context("forkserver")
    starter.set_forkserver_preload(["keras"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
        forkserver.ensure_running()
    child = starter.Process(target=_run, args=(program, folder, environ))
    child.start()
    child.join(240)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0, (folder / "errors").read_text()[-2000:]
    return (folder / "output").read_text()


def _run(program: str, folder: Path, environ: dict[str, str]) -> None:
    for name, number in (("output", 1), ("errors", 2)):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), number)
    os.environ.update(environ)
    file = folder / "program.py"
    file.write_text(program)
    runpy.run_path(str(file))
