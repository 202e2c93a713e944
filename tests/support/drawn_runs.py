"""Records of runs to draw: a probe with every kind of failure, a training that shrank and grew, and an evil one."""

import math
from dataclasses import replace

from autobatch.memory.peak_model import PeakModel
from autobatch.probing.search import peak_models
from autobatch.report.runs import Begun, Epoch, Observation, Record
from autobatch.results.probe import ProbeResult
from autobatch.results.run import Decision
from autobatch.results.trial import Outcome, Trial

GIB = 2**30
EVIL = "</script></title><img src=x onerror=1>\"><b>{{ 7*7 }}|`'&lt;\u2028"


def ran(size, host, speed, device=None):
    peaks = {"host": host, "host_at_worst": round(1.05 * host)} | ({"device": device} if device else {})
    return Trial(size, Outcome.RAN, peaks, size / speed, speed, wall_s=2.5)


def probe_trials():
    silent = [outcome for outcome in Outcome if not outcome.ran]
    failed = [Trial(400 + 16 * n, one, wall_s=3.0, detail=f"{one.name} | x") for n, one in enumerate(silent)]
    over = replace(ran(448, int(12.6 * GIB), 176.0), outcome=Outcome.OVER_BUDGET)
    good = [ran(2, GIB // 2, 64.5), ran(16, GIB, 131.1), ran(128, int(3.6 * GIB), 180.3), ran(384, 10 * GIB, 183.7)]
    return (*good, over, *failed, Trial(256, Outcome.RAN, {}, 1.395, 183.5, 6.1))


def result_of(trials, batch_size=256, budget=12 * GIB):
    return ProbeResult(
        batch_size=batch_size,
        mode="auto",
        max_batch_size=384,
        efficient_batch_size=batch_size,
        trials=trials,
        models=peak_models(trials),
        budgets={"host": budget},
        limits={"host": "control group"},
        reserves={"host": GIB},
        reasons=("256 is the smallest size within 5 % of the best throughput measured (184 samples/s).",),
        notes=("No GPU is counted.",),
    )


def probe(**changes):
    trials = probe_trials()
    return replace(
        Record(
            name="probe.json",
            kind="probe",
            outcome="found",
            started_at="2026-01-31T12:00:00+00:00",
            command="autobatch probe package.module:build_model data/train",
            environment={"autobatch": "0.1.0", "cpu_count": 2, "gpus": [], "groups": [{"limit_bytes": 12 * GIB}]},
            error=None,
            result=result_of(trials),
            trials=trials,
            raw={"kind": "probe", "trials": [trial.to_dict() for trial in trials]},
        ),
        **changes,
    )


def failed_probe(outcome="does_not_fit", trials=(), **changes):
    error = {"kind": "DoesNotFitError", "message": "Not even one sample fits."}
    return probe(outcome=outcome, result=None, trials=trials, error=error, **changes)


def decisions(count=6, every_s=20.0):
    sizes = [256, 128, 64, 128, 256, 192, 256]
    pairs = [(sizes[n % 6], sizes[n % 6 + 1]) for n in range(count)]
    return tuple(
        Decision(n // 3, 40 * n, "training", before, after, f"reason {n}", every_s * (n + 1), GIB, GIB // 4, None)
        for n, (before, after) in enumerate(pairs)
    )


def seen(count=400, until_s=150.0):
    return tuple(
        Observation(
            at_s=until_s * n / count,
            epoch=n * 3 // count,
            update=n,
            phase="training",
            micro_batch_size=256,
            headroom_bytes=None if n % 50 == 7 else int(GIB * (2.0 + 3.0 * math.sin(n / 40))),
            rss_bytes=int(GIB * (5 + math.cos(n / 30))),
            device_bytes=6 * GIB + n,
            budget_bytes=9 * GIB,
            limit="host",
        )
        for n in range(count)
    )


def training(**changes):
    ends = tuple(Epoch(n, 50.0 * (n + 1), {"loss": 1.0 / (n + 1), "accuracy": 0.5 + n / 10}) for n in range(3))
    events = [{"event": "observation", "at_s": one.at_s, "rss_bytes": one.rss_bytes} for one in seen()]
    trained = replace(
        probe(),
        name="fit.jsonl",
        kind="fit",
        outcome="done",
        command="python train.py --epochs 3",
        begun=Begun(256, 256, 1, 7),
        observations=seen(),
        decisions=decisions(),
        epochs=ends,
        notes=("validation: none",),
        raw=[{"event": "run"}, *events, {"event": "end"}],
    )
    return replace(trained, **changes)


def evil(text=EVIL):
    """A record with `text` wherever a text can be."""
    trials = tuple(replace(trial, detail=text) for trial in probe_trials())
    result = replace(result_of(trials), limits={"host": text}, reasons=(text,), notes=(text,))
    return training(
        name=text,
        outcome=text,
        started_at=text,
        command=text,
        environment={text: text, "gpus": [{"name": text}]},
        error={"kind": text, "message": text},
        trials=trials,
        result=result,
        observations=tuple(replace(one, phase=text, limit=text) for one in seen(40)),
        decisions=tuple(replace(one, phase=text, reason=text) for one in decisions()),
        epochs=(Epoch(0, 50.0, {text: 1.0}),),
        notes=(text,),
        raw={text: [text]},
    )


def one_sized_model():
    return PeakModel(0.0, GIB, 0.0, 1, GIB)
