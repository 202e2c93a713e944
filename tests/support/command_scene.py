"""The command, run in this process on functions that only say how they were called."""

import io
from types import SimpleNamespace

from autobatch.cli.api import Api
from autobatch.cli.main import main
from autobatch.results.probe import ProbeResult
from autobatch.results.trial import Outcome, Trial

TRIALS = (
    Trial(8, Outcome.OUT_OF_MEMORY, wall_s=0.25),
    Trial(4, Outcome.RAN, {"host": 3 * 2**20}, samples_per_s=1234.5, wall_s=0.5),
)
RESULT = ProbeResult(
    4, "largest", 4, None, TRIALS, budgets={"host": 2**30}, limits={"host": "host"}, reasons=("It is.",)
)


class Result:
    def __init__(self, data, text="the text"):
        self.data, self.text = data, text

    def to_dict(self):
        return self.data

    def __str__(self):
        return self.text


class Number:
    """As numpy's scalars: no number for json, but it has an item."""

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def __format__(self, spec):
        return format(self.value, spec)


class FakeApi(Api):
    """Records every call; raises `error` from fit, probe, dry_run and supervise if there is one, after two trials."""

    def __init__(self, error=None, result=RESULT, compiled=True):
        self.error, self.result, self.compiled = error, result, compiled
        self.calls, self.loaded, self.saved, self.shared, self.device, self.usable = [], [], [], False, None, ("GPU:0",)

    def _called(self, name, args, options):
        print(f"{name} prints as it pleases")
        self.calls.append((name, args, options))
        if self.error is not None:
            raise self.error

    def fit(self, *args, **options):
        self._called("fit", args, options)
        history = {"loss": [Number(0.5), Number(0.25)], "accuracy": [0.5, float("nan")]}
        return SimpleNamespace(history=history, epoch=[0, 1], autobatch=Result({"batch_size": 8}, "chosen: 8"))

    def probe(self, *args, on_trial, on_start, **options):
        for trial in TRIALS:
            on_start(trial.size)
            on_trial(trial)
        self._called("probe", args, options)
        return self.result

    def dry_run(self, *args, **options):
        self._called("dry_run", args, options)
        return Result({"first": 1}, "what would be done")

    def read_memory(self):
        return SimpleNamespace(devices=())

    def load_model(self, name):
        self.loaded.append(name)
        return SimpleNamespace(name=name, save=self.saved.append, compiled=self.compiled, outputs=None)

    def load_datagen(self, name):
        return name

    def make_datagen(self, **options):
        return options

    def share_memory(self):
        self.shared = True
        return "shared"

    def set_device(self, name):
        self.device = name

    def supervise(self, words, args, stream):
        self._called("supervise", words, vars(args))
        return 42

    def accelerators(self):
        return self.usable

    def make_samples(self, model):
        return f"samples for {model.name}"

    def environment(self):
        return {"python": "3"}


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def run(fake, *argv, environ=None):
    """Runs the command; a training runs in this process. Its status, its output and its remarks."""
    here = ["--in-process"] if argv[:1] == ("fit",) else []
    return run_as_is(fake, *argv, *here, environ=environ)


def run_as_is(fake, *argv, environ=None):
    """The same, and a training runs where the words say."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(word) for word in argv]
    status = main(words, api=fake, stdout=out, stderr=err, environ=environ or {})
    return status, out.getvalue(), err.getvalue()
