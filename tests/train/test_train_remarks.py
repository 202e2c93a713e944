"""What counts as a step is said where one might think otherwise, and nowhere else."""

import pytest

from autobatch.train.remarks import few_updates_remarks, step_remarks


@pytest.mark.parametrize(
    ("stream", "steps", "said"),
    [
        (False, None, []),
        (False, 5, []),
        (True, None, []),
        (True, 5, ["steps_per_epoch=5 counts updates of 32 samples"]),
    ],
)
def test_what_a_step_is(stream, steps, said):
    notes = step_remarks(stream=stream, effective=32, steps_per_epoch=steps)
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("updates", "chosen", "said"),
    [(9, True, "9 updates"), (1, True, "1 update "), (10, True, None), (9, False, None), (None, True, None)],
)
def test_a_size_that_leaves_few_updates_is_said_unless_it_was_asked_for(updates, chosen, said):
    notes = few_updates_remarks(updates, 256, chosen=chosen)
    assert [said in note for note in notes] == ([True] if said else [])
