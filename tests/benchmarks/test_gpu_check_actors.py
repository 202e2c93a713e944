"""The actors of the checks on a GPU, on a driver with a finite card: what is not there is refused."""

import ctypes
import itertools
import json

import pytest
from gpu_check import actors
from gpu_check.actors import Cuda, Host, OutOfMemoryError

MIB = 1 << 20


class FakeDriver:
    """libcuda with a finite card: what is not there is refused with the driver's own code."""

    def __init__(self, total=8 * MIB, spoils=False):
        self.total, self.spoils, self.taken = total, spoils, {}
        self._places = itertools.count(1 << 32)

    def __getattr__(self, name):
        if name in ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuCtxSynchronize"):
            return lambda *_: 0
        raise AttributeError(name)

    def cuMemAlloc_v2(self, pointer, size):  # noqa: N802 - the driver's name
        if sum(self.taken.values()) + size.value > self.total:
            return 2
        pointer._obj.value = next(self._places)
        self.taken[pointer._obj.value] = size.value
        return 0

    def cuMemFree_v2(self, pointer):  # noqa: N802
        del self.taken[pointer.value]
        return 0

    def cuMemsetD8_v2(self, *_):  # noqa: N802
        return 0

    def cuMemcpyDtoH_v2(self, page, _, size):  # noqa: N802
        ctypes.memset(page, 0 if self.spoils else 0xA5, size.value)
        return 0


def test_a_bystander_ends_at_the_first_time_that_it_is_refused(capsys):
    """Seen to fail with a bystander that tries again."""
    driver = FakeDriver()
    memory = Cuda(driver)
    others = memory.take(6 * MIB)
    assert actors.churn(memory, {"amount": 4 * MIB}) == actors.FAILED
    assert json.loads(capsys.readouterr().out)["kind"] == "failed"
    assert list(driver.taken) == [others[0]]
    assert actors.churn(Cuda(FakeDriver(spoils=True)), {"amount": MIB}) == actors.FAILED
    assert json.loads(capsys.readouterr().out)["kind"] == "spoiled"


def test_a_neighbour_takes_the_last_of_a_card_and_gives_all_of_it_back(capsys):
    """Seen to fail with steps of one size: a training that left less than that free was never pressed."""
    driver = FakeDriver()
    part = {"amount": 64 * MIB, "rate": 64 * MIB, "hold_s": 0.0, "patience_s": 0.1}
    assert actors.take(Cuda(driver), part) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert max(event["held"] for event in said) == driver.total
    assert driver.taken == {}


def test_a_search_by_running_out_takes_all_there_is_and_what_others_let_go_of_until_it_is_told_to_stop(
    capsys, tmp_path, monkeypatch
):
    """Seen to fail with a search that ends once there is no more."""
    driver = FakeDriver()
    others = [Cuda(driver).take(2 * MIB)]

    def later(_):
        if others:
            Cuda(driver).give(others.pop())
        elif sum(driver.taken.values()) == driver.total:
            (tmp_path / "stop").touch()

    monkeypatch.setattr(actors.time, "sleep", later)
    assert actors.search(Cuda(driver), {"amount": MIB, "stop": str(tmp_path / "stop")}) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["held"] == driver.total
    with pytest.raises(OutOfMemoryError):
        Cuda(driver).take(driver.total + 1)


def test_a_group_that_stands_for_a_gpu_refuses_before_the_kernel_kills(tmp_path):
    """Seen to fail with the last bytes given away: whoever asked next, within a step, was killed."""
    (tmp_path / "memory.max").write_text(str(1024 * MIB), encoding="utf-8")
    (tmp_path / "memory.stat").write_text(f"anon {800 * MIB}\nfile {200 * MIB}\n", encoding="utf-8")
    memory = Host(tmp_path)
    handle = memory.take(3 * MIB + 4096)
    assert memory.is_intact(handle)
    memory.give(handle)
    with pytest.raises(OutOfMemoryError):
        memory.take(100 * MIB)
