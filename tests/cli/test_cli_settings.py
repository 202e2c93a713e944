"""Settings: which source holds, whose mistake it was, and that no option is forgotten."""

import argparse
import json
from pathlib import Path

import pytest
from command_scene import FakeApi, run, run_as_is
from hypothesis import given
from hypothesis import strategies as st

from autobatch.cli.options import batch_statistics
from autobatch.cli.parser import build_parser, command_parsers, parse
from autobatch.cli.settings import (
    ONE_SHOT,
    SETTINGS,
    FileSettings,
    Origin,
    find_settings,
    require_known,
    resolve,
    unknown_variables,
)

PARSERS = command_parsers(build_parser())
COMMANDS = {name: parser.settings for name, parser in PARSERS.items()}
EVERYWHERE = [setting for settings in COMMANDS.values() for setting in settings]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with pictures, and no file of settings above it."""
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def called(fake, *words, environ=None, command="probe"):
    """The keyword arguments of the call that the words led to."""
    status, _, err = run(fake, command, "m:model", "pictures", *words, environ=environ)
    assert (status, fake.calls[-1][0]) == (0, command), err
    return fake.calls[-1][2]


def test_every_option_is_a_setting_or_said_to_mean_one_call():
    """Seen to fail with an option added to a command, and with a name in the table that no command has."""
    options = {action.dest for parser in PARSERS.values() for action in parser._get_optional_actions()}
    assert options == SETTINGS | ONE_SHOT
    assert not SETTINGS & ONE_SHOT


def test_a_setting_has_the_name_of_its_usual_flag():
    wrong = [setting for setting in EVERYWHERE if setting.flags[0] != f"--{setting.name.replace('_', '-')}"]
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "environ", "own", "project", "value", "where"),
    [
        (["--max-batch", "1"], {"AUTOBATCH_MAX_BATCH": "2"}, "max_batch = 3", "max_batch = 4", 1, "--max-batch"),
        ([], {"AUTOBATCH_MAX_BATCH": "2"}, "max_batch = 3", "max_batch = 4", 2, "AUTOBATCH_MAX_BATCH"),
        ([], {"AUTOBATCH_MAX_BATCH": " "}, "max_batch = 3", "max_batch = 4", 3, "autobatch.toml: max_batch"),
        ([], {}, "seed = 1", "max_batch = 4", None, "default"),
        ([], {}, None, "max_batch = 4", 4, "pyproject.toml: tool.autobatch.max_batch"),
        ([], {}, "max_batch = 3\n[probe]\nmax_batch = 5", None, 5, "autobatch.toml: probe.max_batch"),
        ([], {}, "max_batch = 3\n[fit]\nmax_batch = 5", None, 3, "autobatch.toml: max_batch"),
        ([], {}, None, "[tool.autobatch.probe]\nmax_batch = 6", 6, "pyproject.toml: tool.autobatch.probe.max_batch"),
        ([], {}, 'max_batch = "7"', None, 7, "autobatch.toml: max_batch"),
        ([], {}, None, None, None, "default"),
    ],
)
def test_flags_stand_over_variables_over_files_over_defaults(here, words, environ, own, project, value, where):
    """Seen to fail with the variable looked up behind the file."""
    if own is not None:
        (here / "autobatch.toml").write_text(own)
    if project is not None:
        text = project if project.startswith("[") else f"[tool.autobatch]\n{project}"
        (here / "pyproject.toml").write_text(f'[project]\nname = "x"\n{text}')
    assert called(FakeApi(), *words, environ=environ).get("max_batch_size") == value
    _, out, _ = run(FakeApi(), "probe", "--show-config", "--json", *words, environ=environ)
    shown = json.loads(out)["settings"]["max_batch"]
    assert shown["value"] == value
    assert shown["from"].endswith(where)


SOURCES = ("flag", "variable", "table of the command", "table of all")
SAID = st.dictionaries(st.sampled_from(SOURCES), st.integers(1, 1000))


@given(said=st.dictionaries(st.sampled_from(["batch_size", "max_batch", "seed", "epochs"]), SAID))
def test_each_setting_comes_from_the_nearest_source_that_says_it(said):
    flag, variable, own, all_commands = (
        {name: each[source] for name, each in said.items() if source in each} for source in SOURCES
    )
    environ = {f"AUTOBATCH_{name.upper()}": str(value) for name, value in variable.items()}
    file = FileSettings("f.toml", "", {**all_commands, "fit": own})
    settings = [setting for setting in COMMANDS["fit"] if setting.name in said]
    chosen = resolve(settings, "fit", flag, environ, file)
    nearest = {name: next((s for s in SOURCES if s in each), None) for name, each in said.items()}
    origins = dict(zip(SOURCES, (Origin.FLAG, Origin.VARIABLE, Origin.FILE, Origin.FILE), strict=True))
    assert {s.name: (chosen[s.name].value, chosen[s.name].origin) for s in settings} == {
        s.name: (said[s.name].get(nearest[s.name], s.default), origins.get(nearest[s.name], Origin.DEFAULT))
        for s in settings
    }


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("0", False), ("NO", False), ("true", True), ("1", True), ("Yes", True)]
)
def test_a_switch_is_yes_or_no_in_a_variable_and_in_a_file(here, text, value):
    assert called(FakeApi(), environ={"AUTOBATCH_CACHE": text})["cache"] is value
    (here / "autobatch.toml").write_text(f'cache = "{text}"')
    assert called(FakeApi())["cache"] is value


def test_a_flag_takes_a_switch_back(here):
    """Seen to fail where the flag had only one direction."""
    (here / "autobatch.toml").write_text("cache = false\nhorizontal_flip = true")
    fake = FakeApi()
    assert called(fake, "--cache", "--no-horizontal-flip")["cache"] is True
    assert fake.calls[-1][1][1]["horizontal_flip"] is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch = 0", "The setting max_batch cannot be used: '0' is not a whole number from 1"),
        ('batch_size = "most"', "'most' is neither auto nor largest nor a whole number from 1"),
        ("max_batch = true", "true is no value for it"),
        ("max_batch = [1]", "[1] is neither text nor a number"),
        ("max_batch = 2.5", "'2.5' is not a whole number from 1"),
        ('reserve = "lots"', "'lots' is neither a fraction"),
        ('cache = "perhaps"', "'perhaps' is neither true nor false"),
        ("max_batches = 4", "max_batches is no setting. Did you mean max_batch?\n"),
        ("largest = true", "largest is no setting. Did you mean batch_size?"),
        ("[probe]\nepochs = 3", "probe.epochs is no setting"),
        ("probe = 3", "probe must be a table. Received: 3"),
        ("output = 'x.html'", "output is no setting"),
        ("this is = no = toml", "cannot be read"),
    ],
)
def test_a_mistake_in_a_file_names_the_file_and_the_key(here, text, says):
    (here / "autobatch.toml").write_text(text)
    fake = FakeApi()
    status, out, err = run(fake, "probe", "m:model", "pictures", environ={})
    assert (status, out, fake.calls) == (2, "", [])
    assert says in err
    assert str(here / "autobatch.toml") in err


@pytest.mark.parametrize("text", ["1", "micros", "8.0"])
def test_words_and_numbers_are_named_where_either_may_be_said(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is neither micro nor a whole number from 2"):
        batch_statistics(text)
    assert (batch_statistics("micro"), batch_statistics("2")) == ("micro", 2)


def test_a_mistake_in_a_variable_names_it(here):
    status, _, err = run(FakeApi(), "probe", "m:model", "pictures", environ={"AUTOBATCH_SEED": "-1"})
    assert status == 2
    assert "It comes from AUTOBATCH_SEED." in err


def test_a_mistake_that_a_nearer_source_covers_is_none(here):
    assert called(FakeApi(), "--seed", "3", environ={"AUTOBATCH_SEED": "x"})["seed"] == 3


def test_settings_of_another_command_are_no_mistake(here):
    (here / "autobatch.toml").write_text("epochs = 3\ntimeout = 60")
    assert called(FakeApi(), command="fit")["epochs"] == 3
    assert called(FakeApi())["timeout_s"] == 60


def test_the_nearest_file_with_settings_counts_and_above_it_none(here, monkeypatch):
    (here / "autobatch.toml").write_text("seed = 1\nmax_batch = 1")
    inner = here / "a" / "b"
    (inner / "pictures").mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "x"')
    (here / "a" / "pyproject.toml").write_text("[tool.autobatch]\nseed = 2")
    monkeypatch.chdir(inner)
    options = called(FakeApi())
    assert options["seed"] == 2
    assert "max_batch_size" not in options


def test_of_two_files_in_a_folder_ours_counts_and_that_is_said(here):
    (here / "autobatch.toml").write_text("seed = 1")
    (here / "pyproject.toml").write_text("[tool.autobatch]\nseed = 2")
    file, remarks = find_settings(here)
    assert file.values == {"seed": 1}
    assert len(remarks) == 1
    assert "is ignored" in remarks[0]


def test_a_variable_that_means_nothing_is_a_remark(here):
    environ = {"AUTOBATCH_MAX_BATCHES": "4", "AUTOBATCH_CACHE_DIR": "x", "OTHER": "y"}
    _, _, err = run(FakeApi(), "probe", "m:model", "pictures", environ=environ)
    assert "AUTOBATCH_MAX_BATCHES is no setting and is ignored. Did you mean AUTOBATCH_MAX_BATCH?\n" in err
    assert len([line for line in err.splitlines() if line.startswith("autobatch:")]) == 1


def test_a_training_in_a_child_leaves_remarks_to_the_child(here):
    """Seen to fail with both of them saying it."""
    environ = {"AUTOBATCH_SEDE": "4"}
    assert run_as_is(FakeApi(), "fit", "m:model", "pictures", environ=environ)[2].count("SEDE") == 0
    assert run(FakeApi(), "fit", "m:model", "pictures", environ=environ)[2].count("SEDE is no setting") == 1


@given(st.dictionaries(st.text("ABC_"), st.text()))
def test_no_remark_on_variables_of_others(environ):
    assert unknown_variables(environ, EVERYWHERE) == []


@given(st.sampled_from(EVERYWHERE))
def test_every_setting_is_a_known_key(setting):
    require_known(FileSettings("f", "", {setting.name: 1}), COMMANDS)


@pytest.mark.parametrize("command", list(PARSERS))
def test_show_config_names_every_setting_and_starts_nothing(here, command):
    fake = FakeApi()
    status, out, _ = run(fake, command, "--show-config", environ={"AUTOBATCH_QUIET": "yes"})
    assert (status, fake.calls, fake.loaded) == (0, [], [])
    assert [line.split()[0] for line in out.splitlines()[1:]] == sorted(setting.name for setting in COMMANDS[command])
    assert "AUTOBATCH_QUIET" in out


def test_show_config_says_which_variables_mean_nothing(here):
    assert "AUTOBATCH_SEDE is no setting" in run(FakeApi(), "fit", "--show-config", environ={"AUTOBATCH_SEDE": "4"})[2]


def test_of_two_that_exclude_each_other_the_nearer_source_counts(here):
    (here / "autobatch.toml").write_text('datagen = "m:datagen"')
    for words, datagen in ([], "m:datagen"), (["--rescale", "1"], {"rescale": 1.0}):
        fake = FakeApi()
        called(fake, *words)
        assert fake.calls[0][1][1] == datagen
    (here / "autobatch.toml").write_text("rescale = 1")
    fake = FakeApi()
    called(fake, "--datagen", "m:datagen")
    assert fake.calls[0][1][1] == "m:datagen"


def test_standing_settings_of_pictures_do_not_hinder_a_probe_without_any(here):
    fake = FakeApi()
    assert run(fake, "probe", "m:model", environ={"AUTOBATCH_RESCALE": "1"})[0] == 0
    assert fake.calls[0][1][1] == "samples for m:model"


def test_settings_are_for_the_command_alone():
    """Parsing them changes no environment."""
    args, _ = parse(["probe", "m:model", "--device", "cpu"], {}, Path("/"))
    assert isinstance(args, argparse.Namespace)
    assert args.device == "cpu"
