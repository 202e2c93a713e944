"""TensorFlow's greeting is kept from the user; an error's last words are not."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from autobatch.cli.console import held_back

OPEN = Path("/proc/self/fd")


def write(descriptor, error):
    with held_back(descriptor):
        os.write(descriptor, b"greeting ")
        if error is not None:
            raise error
    os.write(descriptor, b"after")


@pytest.mark.parametrize(
    ("error", "seen"), [(None, b"after"), (RuntimeError, b"greeting "), (KeyboardInterrupt, b"")], ids=str
)
def test_what_is_written_is_let_out_only_after_an_error(error, seen):
    """Seen to fail without the release, with a release whatever happens, and with one at Ctrl-C."""
    with tempfile.TemporaryFile() as stream:
        with suppress(RuntimeError, KeyboardInterrupt):
            write(stream.fileno(), error)
        stream.seek(0)
        assert stream.read() == seen


@pytest.mark.skipif(not OPEN.is_dir(), reason="there is no list of open descriptors here")
@pytest.mark.parametrize("error", [None, RuntimeError])
def test_no_descriptor_is_left_open(error):
    before = len(list(OPEN.iterdir()))
    with tempfile.TemporaryFile() as stream, suppress(RuntimeError):
        write(stream.fileno(), error)
    assert len(list(OPEN.iterdir())) == before
