"""What a run depended on is told without telling who ran it."""

import getpass
import json
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import autobatch
from autobatch._text import GIB
from autobatch.memory.types import Device
from autobatch.results.environment import command, environment
from autobatch.testing import memory_reading


def test_versions_and_machine_are_told(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name : Other\n")
    told = environment(packages=["tensorflow"], cpu_info=info)
    assert told["autobatch"] == autobatch.__version__
    assert told["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert told["cpu_model"] == "Some CPU @ 2 GHz"
    assert {"tensorflow", "keras", "numpy", "nvidia_ml_py", "platform", "kernel", "machine", "cpu_count"} <= told.keys()
    json.dumps(told, allow_nan=False)


def test_a_version_is_that_of_the_imported_module(monkeypatch):
    """Seen to fail with packages asked alone: tensorflow-cpu brings a module of another name."""
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(__version__="9.9"))
    assert environment(packages=["tensorflow"])["tensorflow"] == "9.9"


def test_limits_and_gpus_are_those_of_the_reading():
    gpu = Device(0, "GPU-1", "Fake GPU", 16 * GIB, 8 * GIB)
    told = environment(memory_reading(host_total_bytes=5 * GIB, group_limit_bytes=GIB, devices=(gpu,)))
    assert told["host_total_bytes"] == 5 * GIB
    assert told["control_groups"] == [{"version": 2, "limit_bytes": GIB}]
    assert told["gpus"] == [{"name": "Fake GPU", "uuid": "GPU-1", "total_bytes": 16 * GIB}]


def test_no_host_no_user_and_no_folder_is_named():
    """Seen to fail with `platform.node()` among the values."""
    text = json.dumps(environment(memory_reading(group_limit_bytes=GIB)))
    assert all(name not in text for name in (socket.gethostname(), str(Path.cwd()), "/fake"))
    assert getpass.getuser() not in json.loads(text).values()


def test_a_machine_without_cpuinfo_has_no_model(tmp_path):
    assert environment(cpu_info=tmp_path / "none")["cpu_model"] is None


def main(name=None, file=None):
    module = ModuleType("__main__")
    module.__spec__ = None if name is None else SimpleNamespace(name=name)
    if file is not None:
        module.__file__ = file
    return module


SCRIPT = main(file="train.py")
COMMANDS = [
    (
        "a script",
        ["train.py", "--epochs", "3"],
        ["python3", "train.py", "--epochs", "3"],
        SCRIPT,
        "python train.py --epochs 3",
    ),
    (
        "quoted",
        ["train.py", "a b"],
        ["/usr/bin/python", "-X", "dev", "train.py", "a b"],
        SCRIPT,
        "python -X dev train.py 'a b'",
    ),
    ("a module", ["/x/train.py"], ["python", "-m", "my.train"], main("my.train", "/x/train.py"), "python -m my.train"),
    (
        "the command",
        ["/usr/bin/autobatch", "probe", "m:f x"],
        ["python"],
        main(file="/usr/bin/autobatch"),
        "autobatch probe 'm:f x'",
    ),
    (
        "its module",
        ["/x/__main__.py", "fit"],
        ["python", "-m", "autobatch", "fit"],
        main("autobatch.__main__", "x"),
        "autobatch fit",
    ),
    ("code", ["-c"], ["python", "-c", "import x"], main(), None),
    ("a pipe", [""], ["python"], main(), None),
    ("a notebook", ["x"], ["python", "-m", "ipykernel_launcher"], main(file="/x/ipykernel_launcher.py"), None),
]


@pytest.mark.parametrize(
    ("argv", "original", "module", "expected"), [case[1:] for case in COMMANDS], ids=[c[0] for c in COMMANDS]
)
def test_the_command_is_what_would_be_typed_again(argv, original, module, expected):
    assert command(argv, original, module, interactive=False) == expected


def test_an_interactive_shell_has_no_command():
    assert command(["train.py"], ["python", "-i", "train.py"], SCRIPT, interactive=True) is None
