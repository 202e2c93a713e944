"""Which GPU steps run on, what of it TensorFlow may take, and whether it takes all of that at once."""

from types import SimpleNamespace

import pytest

from autobatch.backend.base import Accelerator
from autobatch.backend.tensorflow.allocator import accelerator

GIB = 2**30


class FakeConfig:
    """What `tf.config` says on a machine with two GPUs.

    Args:
        visible: The numbers of those that TensorFlow is to use, in the order in which a program has named them.
        limits_mib: What each logical device of a GPU may take, by the number of the GPU.
        growth: What a program has said of growth.
        in_use_bytes: What tensors take on the first logical device, `None` where nobody counts.
    """

    def __init__(self, visible, limits_mib=None, growth=None, in_use_bytes=0):
        self._visible, self._limits_mib = visible, limits_mib or {}
        self._in_use_bytes = in_use_bytes
        self.experimental = SimpleNamespace(get_memory_growth=lambda gpu: growth, get_memory_info=self._info)

    def list_logical_devices(self, kind):
        return [f"{kind}:{place}" for place, _ in enumerate(self._visible)]

    def get_visible_devices(self, kind):
        return [SimpleNamespace(name=f"/physical_device:{kind}:{number}") for number in self._visible]

    def get_logical_device_configuration(self, gpu):
        limits = self._limits_mib.get(int(gpu.name[-1]))
        return None if limits is None else [SimpleNamespace(memory_limit=limit) for limit in limits]

    def _info(self, device):
        assert device == "GPU:0", "the first logical one, whatever the driver's number"
        if self._in_use_bytes is None:
            raise ValueError("no statistics")
        return {"current": self._in_use_bytes, "peak": self._in_use_bytes + 1}


def test_without_a_gpu_there_is_no_accelerator():
    assert accelerator(FakeConfig([])) is None


@pytest.mark.parametrize(("visible", "number"), [([0, 1], 0), ([1], 1), ([1, 0], 0)])
def test_its_number_is_the_drivers(visible, number):
    """Seen to fail with TensorFlow's own, 0 for the only one it uses, and with the first that was named."""
    found = accelerator(FakeConfig(visible), {})
    assert (found.name, found.number) == ("GPU:0", number)


def test_a_limit_that_was_set_for_it_is_told_and_no_other():
    """Seen to fail with the limit in MiB, and with that of another GPU."""
    assert accelerator(FakeConfig([0], {0: [4096]}), {}).limit_bytes == 4 * GIB
    assert accelerator(FakeConfig([0], {0: [1024, 2048]}), {}).limit_bytes == GIB
    assert accelerator(FakeConfig([0], {1: [4096]}), {}).limit_bytes is None


@pytest.mark.parametrize(
    ("growth", "forced", "grows"),
    [
        (None, None, False),
        (True, None, True),
        (True, "false", False),
        (None, "true", True),
        (True, "no", True),
        (None, "1", False),
    ],
)
def test_it_grows_as_the_environment_says_and_else_as_the_program_does(growth, forced, grows):
    """Seen to fail with the program's word alone."""
    environ = {} if forced is None else {"TF_FORCE_GPU_ALLOW_GROWTH": forced}
    assert accelerator(FakeConfig([0], growth=growth), environ).grows is grows


def test_what_tensors_take_is_counted_where_the_allocator_counts():
    assert accelerator(FakeConfig([1], in_use_bytes=5), {}) == Accelerator("GPU:0", 1, 5, None, grows=False)
    assert accelerator(FakeConfig([1], in_use_bytes=None), {}).in_use_bytes == 0
