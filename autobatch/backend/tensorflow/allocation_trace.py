"""Records what a step asks TensorFlow's allocator for.

TensorFlow's profiler notes each allocation of its pools (BFC, on a CPU and on a GPU) with the operation that asked. The
system's own allocator and CUDA's pool note nothing: then a recording is empty, and so it is while somebody else uses
the profiler, which serves one at a time.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import tensorflow as tf

from autobatch.memory.peak_model import Allocation

_ALLOCATED, _FREED = "MemoryAllocation", "MemoryDeallocation"
_TRACE_LEVEL = 2  # TensorFlow's "info": the first at which allocations are noted


class _Event(NamedTuple):
    at: int
    allocated: bool
    address: int
    size_bytes: int
    name: str


class AllocationTrace:
    """What is run in its context is recorded; `read` tells of it, once, later.

    Reading takes memory itself, so it is left until peaks have been read.
    """

    def __init__(self, device: str) -> None:
        self._prefix = device.replace(":", "_") if device.startswith("GPU") else ""
        self._folder: Path | None = None
        self._runs = False

    def __enter__(self) -> Self:
        with contextlib.suppress(tf.errors.OpError, OSError):
            self._folder = Path(tempfile.mkdtemp(prefix="autobatch-recording-"))
            options = tf.profiler.experimental.ProfilerOptions(
                host_tracer_level=_TRACE_LEVEL, python_tracer_level=0, device_tracer_level=0
            )
            tf.profiler.experimental.start(str(self._folder), options)
            self._runs = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._runs:
            self._runs = False
            with contextlib.suppress(tf.errors.OpError):
                tf.profiler.experimental.stop(save=kind is None)
        if kind is not None:
            self._remove()

    def read(self) -> list[Allocation]:
        """What the step asked for, in order; empty where nothing was recorded."""
        try:
            return _allocations(sorted(self._events()))
        finally:
            self._remove()

    def _events(self) -> Iterator[_Event]:
        try:
            # No public name: where a version has moved it, there is no recording, and the peaks alone count.
            from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace
        except ImportError:
            return
        for path in self._folder.rglob("*.xplane.pb") if self._folder else ():
            space = XSpace()
            space.ParseFromString(path.read_bytes())
            for plane in space.planes:
                yield from _of_plane(plane, self._prefix)

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _of_plane(plane: Any, prefix: str) -> Iterator[_Event]:
    kinds = {number: kind.name for number, kind in plane.event_metadata.items()}
    names = {number: stat.name for number, stat in plane.stat_metadata.items()}
    wanted = {number for number, kind in kinds.items() if kind in (_ALLOCATED, _FREED)}
    for line in plane.lines:
        for event in line.events:
            if event.metadata_id not in wanted:
                continue
            facts = {names[stat.metadata_id]: _value(stat, names) for stat in event.stats}
            if str(facts.get("allocator_name", "")).startswith(prefix):
                yield _Event(
                    line.timestamp_ns * 1000 + event.offset_ps,
                    kinds[event.metadata_id] == _ALLOCATED,
                    int(facts["addr"]),
                    int(facts["requested_bytes"]),
                    str(facts.get("tf_op", "")),
                )


def _value(stat: Any, names: dict[int, str]) -> Any:
    kind = stat.WhichOneof("value")
    return names.get(stat.ref_value, "") if kind == "ref_value" else getattr(stat, kind)


def _allocations(events: list[_Event]) -> list[Allocation]:
    """Pairs what was taken with its return; what an earlier step had taken is left out."""
    open_pieces: dict[int, tuple[int, _Event]] = {}
    allocations = []
    for moment, event in enumerate(events):
        if event.allocated:
            open_pieces[event.address] = moment, event
        elif event.address in open_pieces:
            begin, taken = open_pieces.pop(event.address)
            allocations.append(Allocation(begin, moment, taken.size_bytes, taken.name))
    end = len(events)
    allocations += [Allocation(begin, end, taken.size_bytes, taken.name) for begin, taken in open_pieces.values()]
    return sorted(allocations, key=lambda allocation: allocation.begin)
