"""Processes with a limit on a device: what somebody has set gives way to it, and what fails is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import hard_budget as capped


def test_what_somebody_has_set_gives_way_to_the_limit(monkeypatch):
    """Seen to fail with the environment as it is: with growth, a pool takes its memory in pieces."""
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    monkeypatch.setenv("TF_GPU_ALLOCATOR", "cuda_malloc_async")
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in capped.environment("gpu", 700)
    assert "TF_GPU_ALLOCATOR" not in capped.environment("gpu", 700)
    assert capped.environment("gpu", 700, "cuda_malloc_async")["TF_GPU_ALLOCATOR"] == "cuda_malloc_async"
    assert capped.environment("cpu", 700)["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == "700"


def test_a_cpu_hides_the_gpus_and_a_gpu_keeps_those_that_somebody_chose(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert capped.environment("cpu", 700)["CUDA_VISIBLE_DEVICES"] == "-1"
    assert capped.environment("gpu", 700)["CUDA_VISIBLE_DEVICES"] == "1"


@given(st.integers(-5, 10 * 2**30))
def test_pieces_are_all_of_it_and_none_is_large(size):
    pieces = list(capped.pieces(size))
    assert sum(pieces) == max(0, size)
    assert all(0 < piece <= 2**30 for piece in pieces)


def test_a_program_that_fails_is_told_with_its_last_words(tmp_path):
    program = tmp_path / "failing.py"
    program.write_text("raise SystemExit('no room at all')", encoding="utf-8")
    with pytest.raises(RuntimeError, match="status 1: no room at all"):
        capped.told_by(str(program), [], "cpu", 700, "bfc")
