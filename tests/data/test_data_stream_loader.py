import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.data.adapters.batch_generator import BatchGeneratorStream
from autobatch.data.batch import Batch
from autobatch.data.prefetch.stream_loader import StreamLoader
from autobatch.errors import ArgumentError, DataError


class Cards:
    """A stream of numbered samples in batches of the given sizes; each pass counts on from 1000 times its number."""

    def __init__(self, sizes, *, repeatable=True, error_after=None, told=False):
        self.sizes, self.repeatable, self.error_after = sizes, repeatable, error_after
        self.read, self.closed, self.told = 0, 0, []
        if told:
            self.begin = lambda epoch: self.told.append(f"begin {epoch}")
            self.end = lambda epoch: self.told.append(f"end {epoch}")

    seed, sample_bytes, batches = 3, 16, None

    def few(self):
        return Batch(np.arange(1), np.arange(1))

    def open(self, epoch):
        start = 1000 * epoch
        try:
            for number, size in enumerate(self.sizes):
                if number == self.error_after:
                    raise KeyError("the user's own")
                self.read += 1
                yield Batch(np.arange(start, start + size), np.full(size, epoch))
                start += size
        finally:
            self.closed += 1


def stream_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("autobatch-stream")]


def until(condition):
    """Waits for what another thread does."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


BATCHES = st.lists(st.integers(1, 17), min_size=1, max_size=12)


@settings(deadline=None)
@given(sizes=BATCHES, wanted=st.lists(st.integers(1, 40), min_size=1, max_size=8), bound=st.integers(1, 600))
def test_any_takes_get_each_sample_of_a_pass_once_and_in_order(sizes, wanted, bound):
    """Seen to fail with the rest of a split batch dropped, and with a batch left in the queue when it is used up."""
    passes, turn = [[], [], []], 0
    with StreamLoader(Cards(sizes), passes=3, max_bytes=bound) as loader:
        while size := loader.window(wanted[turn % len(wanted)]):
            batch = loader.take(size)
            passes[loader.epoch].extend(batch.x.tolist())
            assert set(batch.y.tolist()) == {loader.epoch}
            turn += 1
    assert passes == [list(range(1000 * epoch, 1000 * epoch + sum(sizes))) for epoch in range(3)]


@settings(deadline=None)
@given(
    sizes=BATCHES,
    effective=st.integers(1, 60),
    micro=st.integers(1, 20),
    bound=st.integers(1, 400),
)
def test_a_short_last_update_is_known_before_its_first_micro_batch(sizes, effective, micro, bound):
    """Seen to fail with `window` answered from the batches that happen to be there."""
    windows, total = [], sum(sizes)
    with StreamLoader(Cards(sizes), passes=1, max_bytes=bound) as loader:
        while size := loader.window(effective):
            windows.append(size)
            for start in range(0, size, micro):
                loader.take(min(micro, size - start))
    assert windows == [min(effective, total - start) for start in range(0, total, effective)]


def test_where_it_stands():
    """Seen to fail with the epoch counted on when the end of a pass is found."""
    with StreamLoader(Cards([3, 2]), passes=2, start_epoch=5) as loader:
        assert (loader.epoch, loader.position, loader.ended) == (5, 0, False)
        loader.take(4)
        assert (loader.epoch, loader.position, loader.ended) == (5, 4, False)
        loader.take(1)
        assert (loader.epoch, loader.position, loader.ended) == (5, 5, True)
        assert loader.window(4) == 4
        assert (loader.epoch, loader.position, loader.ended) == (5, 5, True)
        loader.take(2)
        assert (loader.epoch, loader.position, loader.ended) == (6, 2, False)


def test_a_batch_never_spans_two_passes():
    with StreamLoader(Cards([3, 2])) as loader:
        loader.take(4)
        with pytest.raises(ArgumentError, match=r"has 1 samples left.*Received: number=2\. Expected at most 1"):
            loader.take(2)
        assert loader.take(1).x.tolist() == [4]


def test_after_the_last_pass_there_is_nothing():
    with StreamLoader(Cards([3]), passes=1) as loader:
        loader.take(3)
        assert loader.ended
        assert loader.window(8) == 0
        with pytest.raises(ArgumentError, match=r"last pass \(epoch 0\) is used up"):
            loader.take(1)


def test_what_cannot_be_repeated_has_one_pass():
    """Seen to fail with `repeatable` left unread: a DataError of the empty second pass."""
    with StreamLoader(Cards([3], repeatable=False)) as loader:
        loader.take(3)
        assert loader.window(8) == 0


def test_an_empty_pass_is_an_error_and_no_endless_loop():
    """Seen to hang without the check."""
    with StreamLoader(Cards([])) as loader, pytest.raises(DataError, match="no samples in pass 0"):
        loader.window(8)


@settings(deadline=None)
@given(error_after=st.integers(0, 5), take=st.integers(1, 9))
def test_an_error_is_raised_unchanged_at_its_place(error_after, take):
    """Seen to fail with the error raised as soon as it is there."""
    taken, good = [], 4 * error_after
    with StreamLoader(Cards([4] * 6, error_after=error_after)) as loader:
        while len(taken) + take <= good:
            assert loader.window(take) == take
            taken.extend(loader.take(take).x.tolist())
        for ask in (loader.take, loader.window, loader.take):
            with pytest.raises(KeyError, match="the user's own"):
                ask(take)
        if good > len(taken):
            taken.extend(loader.take(good - len(taken)).x.tolist())
        assert taken == list(range(good))
        assert not loader.ended


def test_what_waits_stays_within_the_bound():
    """Seen to fail with the batch that is being read left out of the sum."""
    stream = Cards([4] * 50)  # 64 bytes a batch
    with StreamLoader(stream, passes=1, max_bytes=200) as loader:
        assert until(lambda: stream.read == 3)
        for _ in range(20):
            assert loader.bytes_ahead <= 200
            loader.take(4)
    assert stream.read <= 24


def test_one_batch_is_always_allowed_and_an_update_as_many_as_it_takes():
    """Seen to hang with the bound kept while `window` waits."""
    with StreamLoader(Cards([4] * 10), passes=1, max_bytes=1) as loader:
        assert loader.window(30) == 30
        assert loader.bytes_ahead == 8 * 64


def test_tiny_batches_are_not_read_ahead_for_ever():
    """Seen to fail with bytes as the only bound."""
    stream = Cards([1] * 5000)
    with StreamLoader(stream) as loader:
        loader.take(1)
    assert stream.read < 40


def test_a_batch_that_need_not_be_joined_is_not_copied():
    kept = []
    stream = Cards([4, 4])
    opened = stream.open
    stream.open = lambda epoch: (kept.append(batch) or batch for batch in opened(epoch))
    with StreamLoader(stream, passes=1) as loader:
        assert loader.take(4).x is kept[0].x
        assert np.shares_memory(loader.take(2).x, kept[1].x)


def test_batches_in_different_forms_are_refused():
    """Seen to fail without the check: an error of numpy's."""
    batches = (Batch(np.zeros((2, length))) for length in (3, 3, 5))
    stream = Cards([])
    stream.open = lambda epoch: batches
    with StreamLoader(stream) as loader:
        loader.take(4)
        with pytest.raises(DataError, match=r"Received: x: float64 \(5,\).*x: float64 \(3,\)"):
            loader.take(1)


def test_numbers_of_the_same_kind_are_cast_to_the_first_batches():
    stream = Cards([])
    stream.open = lambda epoch: iter([Batch(np.zeros(2, np.float32)), Batch(np.ones(2))])
    with StreamLoader(stream, passes=1) as loader:
        assert loader.take(4).x.dtype == np.float32


def test_closing_leaves_no_thread_and_ends_what_was_open():
    """Seen to fail with the thread not woken: `close` hangs."""
    stream = Cards([4] * 1000)
    loader = StreamLoader(stream, max_bytes=100)
    loader.take(2)
    until(lambda: loader._ahead._changed._waiters)  # the thread has read what it may
    loader.close()
    assert stream_threads() == []
    assert stream.closed == 1
    with pytest.raises(ArgumentError, match="closed"):
        loader.take(1)


def test_a_loader_that_is_dropped_leaves_no_thread():
    """Seen to fail with a thread that holds the loader."""
    loader = StreamLoader(Cards([4] * 1000), max_bytes=100)
    loader.take(2)
    del loader
    gc.collect()
    assert until(lambda: not stream_threads())


def test_closing_waits_for_the_batch_in_work_alone():
    entered, go_on = threading.Event(), threading.Event()

    def generate():
        yield np.zeros(2)
        entered.set()
        go_on.wait(20)
        yield np.ones(2)
        raise AssertionError("one too many")

    generator = generate()
    with StreamLoader(BatchGeneratorStream(generator)) as loader:
        loader.take(2)
        entered.wait(20)
        threading.Timer(0.05, go_on.set).start()
    assert stream_threads() == []


def test_a_generator_can_be_gone_on_with_afterwards():
    """Seen to fail with the user's generator closed."""
    generator = (np.full(2, number) for number in range(1000))
    with StreamLoader(BatchGeneratorStream(generator), max_bytes=64) as loader:
        loader.take(3)
    assert next(generator)[0] < 8


def test_passes_are_told_in_step_with_the_training():
    """Seen to fail with `end` called as soon as the pass has been read, and with `begin` before it is asked for."""
    stream = Cards([2, 2], told=True)
    with StreamLoader(stream, passes=2) as loader:
        assert stream.told == []
        loader.take(3)
        assert stream.told == ["begin 0"]
        loader.take(1)
        assert loader.ended
        assert until(lambda: stream.told == ["begin 0", "end 0"])
        loader.window(1)
        assert stream.told == ["begin 0", "end 0", "begin 1"]
        loader.take(4)
        assert loader.ended
    assert stream.told == ["begin 0", "end 0", "begin 1", "end 1"]


def test_a_pass_that_is_broken_off_does_not_end():
    stream = Cards([2, 2], told=True)
    with StreamLoader(stream) as loader:
        loader.take(3)
    assert stream.told == ["begin 0"]


@pytest.mark.parametrize("wrong", [{"passes": 0}, {"max_bytes": 0}])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(ArgumentError, match=r"Received: \w+=0\. Expected a whole number of at least 1"):
        StreamLoader(Cards([1]), **wrong)


class Stuck(Cards):
    """After its first batch it waits until it is let go."""

    def __init__(self):
        super().__init__([2], told=True)
        self.entered, self.go_on, self.shut = threading.Event(), threading.Event(), 0

    def open(self, epoch):
        yield Batch(np.zeros(2))
        self.entered.set()
        self.go_on.wait(60)

    def close(self):
        self.shut += 1


def leave_by_interrupt(stream):
    with StreamLoader(stream, passes=1) as loader:
        loader.take(2)
        stream.entered.wait(20)
        raise KeyboardInterrupt


@pytest.mark.timeout(40)
def test_an_interrupt_does_not_wait_for_a_generator_that_is_stuck():
    """Seen to fail (it hangs until the generator goes on) with `join` without a limit."""
    stream = Stuck()
    try:
        with pytest.raises(KeyboardInterrupt):
            leave_by_interrupt(stream)
        assert len(stream_threads()) == 1
        assert stream.shut == 0
    finally:
        stream.go_on.set()
    assert until(lambda: not stream_threads())


def test_an_interrupt_leaves_no_thread_where_nothing_is_stuck():
    stream = Stuck()
    stream.go_on.set()
    with pytest.raises(KeyboardInterrupt):
        leave_by_interrupt(stream)
    assert stream_threads() == []
    assert stream.shut == 1
