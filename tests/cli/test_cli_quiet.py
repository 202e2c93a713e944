"""TensorFlow's greeting is kept from the user; an error's last words are not."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from autobatch.cli.quiet import held_back

OPEN = Path("/proc/self/fd")


def write(descriptor, fails):
    with held_back(descriptor):
        os.write(descriptor, b"greeting ")
        if fails:
            raise RuntimeError
    os.write(descriptor, b"after")


@pytest.mark.parametrize(("fails", "seen"), [(False, b"after"), (True, b"greeting ")])
def test_what_is_written_is_let_out_only_after_an_error(fails, seen):
    """Seen to fail without the release, and with a release whatever happens."""
    with tempfile.TemporaryFile() as stream:
        with suppress(RuntimeError):
            write(stream.fileno(), fails)
        stream.seek(0)
        assert stream.read() == seen


@pytest.mark.skipif(not OPEN.is_dir(), reason="there is no list of open descriptors here")
@pytest.mark.parametrize("fails", [False, True])
def test_no_descriptor_is_left_open(fails):
    before = len(list(OPEN.iterdir()))
    with tempfile.TemporaryFile() as stream, suppress(RuntimeError):
        write(stream.fileno(), fails)
    assert len(list(OPEN.iterdir())) == before
