"""What a program has set up for its GPUs holds for the process of its trials, which takes memory as it needs it."""

import json
from types import SimpleNamespace

import pytest

from autobatch.backend.tensorflow import config as settings


class FakeConfig:
    """What `tf.config` remembers on a machine with two GPUs; it refuses what TensorFlow refuses.

    Args:
        limits_mib: What each logical device of a GPU may take, by the number of the GPU.
    """

    def __init__(self, limits_mib=None):
        self.gpus = [SimpleNamespace(name=f"/physical_device:GPU:{number}") for number in (0, 1)]
        self.visible, self.grow, self.parts, self.threads = self.gpus, {}, {}, []
        for number, limits in (limits_mib or {}).items():
            self.parts[self.gpus[number].name] = [SimpleNamespace(memory_limit=limit) for limit in limits]
        self.experimental = SimpleNamespace(set_memory_growth=self._set_memory_growth)
        self.threading = SimpleNamespace(
            get_inter_op_parallelism_threads=lambda: 2,
            get_intra_op_parallelism_threads=lambda: 3,
            set_inter_op_parallelism_threads=self.threads.append,
            set_intra_op_parallelism_threads=self.threads.append,
        )

    def list_physical_devices(self, kind):
        return self.gpus

    def get_visible_devices(self, kind):
        return self.visible

    def set_visible_devices(self, gpus, kind):
        self.visible = gpus

    def get_logical_device_configuration(self, gpu):
        return self.parts.get(gpu.name)

    def set_logical_device_configuration(self, gpu, parts):
        self.parts[gpu.name] = parts

    def limits_mib(self):
        return {name[-1]: [part.memory_limit for part in parts] for name, parts in self.parts.items()}

    def require_startable(self):
        """What TensorFlow's context asks of growth when it is made."""
        growth = {self.grow.get(gpu.name) for gpu in self.visible}
        if not self.parts and len(growth) > 1:
            raise ValueError("Memory growth cannot differ between GPU devices")

    def _set_memory_growth(self, gpu, *, enable):
        if gpu.name in self.parts:
            raise ValueError("Cannot set memory growth on device when virtual devices configured")
        self.grow[gpu.name] = enable


def handed_over(caller):
    """The worker's configuration and environment, after what the caller's process has read came over as JSON."""
    worker, environ = FakeConfig(), {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    settings.write_settings(json.loads(json.dumps(settings.read_settings(caller))), worker, environ)
    worker.require_startable()
    return worker, environ


@pytest.mark.parametrize("limits_mib", [{}, {0: [4096]}, {1: [512, 1024]}, {0: [4096], 1: [4096]}])
def test_a_worker_has_the_limits_of_its_caller(limits_mib):
    """Seen to fail with growth asked for beside a limit, which TensorFlow refuses, and with no limit handed over."""
    worker, _ = handed_over(FakeConfig(limits_mib))
    assert worker.limits_mib() == {str(number): limits for number, limits in limits_mib.items()}
    assert set(worker.grow.values()) <= {True}
    assert bool(worker.grow) is not bool(limits_mib)


@pytest.mark.parametrize("limits_mib", [{}, {0: [4096]}])
def test_a_worker_takes_memory_as_it_needs_it_whatever_the_environment_says(limits_mib):
    """Seen to fail with the variable left alone: with a limit the worker takes all of that at its start."""
    _, environ = handed_over(FakeConfig(limits_mib))
    assert environ == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def test_a_worker_sees_the_gpus_that_its_caller_uses_and_no_other():
    caller = FakeConfig({0: [4096]})
    caller.visible = caller.gpus[1:]
    worker, _ = handed_over(caller)
    assert [gpu.name[-1] for gpu in worker.visible] == ["1"]
    assert (worker.parts, list(worker.grow)) == ({}, [caller.gpus[1].name])
    assert worker.threads == [2, 3]
