"""A temporary checkpoint goes to a disk where there is one."""

import pytest

from autobatch.cli.supervisor.supervise import is_in_memory, scratch_folder

MOUNTS = """/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/disk ext4 rw 0 0
ramfs /ram ramfs rw 0 0
odd
"""


@pytest.fixture
def mounts(tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS)
    return tmp_path / "mounts"


@pytest.mark.parametrize(
    ("folder", "in_memory"),
    [
        ("/tmp", True),
        ("/tmp/a/b", True),
        ("/tmp/disk/a", False),
        ("/tmpfoo", False),
        ("/ram", True),
        ("/home/me", False),
    ],
)
def test_the_innermost_mount_decides(folder, in_memory, mounts):
    """Seen to fail with the names compared without the slash, and with the first mount that fits."""
    assert is_in_memory(folder, mounts) == in_memory


def test_where_there_is_no_list_of_mounts_nothing_is_known_to_be_in_memory(tmp_path):
    assert not is_in_memory("/tmp", tmp_path / "none")


def scratch(monkeypatch, tmp_path, kinds, environ=None, other="other"):
    places = {name: tmp_path / name for name in ("usual", "other")}
    for place in places.values():
        place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places["usual"]))
    lines = [f"x {place} {kind} rw 0 0" for place, kind in zip(places.values(), kinds, strict=True)]
    (tmp_path / "mounts").write_text("\n".join(lines))
    found = scratch_folder(environ or {}, tmp_path / "mounts", str(tmp_path / other))
    return found.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("kinds", "options", "expected"),
    [
        (("ext4", "ext4"), {}, "usual"),
        (("tmpfs", "ext4"), {}, "other"),
        (("tmpfs", "tmpfs"), {}, "usual"),
        (("tmpfs", "ext4"), {"environ": {"TMPDIR": "/anywhere"}}, "usual"),
        (("tmpfs", "ext4"), {"other": "missing"}, "usual"),
    ],
    ids=str,
)
def test_it_is_on_a_disk_unless_the_user_says_otherwise(kinds, options, expected, monkeypatch, tmp_path):
    """Seen to fail with the usual folder in any case."""
    assert scratch(monkeypatch, tmp_path, kinds, **options) == expected
