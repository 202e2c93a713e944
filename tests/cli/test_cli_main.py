"""The command's contract with the shell: what it calls, where it prints, and which status it returns."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_scene import FakeApi, run, run_as_is

from autobatch import errors
from autobatch.cli.command import CommandOutput
from autobatch.cli.commands import COMMANDS
from autobatch.cli.outcome import ExitCode, exit_code
from autobatch.cli.supervisor.restart_policy import MicroBatchLimits
from autobatch.cli.supervisor.supervise import _words
from autobatch.errors import (
    ArgumentError,
    AutobatchError,
    DataError,
    DeviceError,
    DoesNotFitError,
    MissingExtraError,
    ModelError,
    OutOfMemoryError,
    ProbeError,
    ProbeTimeoutError,
    TooLateError,
    UpdateInterruptedError,
)
from autobatch.train.checkpoint.saver import SupervisedFolder
from autobatch.train.checkpoint.store import CHECKPOINT_NAME
from autobatch.train.jsonl_log import LogDir

ERRORS = [
    (ArgumentError("bad"), 2),
    (ModelError("bad"), 2),
    (DoesNotFitError("too little", needed_bytes=2, available_bytes=1), 3),
    (OutOfMemoryError("too little", size=1), 3),
    (DataError("broken", path="a.png"), 2),
    (DeviceError("no such device"), 4),
    (MissingExtraError("pip install it"), 2),
    (ProbeTimeoutError("too slow"), 124),
    (ProbeError("no answer"), 5),
    (TooLateError("late"), 2),
    (UpdateInterruptedError("half"), 7),
    (AutobatchError("some other"), 6),
    (ZeroDivisionError("the user's own"), 6),
    (MemoryError("of Python itself"), 6),
    (SystemExit(0), 6),
    (SystemExit(3), 6),
    (KeyboardInterrupt(), 130),
]


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    return str(tmp_path / "pictures")


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [*(("probe", *row) for row in ERRORS), ("fit", *ERRORS[2]), ("fit", ZeroDivisionError("the user's own"), 6)],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_error_has_its_exit_code_and_is_said_on_stderr(command, error, code, pictures):
    status, _, err = run(FakeApi(error), command, "m:model", pictures)
    assert status == code
    assert ("Traceback" in err) == (code == ExitCode.FOREIGN)
    assert str(error) in err


def test_every_error_of_autobatch_has_a_row_here_and_a_code_of_its_own():
    """Seen to fail with UpdateInterruptedError taken out of the command's table, and out of this one."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AutobatchError)}
    assert kinds <= {type(error) for error, _ in ERRORS}
    unmapped = [
        error for error, _ in ERRORS if isinstance(error, AutobatchError) and exit_code(error) == ExitCode.FOREIGN
    ]
    assert [type(error) for error in unmapped] == [AutobatchError]


def test_every_exit_code_is_explained_in_the_help_of_every_command():
    for words in (["--help"], *([command, "--help"] for command in COMMANDS)):
        status, out, _ = run(FakeApi(), *words)
        assert status == 0
        assert all(f"{code.value:>3}  {code.meaning}" in out for code in ExitCode)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["tune"],
        ["memory", "extra"],
        ["probe"],
        ["fit", "m:model", "DIR", "--epochs", "0"],
        ["fit", "m:model", "DIR", "--epochs", "1.5"],
        ["fit", "m:model", "DIR", "--output", "model.h5"],
        ["fit", "m:model", "DIR", "--output", "no/such/folder/model.keras"],
        ["fit", "m:model", "DIR", "--seed", "-1"],
        ["fit", "m:model", "DIR", "--restarts", "-1"],
        ["fit", "m:model", "DIR", "--restarts", "many"],
        ["fit", "m:model", "DIR", "--checkpoint-every", "0"],
        ["fit", "m:model", "DIR", "--max-micro-batch-size", "0"],
        ["fit", "m:model", "DIR", "--max-validation-batch-size", "0"],
        ["probe", "m:model", "DIR", "--checkpoint", "runs/7"],
        ["fit", "m:model", "DIR", "--val", "DIR"],
        ["probe", "m:model", "DIR", "--batch-size", "0"],
        ["probe", "m:model", "DIR", "--batch-size", "-1"],
        ["probe", "m:model", "DIR", "--batch-size", "2.5"],
        ["probe", "m:model", "DIR", "--batch-size", "big"],
        ["probe", "m:model", "DIR", "--max-batch-size", "0"],
        ["fit", "m:model", "DIR", "--timeout", "1"],
        ["fit", "m:model"],
        ["probe", "m:model", "DIR", "--trial-timeout", "0"],
        ["probe", "m:model", "DIR", "--largest", "--batch-size", "8"],
        ["probe", "m:model", "DIR", "--batch-size", "8", "--largest"],
        ["probe", "m:model", "DIR", "more"],
        ["probe", "m:model", "DIR", "--limit", "8"],
        ["probe", "m:model", "DIR", "--limit", "10%"],
        ["probe", "m:model", "DIR", "--limit", "0GiB"],
        ["probe", "m:model", "DIR", "--device", "tpu"],
        ["probe", "m:model", "DIR", "--device", "gpu:-1"],
        ["probe", "m:model", "DIR", "-o", "report.pdf"],
        ["probe", "m:model", "DIR", "-o", "no/such/folder/report.html"],
        ["probe", "m:model", "DIR", "--dry-run", "-o", "report.html"],
        ["probe", "m:model", "--rescale", "1"],
        ["probe", "m:model", "--datagen", "m:datagen"],
        ["probe", "m:model", "DIR", "--timeout", "0"],
        ["probe", "m:model", "DIR", "--timeout", "soon"],
        ["probe", "m:model", "DIR", "--reserve", "1.0"],
        ["probe", "m:model", "DIR", "--reserve", "lots"],
        ["probe", "m:model", "DIR", "--reserve", "50"],
        ["probe", "m:model", "DIR", "--rescale", "1/0"],
        ["probe", "m:model", "DIR", "--validation-split", "1"],
        ["probe", "m:model", "DIR", "--epochs", "2"],
        ["probe", "m:model", "DIR", "--datagen", "m:datagen", "--rescale", "1"],
        ["probe", "m:model", "DIR", "--datagen", "m:datagen", "--horizontal-flip"],
    ],
    ids=" ".join,
)
def test_bad_words_are_usage_errors_and_nothing_is_started(words, pictures):
    fake = FakeApi()
    status, out, err = run(fake, *(pictures if word == "DIR" else word for word in words))
    assert (status, out, fake.calls) == (2, "", [])
    assert "error:" in err


def test_a_folder_that_is_not_there_is_told_before_the_model_is_built():
    fake = FakeApi()
    status, out, err = run(fake, "probe", "m:model", "no/such/folder")
    assert (status, out, fake.calls, fake.loaded) == (2, "", [], [])
    assert "no folder at 'no/such/folder'" in err


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {"batch_size": "auto", "cache": True}),
        (["--batch-size", "largest"], {"batch_size": "largest", "cache": True}),
        (["--batch-size", "256"], {"batch_size": 256, "cache": True}),
        (["--no-cache"], {"batch_size": "auto", "cache": False}),
        (["--seed", "7"], {"batch_size": "auto", "cache": True, "seed": 7}),
        (["--trial-timeout", "1.5"], {"batch_size": "auto", "cache": True, "trial_timeout_s": 1.5}),
        (["--max-batch", "64"], {"batch_size": "auto", "cache": True, "max_batch_size": 64}),
        (["--max-batch-size", "64"], {"batch_size": "auto", "cache": True, "max_batch_size": 64}),
        (["--largest"], {"batch_size": "largest", "cache": True}),
        (["--largest", "--batch-size", "largest"], {"batch_size": "largest", "cache": True}),
        (["--reserve", "10%"], {"batch_size": "auto", "cache": True, "reserve": 0.1}),
        (["--reserve", "0.25"], {"batch_size": "auto", "cache": True, "reserve": 0.25}),
        (["--reserve", "512MiB"], {"batch_size": "auto", "cache": True, "reserve": 512 * 2**20}),
        (["--reserve", "1.5 GB"], {"batch_size": "auto", "cache": True, "reserve": 1_500_000_000}),
        (["--reserve", "0"], {"batch_size": "auto", "cache": True, "reserve": 0}),
    ],
    ids=str,
)
def test_only_what_is_said_is_passed_on(words, options, pictures):
    for command, more in (("probe", {}), ("fit", {"epochs": 1})):
        fake = FakeApi()
        assert run(fake, command, "m:model", pictures, *words)[0] == 0
        (name, (model, datagen, directory), given) = fake.calls[0]
        assert (name, model.name, directory, given) == (command, "m:model", pictures, options | more)
        assert datagen == {"rescale": 1 / 255}


@pytest.mark.parametrize(
    ("words", "datagen"),
    [
        (["--rescale", "1"], {"rescale": 1.0}),
        (["--rescale", "1/127.5"], {"rescale": 1 / 127.5}),
        (["--validation-split", "0.2"], {"rescale": 1 / 255, "validation_split": 0.2}),
        (["--horizontal-flip"], {"rescale": 1 / 255, "horizontal_flip": True}),
        (["--datagen", "m:datagen"], "m:datagen"),
    ],
    ids=str,
)
def test_the_generator_is_made_as_said(words, datagen, pictures):
    fake = FakeApi()
    assert run(fake, "probe", "m:model", pictures, *words)[0] == 0
    assert fake.calls[0][1][1] == datagen


def test_fit_passes_epochs_and_validation_on_and_saves_the_model(tmp_path, pictures):
    fake, output = FakeApi(), tmp_path / "out.keras"
    words = ["--epochs", 2, "--validation", "held-out", "--output", output]
    status, out, _ = run(fake, "fit", "m:model", pictures, *words)
    assert (status, fake.saved) == (0, [output])
    assert fake.calls[0][2] == {"batch_size": "auto", "cache": True, "epochs": 2, "validation_data": "held-out"}
    assert out.splitlines() == ["chosen: 8", "epoch 2: loss 0.25, accuracy nan", f"saved to {output}"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--checkpoint", "runs/7"], {"checkpoint": SupervisedFolder("runs/7")}),
        (
            ["--checkpoint", "runs/7", "--max-micro-batch-size", "8"],
            {"checkpoint": SupervisedFolder("runs/7", 8), "max_batch_size": 8},
        ),
        (["--max-validation-batch-size", "8"], {"validation_batch_size": 8}),
        (["--checkpoint-every", "5"], {"checkpoint_every_s": 5.0}),
        (["--max-micro-batch-size", "8"], {"max_batch_size": 8}),
        (["--max-micro-batch-size", "8", "--max-batch-size", "16"], {"max_batch_size": 8}),
        (["--max-micro-batch-size", "8", "--max-batch-size", "4"], {"max_batch_size": 4}),
        (["--restarts", "0"], {}),
    ],
    ids=str,
)
def test_a_training_in_this_process_is_told_where_to_save_and_how_large_it_may_be(words, options, pictures):
    fake = FakeApi()
    assert run(fake, "fit", "m:model", pictures, *words)[0] == 0
    assert fake.calls[0][2] == {"batch_size": "auto", "cache": True, "epochs": 1} | options


def test_the_stored_run_is_removed_once_the_model_is_saved_and_not_before(tmp_path, pictures):
    """Seen to fail with it removed before: a model that could not be saved was lost."""
    fake, stored = FakeApi(), tmp_path / CHECKPOINT_NAME
    stored.write_text("")
    words = ["fit", "m:model", pictures, "--checkpoint", tmp_path, "--output", tmp_path / "out.keras"]

    def full(_path):
        raise OSError(28, "No space left on device")

    fake.load_model = lambda name: SimpleNamespace(save=full, compiled=True)
    assert run(fake, *words)[0] == ExitCode.FOREIGN
    assert stored.exists()
    fake.load_model = lambda name: SimpleNamespace(compiled=True, save=lambda path: fake.saved.append(stored.exists()))
    assert run(fake, *words)[0] == 0
    assert (fake.saved, stored.exists()) == ([True], False)


def test_a_stored_run_that_cannot_be_removed_is_said(tmp_path, pictures):
    (tmp_path / CHECKPOINT_NAME).mkdir()
    status, _, err = run(FakeApi(), "fit", "m:model", pictures, "--checkpoint", tmp_path)
    assert status == 0
    assert "could not be removed" in err


def test_memory_is_shared_before_the_model_is_loaded(pictures):
    """Importing Keras may be too late."""
    fake = FakeApi()
    fake.load_model = lambda name: SimpleNamespace(name=name, shared=fake.shared, compiled=True)
    assert run(fake, "fit", "m:model", pictures, "--share-memory")[0] == 0
    assert fake.calls[0][1][0].shared


def test_a_training_runs_in_a_child_unless_it_is_said_otherwise(pictures):
    """Its words are handed on as they are, its status comes back as it is, and nothing is added to its output."""
    fake, words = FakeApi(), ["fit", "m:model", pictures, "--epochs", "2", "--json"]
    status, out, err = run_as_is(fake, *words)
    assert (status, out, err) == (42, "", "supervise prints as it pleases\n")
    assert fake.calls[0][:2] == ("supervise", tuple(words))
    assert (fake.calls[0][2]["restarts"], fake.loaded) == (3, [])


@pytest.mark.parametrize(
    "words",
    [["fit", "m:model", "PICTURES"], ["fit"], ["memory", "--top", "0"], ["report", "no-such-run"], ["doctor", "more"]],
    ids=" ".join,
)
def test_with_json_every_failure_is_one_object(words, pictures):
    """Seen to fail with an object for probes alone."""
    words = [pictures if word == "PICTURES" else word for word in words]
    status, out, err = run_as_is(FakeApi(ArgumentError("Give a smaller \x1b[1mreserve=\x1b[0m.")), *words, "--json")
    data = json.loads(out)
    assert list(data) == ["schema_version", "outcome", "exit_code", "error"]
    assert (status, data["outcome"], data["exit_code"]) == (2, "usage", 2)
    assert data["error"]["message"] in err
    assert "\x1b" not in data["error"]["message"]


def test_where_the_child_had_no_time_for_an_answer_its_supervisor_gives_one(pictures):
    fake = FakeApi()
    fake.supervise = lambda words, args, stream: CommandOutput("", {"outcome": "does_not_fit"}, 3)
    assert run_as_is(fake, "fit", "m:model", pictures) == (3, "", "")
    status, out, _ = run_as_is(fake, "fit", "m:model", pictures, "--json")
    assert (status, json.loads(out)) == (3, {"outcome": "does_not_fit"})


@pytest.mark.parametrize(("error", "code"), [ERRORS[0], ERRORS[4], ERRORS[-1]], ids=lambda value: type(value).__name__)
def test_errors_of_the_supervisor_have_their_exit_codes_too(error, code, pictures):
    status, _, err = run_as_is(FakeApi(error), "fit", "m:model", pictures)
    assert status == code
    assert str(error) in err


def test_json_alone_is_on_stdout_whatever_is_printed_meanwhile(pictures):
    """Seen to fail without the redirection of stdout around the call."""
    status, out, err = run(FakeApi(), "fit", "m:model", pictures, "--json")
    assert status == 0
    assert json.loads(out) == {
        "history": {"loss": [0.5, 0.25], "accuracy": [0.5, None]},
        "epochs": [0, 1],
        "run": {"batch_size": 8},
        "output": None,
    }
    assert "prints as it pleases" in err


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--quiet"], {"verbose": 0}),
        (["--no-color"], {}),
    ],
    ids=str,
)
def test_a_training_is_told_to_be_quiet_alone(words, options, pictures):
    fake = FakeApi()
    assert run(fake, "fit", "m:model", pictures, *words)[0] == 0
    assert fake.calls[0][2] == {"batch_size": "auto", "cache": True, "epochs": 1} | options


def test_the_log_of_a_training_says_what_was_typed_and_not_what_its_supervisor_added(pictures):
    """Seen to fail with the child's own words in the log."""
    fake, typed = FakeApi(), ["fit", "m:model", pictures, "--log-dir", "my runs"]
    command = shlex.join(["autobatch", *typed])
    assert run_as_is(fake, *typed, "--in-process")[0] == 0
    assert fake.calls[0][2]["log_dir"] == LogDir("my runs", f"{command} --in-process")
    assert run_as_is(fake, *_words(typed, Path("elsewhere"), MicroBatchLimits(8)))[0] == 0
    assert fake.calls[1][2]["log_dir"] == LogDir("my runs", command)


def test_an_option_that_is_not_there_names_the_nearest(pictures):
    _, _, err = run(FakeApi(), "probe", "m:model", pictures, "--max-batches", "8")
    assert re.search(r"no option --max-batches. Did you mean --max-batch", err)


@pytest.mark.parametrize("words", [["--largest", "DIR"], ["DIR", "--largest"]], ids=" ".join)
def test_a_folder_may_stand_behind_an_option(words, pictures):
    """Seen to fail with argparse's own reading: an optional word had to stand beside the first."""
    fake = FakeApi()
    assert run(fake, "probe", "m:model", *(pictures if word == "DIR" else word for word in words))[0] == 0
    assert fake.calls[0][1][2] == pictures
