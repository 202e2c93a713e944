"""The folder of a run is for one process at a time."""

import os
import subprocess
import sys

import pytest

from autobatch.errors import ArgumentError
from autobatch.train.checkpoint.store import folder_lock

HOLDS = """
import sys, time
sys.path[:] = {path!r}
from autobatch.train.checkpoint.store import folder_lock
with folder_lock({folder!r}):
    print("has it", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has the folder."""
    code = HOLDS.format(path=sys.path, folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_folder_that_another_process_has_is_refused_and_that_process_is_named(other, tmp_path):
    """Seen to fail without the lock."""
    named = rf"in use by process {other.pid}\. .* Received: checkpoint="
    with pytest.raises(ArgumentError, match=named), folder_lock(tmp_path):
        pass


def test_a_killed_process_leaves_nothing_that_has_to_be_removed(other, tmp_path):
    """Seen to fail with the file itself taken for the lock."""
    other.kill()
    other.wait()
    with folder_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_is_free_again_and_empty_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path / "run"):
        raise ZeroDivisionError
    with folder_lock(tmp_path / "run"):
        assert [file.name for file in (tmp_path / "run").iterdir()] == [".in-use"]
    assert list((tmp_path / "run").iterdir()) == []


def test_two_threads_of_one_process_cannot_have_it_either(tmp_path):
    with folder_lock(tmp_path), pytest.raises(ArgumentError, match=f"by process {os.getpid()}"), folder_lock(tmp_path):
        pass


def test_where_no_file_can_be_made_nothing_is_kept(tmp_path):
    """Saving will say so."""
    (tmp_path / "file").write_text("")
    with folder_lock(tmp_path / "file" / "run"):
        pass
