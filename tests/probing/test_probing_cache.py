"""The cache saves time or does nothing: it never fails a probe, and never gives a wrong answer."""

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probing.cache import Cache, cache_key, default_folder

KEY = cache_key({"model": "a"})
VALUE = {"batch_size": 384, "notes": ["ü"]}


def entry(tmp_path: Path) -> Path:
    return tmp_path / f"{KEY}.json"


def test_what_is_kept_is_found(tmp_path):
    assert Cache(tmp_path / "new" / "folder").put(KEY, VALUE) is None
    assert Cache(tmp_path / "new" / "folder").get(KEY) == VALUE


def test_what_is_not_kept_is_not_found(tmp_path):
    assert Cache(tmp_path / "nowhere").get(KEY) is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"7",
        b"[" * 100_000,
        json.dumps({"schema": 999, "key": KEY, "value": VALUE}).encode(),
        json.dumps({"schema": 1, "key": "0" * 64, "value": VALUE}).encode(),
        json.dumps({"schema": 1, "key": KEY, "value": [1]}).encode(),
        json.dumps({"schema": 1, "key": KEY}).encode(),
    ],
)
def test_an_entry_that_cannot_be_trusted_is_a_miss_and_can_be_replaced(tmp_path, text):
    entry(tmp_path).write_bytes(text)
    assert Cache(tmp_path).get(KEY) is None
    assert Cache(tmp_path).put(KEY, VALUE) is None
    assert Cache(tmp_path).get(KEY) == VALUE


def test_an_entry_cut_anywhere_is_a_miss(tmp_path):
    Cache(tmp_path).put(KEY, VALUE)
    whole = entry(tmp_path).read_bytes()
    for count in range(len(whole)):
        entry(tmp_path).write_bytes(whole[:count])
        assert Cache(tmp_path).get(KEY) is None


def test_a_folder_in_place_of_the_entry_is_a_miss_and_a_remark_and_leaves_no_draft(tmp_path):
    """Seen to fail without the removal of the draft."""
    (entry(tmp_path) / "full").mkdir(parents=True)
    assert Cache(tmp_path).get(KEY) is None
    remark = Cache(tmp_path).put(KEY, VALUE)
    assert remark is not None
    assert str(tmp_path) in remark
    assert os.listdir(tmp_path) == [entry(tmp_path).name]  # noqa: PTH208 - hidden drafts count


def test_a_file_in_place_of_the_folder_is_a_remark(tmp_path):
    (tmp_path / "file").write_text("")
    remark = Cache(tmp_path / "file").put(KEY, VALUE)
    assert remark is not None
    assert "cannot be written" in remark


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_remark(tmp_path):
    tmp_path.chmod(0o500)
    assert Cache(tmp_path).put(KEY, VALUE) is not None


def test_readers_never_see_half_an_entry_while_it_is_replaced(tmp_path):
    """Seen to fail with `path.write_bytes` in place of the draft and its renaming."""
    cache, stop, misses = Cache(tmp_path), threading.Event(), []
    long = {"text": "x" * 200_000}
    cache.put(KEY, long)

    def read() -> None:
        while not stop.is_set():
            misses.append(cache.get(KEY) is None)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        cache.put(KEY, long)
    stop.set()
    reader.join()
    assert misses
    assert not any(misses)


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_only_keys_are_keys(tmp_path, key):
    with pytest.raises(ValueError, match="Received: key="):
        Cache(tmp_path).get(key)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers()), min_size=1), st.data())
def test_a_key_changes_when_any_part_does_and_only_then(parts, data):
    shuffled = dict(data.draw(st.permutations(list(parts.items()))))
    assert cache_key(shuffled) == cache_key(parts)
    name = data.draw(st.sampled_from(sorted(parts)))
    assert cache_key({**parts, name: {"changed": parts[name]}}) != cache_key(parts)
    assert cache_key({**parts, name + "'": 0}) != cache_key(parts) or name + "'" in parts


def test_parts_without_a_stable_text_are_refused():
    with pytest.raises(TypeError):
        cache_key({"model": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        cache_key({"reserve": float("nan")})


def test_the_environment_chooses_the_folder(tmp_path):
    assert default_folder({"AUTOBATCH_CACHE_DIR": str(tmp_path)}) == tmp_path
    assert default_folder({}).name == "autobatch"
