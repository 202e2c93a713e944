"""What the driver tells of a GPU, by two ways, and of a process that holds a known part of it, by three.

An actor without a framework takes 1 GiB, says what the driver told it and what it reads of itself; here the same is
read as the memory of another process. Then the devices that `CUDA_VISIBLE_DEVICES` leaves are compared with CUDA's own
list, and a training framework reads itself where it sees numbers of processes of its own, as in a container.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pynvml
from gpu_check import stage as stages
from gpu_check.stage import HERE, MIB, Stage, in_role
from harness import Cell, Findings, Goal, Table, benchmark, say, seconds_of

from autobatch.memory.reading import read_memory
from autobatch.memory.sensors.gpu import read_devices
from autobatch.memory.sensors.nvml import nvml_session
from autobatch.memory.sensors.procfs import in_host_pid_namespace

# What autobatch asks for and not every driver has
_SYMBOLS = (
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v2",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
)
_LISTS = {"processes": "nvmlDeviceGetComputeRunningProcesses", "drawing": "nvmlDeviceGetGraphicsRunningProcesses"}


def recorded(nvml: Any = None, proc: Path = Path("/proc")) -> dict[str, Any]:
    """The record of this machine.

    Raises:
        pynvml.NVMLError: NVML does not run here, or names no GPU.
    """
    if nvml is None:
        import pynvml as nvml
    nvml.nvmlInit()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return {
            "about": "Recorded by scripts/gpu_check.",
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "lacks": [name for name in _SYMBOLS if not _has(nvml, name)],
            "container": not in_host_pid_namespace(proc),
            "gpus": [_gpu(nvml, handle) for handle in handles],
        }
    finally:
        nvml.nvmlShutdown()


class _Asking:
    """Asks what there is, and keeps the codes of what was refused; what a driver lacks is neither."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.refused: dict[str, int] = {}

    def __call__(self, symbol: str, function: Callable[[], Any]) -> Any:
        if not _has(self._nvml, symbol):
            return None
        try:
            return function()
        except self._nvml.NVMLError as error:
            self.refused[symbol] = int(error.value)
            return None


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    ask = _Asking(nvml)
    told = _figures(nvml, handle, ask)
    mode = ask("nvmlDeviceGetMigMode", lambda: nvml.nvmlDeviceGetMigMode(handle))
    if mode and mode[0]:
        told["slices"] = _slices(nvml, handle)
    return told | ({"returns": ask.refused} if ask.refused else {})


def _figures(nvml: Any, handle: Any, ask: _Asking) -> dict[str, Any]:
    memory = ask("nvmlDeviceGetMemoryInfo", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    version = getattr(nvml, "nvmlMemory_v2", None)
    newer = ask("nvmlDeviceGetMemoryInfo_v2", lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=version))
    told: dict[str, Any] = {
        "uuid": ask("nvmlDeviceGetUUID", lambda: nvml.nvmlDeviceGetUUID(handle)) or "",
        "name": ask("nvmlDeviceGetName", lambda: nvml.nvmlDeviceGetName(handle)) or "",
        "total": int(memory.total) if memory else 0,
        "free": int(memory.free) if memory else 0,
        "reserved": int(newer.reserved) if newer else 0,
    }
    for key, name in _LISTS.items():
        for symbol in (f"{name}_v2", f"{name}_v3"):  # the newest that answers stands
            listed = ask(symbol, lambda symbol=symbol: getattr(nvml, symbol)(handle))
            if listed is not None:
                told[key] = [[one.pid, one.usedGpuMemory] for one in listed]
    return {"processes": []} | told


def _slices(nvml: Any, handle: Any) -> dict[str, Any]:
    found = {}
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            instance = [nvml.nvmlDeviceGetGpuInstanceId(part), nvml.nvmlDeviceGetComputeInstanceId(part)]
        except nvml.NVMLError:
            continue
        ask = _Asking(nvml)
        told = _figures(nvml, part, ask) | {"instance": instance}
        found[str(number)] = told | ({"returns": ask.refused} if ask.refused else {})
    return found


def _has(nvml: Any, symbol: str) -> bool:
    try:
        nvml._nvmlGetFunctionPointer(symbol)  # there is no public way to ask for a symbol
    except nvml.NVMLError:
        return False
    return True


QUESTION = "Are the readings of a GPU's memory, and of who holds it, those of the driver?"
NEAR_BYTES = 4 * MIB
_PATIENCE_S = 60
_SMI = "nvidia-smi --id={} --query-gpu=memory.total,memory.reserved,memory.free --format=csv,noheader,nounits"
_ORDINALS = "from gpu_check.actors import Cuda; import json; print(json.dumps(Cuda().uuids()))"


def near(one: float | None, other: float | None, by: int = NEAR_BYTES) -> bool | None:
    """Whether two figures are the same, but for pages; `None` where one is not known.

    Example:
        >>> near(100 * MIB, 102 * MIB), near(100 * MIB, 110 * MIB), near(None, 1)
        (True, False, None)
    """
    return None if one is None or other is None else abs(one - other) <= by


def risen(before: int | None, after: int | None, amount: int) -> tuple[bool | None, str]:
    """Whether a figure rose by what an actor took, or by that and a context of at most 1 GiB.

    Example:
        >>> risen(10 * MIB, 1034 * MIB, 1024 * MIB), risen(10 * MIB, 500 * MIB, 1024 * MIB)[0]
        ((True, '1,024 of 1,024 MiB'), False)
    """
    if before is None or after is None:
        return None, "not told"
    rise = after - before
    return amount - NEAR_BYTES <= rise <= amount + 1024 * MIB, f"{rise / MIB:,.0f} of {amount / MIB:,.0f} MiB"


def same_devices(cuda: Sequence[str] | None, ours: Sequence[str]) -> bool | None:
    """Whether two lists name the same devices in the same order; NVML calls them GPU-… or MIG-…, CUDA by digits alone.

    Example:
        >>> same_devices(["0123"], ["GPU-0123"]), same_devices([], ["GPU-0123"]), same_devices(None, [])
        (True, False, None)
    """
    if cuda is None:
        return None
    return list(cuda) == [uuid.partition("-")[2] for uuid in ours]


def held_goals(stage: Stage, amount: int) -> tuple[list[Goal], list[list[Cell]], dict[str, Any]]:
    """What is read of an actor that takes a known amount, by itself and from here."""
    free_before = stage.free_bytes()
    with in_role(stage, "hold", amount=amount) as holder:
        if not holder.until(lambda: bool(holder.of("own")), _PATIENCE_S):
            return [Goal("an actor can take memory", met=False, measured=holder.stderr[-300:])], [], {}
        own = holder.of("own")[0]
        from_here = stage.held(holder.pid).get(holder.pid)
        free_with = stage.free_bytes()
        itself = own["device_bytes"] if stage.name == "gpu" else own["rss_bytes"]
        driver = next(iter(holder.of("driver")), None)
        holder.tell()
        holder.ends(_PATIENCE_S)
    deadline_s = time.monotonic() + 2
    while not near(stage.free_bytes(), free_before, 64 * MIB) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    free_after = stage.free_bytes()
    back = near(free_after, free_before, 64 * MIB)
    goals = [
        Goal("a process reads what it has taken as its own", *risen(0, itself, amount)),
        Goal("another process reads it as that one's", *risen(0, from_here, amount)),
        Goal("what is free falls by it", *risen(-free_before, -free_with, amount)),
        Goal("and is back when it has ended", back, f"{(free_after - free_before) / MIB:+,.0f} MiB"),
    ]
    if driver is not None:
        free, total = driver["free_and_total"]
        agrees = near(stage.total_bytes(), total, 1024 * MIB) and near(free_with, free, 64 * MIB)
        said = f"{free / MIB:,.0f} beside {free_with / MIB:,.0f} MiB free"
        goals.append(Goal("CUDA and NVML tell the same of the device", agrees, said))
    table: list[list[Cell]] = [
        ["taken", round(amount / MIB)],
        ["read by itself", None if itself is None else round(itself / MIB)],
        ["read from outside", None if from_here is None else round(from_here / MIB)],
        ["free before", round(free_before / MIB)],
        ["free with it", round(free_with / MIB)],
        ["free after it", round(free_after / MIB)],
    ]
    return goals, table, {"own": own, "driver": driver}


def by_the_tool() -> list[Goal]:
    device = read_devices(os.getpid())[0][0]
    try:
        words = _SMI.format(device.uuid).split()
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE_S)
        told = [int(figure) * MIB for figure in done.stdout.split(",")]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return [Goal("nvidia-smi tells the same", None, f"it does not answer: {error}")]
    device = read_devices(os.getpid())[0][0]
    ours = (device.total_bytes, device.reserved_bytes, device.free_bytes)
    alike = [near(one, other) for one, other in zip(ours, told, strict=True)]
    met = None if None in alike else all(alike)
    said = ", ".join(f"{other / MIB:,.0f} / {(one or 0) / MIB:,.0f}" for one, other in zip(ours, told, strict=True))
    return [Goal("nvidia-smi tells the same total, reserved and free memory", met, f"{said} MiB")]


def mapping() -> tuple[list[Goal], Table]:
    """For several values of `CUDA_VISIBLE_DEVICES` the devices that CUDA counts, and those that are read."""
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    everything = [one.uuid for one in read_devices(0, environ=environ)[0]]
    first = everything[0]
    values = [None, "0", first, first[:12], ",".join(reversed(everything)), "", "-1", "0,nonsense", "nonsense"]
    rows: list[list[Cell]] = []
    verdicts = []
    for value in values:
        own = environ if value is None else {**environ, "CUDA_VISIBLE_DEVICES": value}
        ours = [one.uuid for one in read_devices(0, environ=own)[0]]
        cuda = _counted_by_cuda(own)
        verdicts.append(same_devices(cuda, ours))
        rows.append([repr(value), len(cuda) if cuda is not None else None, len(ours), _word(verdicts[-1])])
    seen = [one for one in verdicts if one is not None]
    kinds = "with" if any(uuid.startswith("MIG-") for uuid in everything) else "no MIG here, and"
    said = f"{sum(seen)} of {len(seen)} values, {kinds} {len(everything)} devices"
    table = Table("Visible devices", ("CUDA_VISIBLE_DEVICES", "CUDA counts", "read", "the same"), rows)
    return [Goal("the devices that are read are those that CUDA counts", all(seen) if seen else None, said)], table


def contained() -> tuple[list[Goal], Table]:
    """What a process reads of itself where it has numbers of processes of its own, by each of TensorFlow's allocators.

    It takes 512 MiB. The pool tells all but CUDA's context, BFC the least that it can be; the reading has to say so.
    """
    rows: list[list[Cell]] = []
    verdicts = []
    part = json.dumps({"of": "host", "amount": 512 * MIB})
    for name, environ in {
        "bfc": {"TF_FORCE_GPU_ALLOW_GROWTH": "true"},
        "pool": {"TF_GPU_ALLOCATOR": "cuda_malloc_async"},
    }.items():
        inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, str(stages.ACTORS), "tensorflow", part]
        try:
            done = subprocess.run(
                inside, check=True, capture_output=True, text=True, timeout=_PATIENCE_S, env={**os.environ, **environ}
            )
            told = json.loads(done.stdout.splitlines()[-1])
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            rows.append([name, None, None, None, f"not run: {getattr(error, 'stderr', None) or error}"[-200:]])
            continue
        verdicts.append(says_so(told))
        rows.append([name, told["taken"] // MIB, (told["own"] or 0) // MIB, told["own_from"], " ".join(told["notes"])])
    met = all(verdicts) if verdicts else None
    said = f"{sum(verdicts)} of {len(verdicts)} allocators"
    table = Table("In a container", ("allocator", "taken, MiB", "own, MiB", "from", "notes"), rows)
    return [Goal("in a container own bytes are told, and by whom", met, said)], table


def says_so(told: Mapping[str, Any]) -> bool:
    """Whether own bytes hold what was taken, and the reading says who told them if it was not the driver."""
    own, source = told["own"], told["own_from"]
    if own is None or own < told["taken"] - NEAR_BYTES:
        return False
    return source == "driver" or any("what this process holds is" in note for note in told["notes"])


def costs() -> tuple[list[Cell], list[Cell]]:
    """What a reading costs, in microseconds: with NVML kept started, and without."""
    with nvml_session():
        held = min(seconds_of(read_memory) for _ in range(20))
    alone = min(seconds_of(read_memory) for _ in range(20))
    return ["a reading, NVML kept started, us", round(1e6 * held)], ["a reading alone, us", round(1e6 * alone)]


def measure(args: argparse.Namespace) -> Findings:
    amount = (256 if args.stage == "cpu" else 1024) * MIB
    with stages.opened(args.stage, 1500) as stage:
        say(f"an actor takes {amount / MIB:,.0f} MiB")
        goals, rows, samples = held_goals(stage, amount)
        tables = [Table("An actor that holds memory", ("what", "MiB"), rows)]
        notes = []
        if args.stage == "gpu":
            goals += by_the_tool()
            for more in (mapping, contained):
                say(more.__name__)
                found, table = more()
                goals += found
                tables.append(table)
            notes = list(read_memory().notes)
            try:
                samples["nvml"] = recorded()
            except pynvml.NVMLError as error:
                notes.append(f"What NVML answers could not be recorded: {error}.")
        tables.append(Table("What a reading costs", ("what", "us"), list(costs())))
    return Findings(tables, goals, notes, samples)


def _counted_by_cuda(environ: Mapping[str, str]) -> list[str] | None:
    """The devices that CUDA counts with an environment; none where it says that there are none."""
    words = [sys.executable, "-c", _ORDINALS]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [environ.get("PYTHONPATH")])])
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=_PATIENCE_S, env={**environ, "PYTHONPATH": path}
    )
    if done.returncode == 0:
        uuids: list[str] = json.loads(done.stdout.splitlines()[-1])
        return uuids
    # CUDA_ERROR_NO_DEVICE, which the driver says where everything is hidden, and where it cannot find its device.
    return [] if "error 100" in done.stderr or "cuDeviceGet: error 101" in done.stderr else None


def _word(met: bool | None) -> str | None:  # noqa: FBT001 - the three answers to one question
    return None if met is None else "yes" if met else "no"


if __name__ == "__main__":
    benchmark("gpu_check/readings", "Readings", QUESTION, measure, stages.options)
