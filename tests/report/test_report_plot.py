"""Results as pictures: what is drawn, and that nothing else of matplotlib is touched."""

import io
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from programs import environment
from saved_runs import ran, result

from autobatch._text import GIB, MIB
from autobatch.errors import MissingExtraError
from autobatch.report.charts.contents import run_content
from autobatch.results.run import Decision, Observation, RunReport
from autobatch.results.trial import Outcome, Trial


def seen(at_s, micro=8, **changes):
    values = {"headroom_bytes": GIB, "rss_bytes": GIB, "device_bytes": None, "budget_bytes": 2 * GIB, "limit": "host"}
    return Observation(at_s, changes.pop("epoch", 0), 0, changes.pop("phase", "training"), micro, **values | changes)


def report(**changes):
    decisions = [Decision(0, 1, "training", 8, 4, "why", 1.5), Decision(0, 2, "training", 4, 8, "why", 3.0)]
    observations = [seen(1.0), seen(2.0, 4), seen(2.5, 8, phase="validation"), seen(3.5, epoch=1)]
    return RunReport(8, 8, 1, result(), [], (), **{"decisions": decisions, "observations": observations} | changes)


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_a_probe_shows_memory_and_throughput():
    memory, throughput = result().plot().axes
    assert labels(memory) == [
        "fitted: 100 MiB + 10 MiB a sample",
        "measured peak",
        "did not run",
        "chosen: 64",
        "budget (host)",
        "reserve",
    ]
    assert labels(throughput) == ["measured", "95 % of the best", "chosen: 64"]
    assert (memory.get_xlabel(), memory.get_ylabel()) == ("batch size (samples)", "peak memory of a step (GiB)")
    assert throughput.get_ylabel() == "throughput (samples/s)"


def test_a_budget_far_above_is_said_and_does_not_press_the_peaks_to_the_ground():
    memory = result(budgets={"host": 1000 * GIB}).plot().axes[0]
    assert [text.get_text() for text in memory.texts] == ["budget: 1,000.0 GiB (host), far above this picture"]
    assert memory.get_ylim()[1] < 3


def test_each_resource_has_a_picture_the_binding_one_first():
    trials = (Trial(8, Outcome.RAN, {"host": MIB, "device": GIB}),)
    found = result(trials=trials, batch_size=8, models={}, budgets={"host": GIB, "device": GIB}, limits={}, reserves={})
    assert [ax.get_title() for ax in found.plot().axes] == ["memory: device", "memory: host", "throughput"]


def test_an_axes_of_ones_own_gets_the_memory_alone():
    figure = Figure()
    mine, other = figure.subplots(1, 2)
    assert result().plot(ax=mine) is figure
    assert (mine.get_title(), other.get_title()) == ("memory: host", "")
    assert len(figure.axes) == 2


def test_a_run_shows_micro_batch_headroom_and_memory_over_time():
    micro, headroom, memory = report().plot().axes
    assert labels(micro) == ["micro-batch", "effective batch, at first", "shrinks", "grows"]
    assert labels(headroom) == ["headroom"]
    assert labels(memory) == ["occupied on the host (RSS)", "budget"]
    assert [ax.get_ylabel() for ax in (micro, headroom, memory)] == ["samples", "GiB", "GiB"]
    sizes = next(line for line in micro.get_lines() if line.get_label() == "micro-batch")
    assert list(zip(*sizes.get_data(), strict=True)) == [(1.0, 8), (1.5, 4), (2.5, 8), (3.5, 8)]


def test_a_picture_shows_what_the_page_shows():
    """Both are drawn from one description: the rows of a run, and the trials of a probe."""
    rows = run_content(report().observations, report().decisions).rows
    assert [labels(ax)[0] for ax in report().plot().axes] == [row.title.partition(",")[0] for row in rows]


@pytest.mark.parametrize(
    ("until_s", "unit"), [(100.0, "(s)"), (1000.0, "(min)"), (50_000.0, "(h)")], ids=["short", "longer", "long"]
)
def test_time_has_a_unit_that_people_read(until_s, unit):
    axes = report(observations=[seen(0.0), seen(until_s)]).plot().axes
    assert unit in axes[-1].get_xlabel()


NOTHING = {
    "a probe without peaks": lambda: result(trials=(Trial(64, Outcome.RAN),)).plot(),
    "a probe without trials": lambda: result(trials=(), batch_size=1).plot(),
    "a probe without budgets": lambda: result(budgets={}, limits={}, reserves={}).plot(),
    "one size measured": lambda: result(trials=(ran(64),)).plot(),
    "a run without readings": lambda: report(observations=[], decisions=[]).plot(),
    "decisions without time": lambda: report(observations=[], decisions=[Decision(0, 0, "training", 2, 1, "w")]).plot(),
    "nothing known": lambda: report(
        observations=[seen(1.0, headroom_bytes=None, budget_bytes=None, limit=None)]
    ).plot(),
    "formulas": lambda: result(limit="$x_$ $\\frac").plot(),
}


@pytest.mark.parametrize("what", NOTHING)
def test_what_is_not_known_is_left_out(what):
    """Drawn for real: matplotlib finds fault with much only then."""
    assert png(NOTHING[what]()).startswith(b"\x89PNG")


def test_no_figure_of_pyplot_is_made_or_changed():
    """Seen to fail with `plt.subplots()`."""
    plt.switch_backend("agg")
    before = plt.get_fignums()
    figure = report().plot()
    assert plt.get_fignums() == before
    assert isinstance(figure.canvas, FigureCanvasAgg) or type(figure.canvas).__name__ == "FigureCanvasBase"


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot in (result().plot, report().plot):
        with pytest.raises(MissingExtraError) as caught:
            plot()
        assert str(caught.value) == "Plots need matplotlib: pip install 'keras-autobatch[plot]'."


def test_results_are_there_without_matplotlib_being_imported():
    code = "import sys, autobatch; autobatch.RunReport, autobatch.ProbeResult; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
