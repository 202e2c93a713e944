"""When a run is saved."""

from dataclasses import replace

import pytest
from surroundings import Clock, FailingDisk, Numbered, full_disk, small_net

from autobatch.backend import engine_for
from autobatch.train.checkpoint.saver import InFlightJournal, Saver
from autobatch.train.checkpoint.store import CheckpointState, CheckpointStore

STATE = CheckpointState(0, 1, 0, 8, 8, None, 5, 20)


class Saves:
    """Stands for a checkpoint; counts."""

    def __init__(self, error=None):
        self.saved, self.cleared, self._error = 0, 0, error

    def save(self, model, state):
        self.saved += 1
        self.state = state
        if self._error is not None:
            raise self._error

    def clear(self):
        self.cleared += 1
        if self._error is not None:
            raise self._error


def kept(error=None, every_s=60.0):
    clock, notes = Clock(), []
    saves = Saves(error)
    return Saver(saves, every_s, note=notes.append, clock=clock), saves, clock, notes


def test_it_is_due_after_an_interval_and_again_after_the_next():
    saver, _, clock, _ = kept()
    for _ in range(3):
        assert not saver.due
        clock.now_s += 59.9
        assert not saver.due
        clock.now_s += 0.1
        assert saver.due
        saver.save(None, STATE)


def test_what_is_urgent_is_due_at_the_next_update_but_not_again_and_again():
    """Seen to fail with every shrink saved at once: saving would take longer than training."""
    saver, _, clock, _ = kept()
    clock.now_s = 10.0
    saver.hurry()
    assert saver.due
    saver.save(None, STATE)
    assert not saver.due
    saver.hurry()
    clock.now_s = 19.9
    assert not saver.due
    clock.now_s = 20.0
    assert saver.due


def test_what_is_urgent_never_makes_a_short_interval_longer():
    saver, _, clock, _ = kept(every_s=1.0)
    saver.hurry()
    clock.now_s = 1.0
    assert saver.due


def test_a_save_that_fails_is_said_and_tried_again_after_the_interval():
    """Seen to fail with the error passed on, and with a save tried at every update."""
    saver, saves, clock, notes = kept(OSError(28, "No space left on device"))
    clock.now_s = 60.0
    saver.save(None, STATE)
    assert not saver.due
    assert saves.saved == 1
    assert "No space left on device" in notes[0]


def test_what_is_no_error_of_the_disk_passes():
    saver, *_ = kept(ValueError("no bytes"))
    with pytest.raises(ValueError, match="no bytes"):
        saver.save(None, STATE)


def test_when_all_is_done_it_is_removed():
    saver, saves, *_ = kept()
    saver.finish(None, STATE)
    assert (saves.saved, saves.cleared) == (0, 1)


def test_a_lasting_run_is_saved_as_finished_and_what_was_running_is_forgotten(tmp_path):
    """Seen to fail with the checkpoint removed."""
    saves, journal = Saves(), InFlightJournal(tmp_path)
    journal.write(8)
    Saver(saves, 60.0, journal, lasting=True).finish(None, STATE)
    assert (saves.state, saves.cleared) == (replace(STATE, finished=True), 0)
    assert journal.read() is None


@pytest.mark.parametrize(
    ("bound", "learned", "kept"), [(None, None, None), (8, None, 8), (None, 4, 4), (8, 4, 4), (2, 4, 2)]
)
def test_the_tightest_bound_and_what_the_run_was_begun_with_are_saved(bound, learned, kept):
    """Seen to fail with the bound of a restart left out."""
    saves = Saves()
    saver = Saver(saves, 60.0, run={"shuffle": True}, max_micro_batch_size=bound)
    saver.save(None, replace(STATE, max_micro_batch_size=learned))
    assert (saves.state.max_micro_batch_size, saves.state.run) == (kept, {"shuffle": True})


def test_what_cannot_be_removed_is_said():
    saver, _, _, notes = kept(PermissionError(13, "Permission denied"))
    saver.finish(None, STATE)
    assert "could not be removed" in notes[0]


def test_on_a_full_disk_the_save_before_stays_whole(tmp_path):
    """Seen to fail with the file written in place."""
    model = small_net()
    engine_for(model, Numbered(20).read([0, 1], 0))
    whole = CheckpointStore(tmp_path)
    whole.save(model, STATE)
    notes = []
    # The last of it does not fit any more, when most is written.
    disk = FailingDisk(lambda operation: full_disk(operation) if operation == "sync" else None)
    saver = Saver(CheckpointStore(tmp_path, disk), 1.0, note=notes.append, clock=Clock())
    saver.save(model, CheckpointState(0, 2, 0, 16, 8, None, 5, 20))
    assert whole.load().state == STATE
    assert len(notes) == 1
