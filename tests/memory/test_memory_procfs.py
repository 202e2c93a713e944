"""Host, process and pressure, from recorded files."""

import pytest

from autobatch.memory.sensors.cgroup import GroupFolders, parse_pressure, read_pressure
from autobatch.memory.sensors.procfs import (
    parse_fields,
    parse_number,
    peak_rss_bytes,
    read_host,
    read_process,
    read_text,
    reset_peak_rss,
    rss_from_psutil,
)
from autobatch.memory.types import HostMemory, Pressure, ProcessMemory

PSI = "some avg10=1.50 avg60=0.20 avg300=0.00 total=7\nfull avg10=0.75 avg60=0.00 avg300=0.00 total=3\n"


def test_host_memory_comes_from_meminfo(tree):
    proc, _ = tree({"proc/meminfo": "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  600 kB\nHugePages_Total: 0\n"})
    assert read_host(proc) == (HostMemory(1_024_000, 614_400), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal: 1000 kB\nMemFree: 10 kB\n", HostMemory(1_024_000, 10_240)),
        ("MemTotal: 1000 kB\nMemFree: lots\n", HostMemory(1_024_000, 0)),
        ("MemTotal: 1000 kB\nMemAvailable: -5 kB\nMemFree: 10 kB\n", HostMemory(1_024_000, 10_240)),
    ],
)
def test_what_is_not_told_to_be_available_is_not_counted(tree, text, expected):
    proc, _ = tree({"proc/meminfo": text})
    host, notes = read_host(proc)
    assert host == expected
    assert len(notes) == 1


@pytest.mark.parametrize("text", ["", "garbage\n", "MemTotal: kB\n", "MemTotal: 0 kB\n"])
def test_meminfo_without_a_total_asks_psutil_and_says_so(tree, text):
    proc, _ = tree({"proc/meminfo": text})
    host, notes = read_host(proc)
    assert host.total_bytes > 0
    assert len(notes) == 1


def test_a_system_without_proc_asks_psutil(tmp_path):
    assert read_host(tmp_path)[0].total_bytes > 0
    process, notes = read_process(tmp_path)
    assert process.rss_bytes > 0
    assert process.peak_rss_bytes is None
    assert notes
    assert rss_from_psutil() > 0


@pytest.mark.parametrize(
    ("status", "expected", "notes"),
    [
        ("Name:\tx\nVmHWM:\t 20 kB\nVmRSS:\t 10 kB\n", ProcessMemory(10_240, 20_480), 0),
        ("Name:\tx\nVmRSS:\t 10 kB\n", ProcessMemory(10_240, None), 1),
    ],
)
def test_process_memory_comes_from_status(tree, status, expected, notes):
    proc, _ = tree({"proc/self/status": status})
    process, said = read_process(proc)
    assert process == expected
    assert len(said) == notes


def test_the_high_water_mark_is_read_and_reset(tree):
    proc, _ = tree({"proc/self/status": "VmHWM:\t 20 kB\n", "proc/self/clear_refs": ""})
    assert peak_rss_bytes(proc) == 20_480
    assert reset_peak_rss(proc)
    assert (proc / "self" / "clear_refs").read_text() == "5"


def test_a_reset_that_is_not_possible_leaves_nothing_behind(tmp_path):
    """Seen to fail with a reset that creates the file."""
    (tmp_path / "self").mkdir()
    assert not reset_peak_rss(tmp_path)
    assert list((tmp_path / "self").iterdir()) == []
    assert peak_rss_bytes(tmp_path) is None


def test_the_real_high_water_mark_falls_after_a_reset():
    if not reset_peak_rss():
        pytest.skip("this kernel or sandbox does not reset the high-water mark")
    block = bytearray(b"x" * (64 << 20))
    before = peak_rss_bytes()
    del block
    assert reset_peak_rss()
    after = peak_rss_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 32 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PSI, Pressure(1.5, 0.75)),
        ("some avg10=1.50\n", None),
        ("some avg10=x\nfull avg10=1\n", None),
        ("", None),
        ("some\nfull\n", None),
    ],
)
def test_pressure_is_parsed_or_unknown(text, expected):
    assert parse_pressure(text) == expected


def test_the_groups_own_pressure_goes_first(tree):
    proc, sys = tree({"proc/pressure/memory": PSI.replace("1.50", "9.00"), "sys/group/memory.pressure": PSI})
    own = (sys / "group",)
    assert read_pressure(GroupFolders(2, own), proc) == Pressure(1.5, 0.75)
    assert read_pressure(GroupFolders(1, own), proc) == Pressure(9.0, 0.75)
    assert read_pressure(GroupFolders(2, (sys,)), proc) == Pressure(9.0, 0.75)
    assert read_pressure(None, sys) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("12\n", 12), (" 0 ", 0), ("-1", None), ("1e3", None), ("\u00b2", None), (None, None)]
)
def test_a_number_is_whole_and_not_negative(text, expected):
    assert parse_number(text) == expected


def test_fields_know_their_unit_and_skip_what_is_none():
    assert parse_fields("a 1\nB:   2 kB\nc x\nd 1 2 3\n\ne\n") == {"a": 1, "B": 2048}


def test_unreadable_files_are_none(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert read_text(tmp_path / "binary") is None
    assert read_text(tmp_path / "missing") is None
    assert read_text(tmp_path) is None
