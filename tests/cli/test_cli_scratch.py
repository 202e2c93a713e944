"""A temporary checkpoint goes to a disk where there is one."""

import pytest

from autobatch.cli.supervisor.supervise import scratch_folder


def scratch(monkeypatch, tmp_path, kinds, environ=None, other="other"):
    places = {name: tmp_path / name for name in ("usual", "other")}
    for place in places.values():
        place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places["usual"]))
    (tmp_path / "self").mkdir()
    lines = [f"1 0 0:1 / {place} rw - {kind} x rw\n" for place, kind in zip(places.values(), kinds, strict=True)]
    (tmp_path / "self/mountinfo").write_text("".join(lines))
    found = scratch_folder(environ or {}, tmp_path, str(tmp_path / other))
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
