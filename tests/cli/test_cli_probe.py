"""`autobatch probe`: what is printed, written and returned, whatever it came to."""

import io
import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_scene import RESULT, TRIALS, FakeApi, run

from autobatch.cli.commands.probe import KeptTrials, carried
from autobatch.cli.main import main
from autobatch.cli.outcome import best_line, best_so_far
from autobatch.cli.parser import build_parser, command_parsers
from autobatch.errors import (
    DataError,
    DeviceError,
    DoesNotFitError,
    OutOfMemoryError,
    ProbeError,
    ProbeTimeoutError,
    UpdateInterruptedError,
)
from autobatch.report.runs import record_of
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial

KEYS = [
    "schema_version",
    "kind",
    "autobatch",
    "started_at",
    "command",
    "outcome",
    "exit_code",
    "environment",
    "result",
    "trials",
    "best_so_far",
    "error",
    "next",
]
ENDS = [
    (DoesNotFitError("too little", 2, 1), 3, "does_not_fit"),
    (OutOfMemoryError("too little", size=1), 3, "does_not_fit"),
    (DeviceError("no such device"), 4, "device_missing"),
    (ProbeError("no answer"), 5, "inconclusive"),
    (ZeroDivisionError("the user's own"), 6, "foreign_error"),
    (SystemExit(0), 6, "foreign_error"),
    (UpdateInterruptedError("half"), 7, "inconclusive"),
    (ProbeTimeoutError("too slow", TRIALS, 4), 124, "timeout"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of pictures in the current one."""
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    return "pictures"


def only_json(text):
    """What a strict reader makes of it."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_a_found_size_is_a_verdict_one_line_to_copy_and_what_to_type_next(pictures):
    status, out, err = run(FakeApi(), "probe", "m:model", pictures)
    assert status == 0
    verdict, summary, following = out.rstrip("\n").rsplit("\n\n", 2)
    assert verdict == RESULT.verdict()
    assert summary == RESULT.summary()
    assert following == "autobatch fit m:model pictures --batch-size 4"
    assert err.splitlines() == [
        "trial 1: 8 samples: out of memory, 0.2 s",
        "trial 2: 4 samples: ran, peak 3 MiB, 1,234 samples/s, 0.5 s",
        "probe prints as it pleases",
    ]


def test_quiet_shows_no_progress(pictures):
    assert run(FakeApi(), "probe", "m:model", pictures, "--quiet")[2] == "probe prints as it pleases\n"


def test_the_object_of_a_found_size_holds_everything(pictures):
    _, out, _ = run(FakeApi(), "probe", "m:model", pictures, "--json", "--largest")
    data = only_json(out)
    assert list(data) == KEYS
    assert ProbeResult.from_dict(data["result"]) == RESULT
    assert data["trials"] == [trial.to_dict() for trial in TRIALS]
    assert (data["schema_version"], data["kind"], data["outcome"], data["exit_code"]) == (2, "probe", "found", 0)
    assert (data["best_so_far"], data["error"], data["environment"]) == (4, None, {"python": "3"})
    assert data["next"] == "autobatch fit m:model pictures --batch-size 4"
    assert data["command"] == "autobatch probe m:model pictures --json --largest"


@pytest.mark.parametrize(("error", "code", "outcome"), ENDS, ids=lambda value: type(value).__name__)
def test_every_end_is_one_object_with_the_trials_so_far(error, code, outcome, pictures):
    status, out, err = run(FakeApi(error), "probe", "m:model", pictures, "--json")
    data = only_json(out)
    assert (status, data["exit_code"], data["outcome"]) == (code, code, outcome)
    assert list(data) == KEYS
    assert data["trials"] == [trial.to_dict() for trial in TRIALS]
    assert (data["result"], data["best_so_far"], data["next"]) == (None, 4, None)
    assert data["error"] == {"kind": type(error).__name__, "message": str(error) or "interrupted"}
    assert (str(error) or "interrupted") in err
    assert record_of(data, "x.json").outcome == outcome


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["m:model", "pictures", "--largets"],
        ["m:model", "pictures", "--max-batch", "0"],
        ["m:model", "nowhere"],
        ["m:model", "pictures", "-o", "report.pdf"],
        ["m:model", "pictures", "--rescale", "1", "--datagen", "m:datagen"],
    ],
    ids=" ".join,
)
def test_bad_words_are_one_object_too(words, pictures):
    """Seen to fail with argparse ending the process itself."""
    status, out, err = run(FakeApi(), "probe", *words, "--json")
    data = only_json(out)
    assert (status, data["exit_code"], data["outcome"], data["trials"]) == (2, 2, "usage", [])
    assert list(data) == KEYS
    assert data["error"]["message"] in err


def test_bad_settings_are_one_object_too(pictures):
    _, out, _ = run(FakeApi(), "probe", "m:model", pictures, "--json", environ={"AUTOBATCH_SEED": "x"})
    assert only_json(out)["error"]["kind"] == "ArgumentError"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ProbeTimeoutError("too slow")], ids=["interrupted", "timeout"])
def test_the_best_so_far_is_printed_with_what_it_rests_on(error, pictures):
    _, out, _ = run(FakeApi(error), "probe", "m:model", pictures)
    assert out == "batch_size=4  (the largest that ran in 2 trials; the search was not complete)\n"


@pytest.mark.parametrize("error", [ProbeError("no answer"), ZeroDivisionError()], ids=["inconclusive", "foreign"])
def test_other_ends_claim_no_size(error, pictures):
    assert run(FakeApi(error), "probe", "m:model", pictures)[1] == ""


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.RAN])
def test_a_size_that_did_not_run_within_the_budget_is_never_the_best(outcome):
    """Seen to fail with sizes that ran over the budget format_count in."""
    assert best_so_far([Trial(8, outcome), Trial(4, Outcome.RAN), Trial(2, Outcome.RAN)]) == 4
    assert best_line([Trial(8, outcome)]) == ""


@pytest.mark.parametrize(
    ("words", "following"),
    [
        ([], ["--batch-size", "4"]),
        (["--largest", "--max-batch", "9", "--timeout", "9", "--json", "--no-cache"], ["--batch-size", "4"]),
        (["--rescale=1/127.5", "--reserve", "10%"], ["--batch-size", "4", "--rescale=1/127.5", "--reserve", "10%"]),
        (["-o", "r.json", "--device", "gpu:0"], ["--batch-size", "4", "--device", "gpu:0"]),
        (["--horizontal-flip", "--limit", "8GiB"], ["--batch-size", "4", "--horizontal-flip"]),
    ],
    ids=str,
)
def test_what_to_type_next_keeps_what_a_training_shares(words, following, pictures):
    out = run(FakeApi(), "probe", "m:my model", pictures, *words)[1]
    typed = shlex.split(only_json(out)["next"] if "--json" in words else out.splitlines()[-1])
    assert typed == ["autobatch", "fit", "m:my model", "pictures", *following]
    build_parser().parse_args(typed[1:])


def micro(effective):
    """What is found for an effective batch that only fits in pieces."""
    return replace(RESULT, mode="micro", effective_batch_size=effective)


def test_what_to_type_next_is_the_effective_batch_that_was_taken(pictures):
    """Seen to fail with the number that was asked for: there may be fewer samples."""
    _, out, _ = run(FakeApi(result=micro(10)), "probe", "m:model", pictures, "--batch-size", "1000")
    assert out.splitlines()[-1] == "autobatch fit m:model pictures --batch-size 10"


def test_without_pictures_a_batch_that_fits_in_pieces_alone_is_trained_in_pieces(tmp_path, monkeypatch):
    """Seen to fail with Keras' own fit: it would run out of memory."""
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(FakeApi(result=micro(10)), "probe", "m:model", "--batch-size", "10")
    assert out.splitlines()[-1] == "autobatch.fit(model, x, y, batch_size=10)"


@pytest.mark.parametrize(
    ("file", "words", "following"),
    [
        ("seed = 3", [], []),
        ("[probe]\nseed = 3", [], ["--seed", "3"]),
        ("[probe]\nseed = 3\n[fit]\nseed = 3", [], []),
        ("seed = 3\n[fit]\nseed = 4", [], ["--seed", "3"]),
        ("[probe]\nseed = 3\n[fit]\nseed = 'x'", [], ["--seed", "3"]),
        ("[probe]\nseed = 3", ["--seed", "5"], ["--seed", "5"]),
        ('[probe]\nreserve = "10%"', [], ["--reserve", "10%"]),
        ("[probe]\nhorizontal_flip = false", [], ["--no-horizontal-flip"]),
        ("[probe]\nmax_batch = 8", [], []),
        ('[probe]\ndatagen = "m:datagen"', ["--rescale", "1"], ["--rescale", "1"]),
        ("[probe]\nrescale = 1", ["--datagen", "m:datagen"], ["--datagen", "m:datagen"]),
    ],
    ids=str,
)
def test_what_to_type_next_says_what_a_training_would_not_find_by_itself(file, words, following, pictures, tmp_path):
    """Seen to fail with typed words alone: the training had another reserve than its probe."""
    (tmp_path / "autobatch.toml").write_text(file)
    text = run(FakeApi(), "probe", "m:model", pictures, *words)[1]
    typed = shlex.split(text.splitlines()[-1])
    assert typed[6:] == following


def test_without_pictures_samples_are_made_up_and_the_next_step_is_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = FakeApi()
    _, out, _ = run(fake, "probe", "m:model")
    assert fake.calls[0][1][1:] == ("samples for m:model",)
    assert out.splitlines()[-1] == "model.fit(x, y, batch_size=4)"


def test_words_behind_two_dashes_are_no_options():
    assert carried(["--", "--seed", "3"], command_parsers(build_parser())["probe"], {"seed"}) == []


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--timeout", "60"], {"timeout_s": 60.0}),
        (["--limit", "8GiB"], {"limit": 8 * 2**30}),
        (["--limit", "1.5 GB"], {"limit": 1_500_000_000}),
    ],
    ids=str,
)
def test_the_deadline_and_the_limit_of_a_probe_are_passed_on(words, options, pictures):
    fake = FakeApi()
    assert run(fake, "probe", "m:model", pictures, *words)[0] == 0
    assert fake.calls[0][2] == {"batch_size": "auto", "cache": True} | options


def test_a_dry_run_tries_nothing(pictures):
    fake = FakeApi()
    status, out, _ = run(fake, "probe", "m:model", pictures, "--dry-run", "--limit", "8GiB")
    assert (status, out) == (0, "what would be done\n")
    assert [name for name, _, _ in fake.calls] == ["dry_run"]
    assert fake.calls[0][2] == {"batch_size": "auto", "cache": True, "limit": 8 * 2**30}
    data = only_json(run(fake, "probe", "m:model", pictures, "--dry-run", "--json")[1])
    assert data == {"schema_version": 2, "kind": "dry_run", "first": 1}


def test_reports_are_written_by_their_ending(pictures, tmp_path):
    names = ["a.json", "a.md", "a.html"]
    words = [word for name in names for word in ("-o", name)]
    status, _, err = run(FakeApi(), "probe", "m:model", pictures, *words)
    assert status == 0
    assert all(f"wrote {name}" in err for name in names)
    assert only_json((tmp_path / "a.json").read_text())["result"] == RESULT.to_dict()
    assert "<html" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(("error", "code", "outcome"), ENDS, ids=lambda value: type(value).__name__)
def test_a_report_is_written_for_every_end(error, code, outcome, pictures, tmp_path):
    status, _, _ = run(FakeApi(error), "probe", "m:model", pictures, "-o", "a.json", "-o", "a.html")
    assert status == code
    assert only_json((tmp_path / "a.json").read_text())["outcome"] == outcome
    assert "<html" in (tmp_path / "a.html").read_text()


def test_a_report_stays_where_nothing_was_started(pictures, tmp_path):
    run(FakeApi(), "probe", "m:model", pictures, "-o", "a.md")
    older = (tmp_path / "a.md").read_text()
    assert run(FakeApi(DataError("broken")), "probe", "m:model", pictures, "-o", "a.md")[0] == 2
    assert (tmp_path / "a.md").read_text() == older


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.json"])
def test_what_is_no_report_is_left_alone_and_nothing_is_started(name, pictures, tmp_path):
    """Seen to fail without the look: somebody's notes were gone."""
    (tmp_path / name).write_text("my notes")
    fake = FakeApi()
    status, _, err = run(fake, "probe", "m:model", pictures, "-o", name)
    assert (status, fake.loaded, (tmp_path / name).read_text()) == (2, [], "my notes")
    assert "left alone" in err


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.json"])
def test_a_report_is_replaced_by_the_next_one(name, pictures):
    for _ in range(2):
        assert run(FakeApi(), "probe", "m:model", pictures, "-o", name)[0] == 0


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_runs(pictures):
    """Seen to fail with its permissions alone looked at: root has them everywhere."""
    fake = FakeApi()
    status, _, err = run(fake, "probe", "m:model", pictures, "-o", "/proc/self/a.json")
    assert (status, fake.loaded) == (2, [])
    assert "can be written to" in err


def test_an_object_says_that_its_report_could_not_be_written(pictures, tmp_path):
    fake = FakeApi()
    load = fake.load_model
    fake.load_model = lambda name: ((tmp_path / "a.json").mkdir(), load(name))[1]  # in the way, once it has begun
    _, out, _ = run(fake, "probe", "m:model", pictures, "-o", "a.json", "--json")
    data = only_json(out)
    assert (data["outcome"], data["exit_code"], data["result"]["batch_size"]) == ("found", 2, 4)
    assert (data["error"]["kind"], "cannot be written" in data["error"]["message"]) == ("DataError", True)


def test_the_best_so_far_is_the_largest_that_ran_whatever_was_recommended(pictures):
    ran = (Trial(8, Outcome.RAN), Trial(4, Outcome.RAN))
    _, out, _ = run(FakeApi(result=replace(RESULT, trials=ran)), "probe", "m:model", pictures, "--json")
    data = only_json(out)
    assert (data["best_so_far"], data["result"]["batch_size"]) == (8, 4)


def test_nothing_comes_between_an_answer_and_its_printing(pictures):
    """Seen to fail with the environment looked at after the search: Ctrl-C there lost the answer."""
    fake = FakeApi()
    order = []
    looks = {"environment": {}, "probe": RESULT}
    seen = {name: lambda *_, name=name, **__: order.append(name) or looks[name] for name in looks}
    vars(fake).update(seen)
    assert main(["probe", "m:model", pictures], api=fake, stdout=io.StringIO(), stderr=io.StringIO(), environ={}) == 0
    assert order == ["environment", "probe"]


def test_an_answer_is_printed_even_if_its_report_cannot_be_written(pictures, tmp_path):
    """Seen to fail with the error of the report raised: the answer of a long search was lost."""
    fake = FakeApi()
    load = fake.load_model
    fake.load_model = lambda name: ((tmp_path / "a.json").mkdir(), load(name))[1]  # in the way, once it has begun
    status, out, err = run(fake, "probe", "m:model", pictures, "-o", "a.json")
    assert (status, RESULT.summary() in out) == (2, True)
    assert "cannot be written" in err


@pytest.mark.parametrize(("usable", "status"), [(("GPU:0",), 0), ((), 4)])
def test_a_device_is_chosen_before_the_model_is_loaded_and_asked_for_after(usable, status, pictures):
    """Seen to fail with the device set when Keras had started."""
    fake = FakeApi()
    fake.usable = usable
    devices = []
    load = fake.load_model
    fake.load_model = lambda name: (devices.append(fake.device), load(name))[1]
    assert run(fake, "probe", "m:model", pictures, "--device", "gpu")[0] == status
    assert devices == ["gpu"]
    assert bool(fake.calls) == (status == 0)


def test_advice_names_options_instead_of_arguments(pictures):
    error = ProbeTimeoutError("Received: limit=3. Give a larger timeout_s=, or a smaller reserve=.")
    said = "Received: limit=3. Give a larger --timeout, or a smaller --reserve."
    _, out, err = run(FakeApi(error), "probe", "m:model", pictures, "--json")
    assert err.splitlines()[-1].endswith(said)
    assert only_json(out)["error"]["message"] == said


def test_the_size_of_the_running_trial_is_said():
    said = []
    both = KeptTrials(SimpleNamespace(says=said.append), [])
    both.starts(1344)
    assert said == ["trial 1: 1,344 samples"]
