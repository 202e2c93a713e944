"""Limits of control groups, from recorded trees."""

import pytest

from autobatch.memory.sensors.cgroup import count_oom_kills, find_group, read_control_groups

MIB = 1 << 20
HOST = 64 << 30
SENTINEL = "9223372036854771712\n"

V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
)
V2_MOUNTS = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID_MOUNTS = V1_MOUNTS + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"


def v1(folder, limit, usage, inactive=0, active=0, mapped=0):
    stat = f"cache 1\ntotal_inactive_file {inactive}\ntotal_active_file {active}\ntotal_mapped_file {mapped}\n"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"{folder}/memory.stat": stat,
    }


def v2(folder, limit, usage, inactive=0, active=0, mapped=0, high="max"):
    stat = f"anon 1\nfile 2\ninactive_file {inactive}\nactive_file {active}\nfile_mapped {mapped}\n"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{usage}\n",
        f"{folder}/memory.stat": stat,
    }


def machine(cgroup, mounts, *levels):
    files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}
    for level in levels:
        files |= level
    return files


def read(roots):
    return read_control_groups(find_group(*roots), HOST)


def available(roots):
    """The available bytes of every group with a limit, innermost first."""
    return [group.available_bytes for group in read(roots)[0]]


OWN_V1 = "9:name=systemd:/\n4:memory:/job/own\n0::/\n"
OWN_V2 = "0::/job/own\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400)), [600], id="v1"),
        pytest.param(
            machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400, 100, 200, 50)),
            [850],
            id="v1: unmapped file cache",
        ),
        pytest.param(
            machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400, 10, 20, 50)),
            [600],
            id="v1: more mapped than cached",
        ),
        pytest.param(
            machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400), v1(f"{V1}/job", 2000, 1900), v1(V1, 9000, 2)),
            [600, 100, 8998],
            id="v1: every ancestor",
        ),
        pytest.param(machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", SENTINEL, 400)), [], id="v1: huge sentinel"),
        pytest.param(machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", HOST, 400)), [], id="v1: as much as the host"),
        pytest.param(machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 1400)), [0], id="v1: over its limit"),
        pytest.param(
            machine(
                OWN_V1,
                V1_MOUNTS,
                v1(f"{V1}/job/own", 1000, 400),
                v1(f"{V1}/job", 500, 100),
                {f"{V1}/job/memory.use_hierarchy": "0\n"},
            ),
            [600],
            id="v1: a parent that does not count its children",
        ),
        pytest.param(
            machine(OWN_V1, HYBRID_MOUNTS, v1(f"{V1}/job/own", 1000, 400), {f"{V1[:-7]}/unified/cgroup.procs": ""}),
            [600],
            id="hybrid",
        ),
        pytest.param(
            machine("4:cpu,memory:/job/own\n", V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400)),
            [600],
            id="v1: joint controllers",
        ),
        pytest.param(machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 1000, 400)), [600], id="v2"),
        pytest.param(
            machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 1000, 400, 100, 200, 50)),
            [850],
            id="v2: unmapped file cache",
        ),
        pytest.param(
            machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", "max", 400), v2(f"{V2}/job", 2000, 1900)),
            [100],
            id="v2: max",
        ),
        pytest.param(
            machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", "max", 400, high=700)),
            [300],
            id="v2: throttled from memory.high",
        ),
        pytest.param(
            machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 600, 400, high=700)),
            [200],
            id="v2: the lower of max and high",
        ),
        pytest.param(
            machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 1000, 400), v2(f"{V2}/job", 700, 600)),
            [600, 100],
            id="v2: nested",
        ),
        pytest.param(machine("0::/\n", V2_MOUNTS, v2(V2, 1000, 400)), [600], id="v2: own namespace"),
        pytest.param(
            machine(
                "0::/docker/abc/own\n",
                "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
                v2(f"{V2}/own", 1000, 400),
                v2(V2, 700, 600),
            ),
            [600, 100],
            id="v2: a container's part of the tree is mounted",
        ),
        pytest.param(
            machine("4:memory:/docker/abc\n", V1_MOUNTS.replace("0:32 / ", "0:32 /docker/abc "), v1(V1, 1000, 400)),
            [600],
            id="v1: a container's part of the tree is mounted",
        ),
        pytest.param(
            machine("4:memory:/docker/abc/own\n", V1_MOUNTS, v1(f"{V1}/own", 1000, 400), v1(V1, 700, 600)),
            [600, 100],
            id="v1: the host's path in a container, by its longest end",
        ),
        pytest.param(
            machine("0::/docker/abc\n", V2_MOUNTS, v2(V2, 700, 600)), [100], id="v2: the host's path, not to be seen"
        ),
        pytest.param(machine("0::/../other\n", V2_MOUNTS, v2(V2, 700, 600)), [100], id="v2: outside the namespace"),
        pytest.param(
            machine(
                "0::/a b\n", V2_MOUNTS.replace("/sys/fs/cgroup", "/sys/fs/c\\040g"), v2("sys/fs/c g/a b", 1000, 400)
            ),
            [600],
            id="v2: spaces",
        ),
        pytest.param({"proc/self/cgroup": OWN_V1, **v1(f"{V1}/job/own", 1000, 400)}, [600], id="v1: no mountinfo"),
        pytest.param(
            {"proc/self/cgroup": OWN_V2, f"{V2}/cgroup.controllers": "memory", **v2(f"{V2}/job/own", 1000, 400)},
            [600],
            id="v2: no mountinfo",
        ),
        pytest.param({f"{V1}/memory.procs": "", **v1(V1, 1000, 400)}, [600], id="v1: no list of groups"),
        pytest.param(machine("garbage\n::\n\n", "garbage - \n - - cgroup\n"), [], id="garbage everywhere"),
        pytest.param({}, [], id="nothing there"),
    ],
)
def test_available_is_what_each_limited_level_has_left(tree, files, expected):
    """Seen to fail with the own level alone, with mapped pages counted as reclaimable, and without the fallbacks."""
    assert available(tree(files)) == expected


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({f"{V1}/job/own/memory.limit_in_bytes": "lots\n"}, "lots"),
        ({f"{V1}/job/own/memory.limit_in_bytes": "-1\n"}, "-1"),
        ({f"{V1}/job/own/memory.limit_in_bytes": ""}, "neither"),
        ({f"{V1}/job/own/memory.usage_in_bytes": "lots\n"}, "does not tell its use"),
    ],
)
def test_garbage_in_one_level_is_a_note_and_the_others_count(tree, files, word):
    levels = machine(
        OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400), v1(f"{V1}/job", 2000, 1900), v1(V1, SENTINEL, 2)
    )
    groups, notes = read(tree(levels | files))
    assert [group.available_bytes for group in groups] == [100]
    assert len(notes) == 1
    assert word in notes[0]


def test_a_missing_limit_is_a_note_in_version_1(tree):
    proc, sys = tree(machine(OWN_V1, V1_MOUNTS, v1(f"{V1}/job/own", 1000, 400)))
    notes = read((proc, sys))[1]
    assert len(notes) == 2  # the two ancestors have no files at all
    assert all("can't be read" in note for note in notes)


def test_a_level_without_the_memory_controller_is_no_fault_in_version_2(tree):
    levels = machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 1000, 400), {f"{V2}/memory.stat": "anon 1\n"})
    assert read(tree(levels))[1] == ()


def test_a_missing_hard_limit_is_a_note_in_version_2(tree):
    levels = machine(OWN_V2, V2_MOUNTS, {f"{V2}/job/own/memory.current": "400\n"})
    groups, notes = read(tree(levels))
    assert groups == ()
    assert "memory.max can't be read" in notes[0]


def test_file_cache_that_is_not_told_counts_as_in_use(tree):
    files = machine(OWN_V2, V2_MOUNTS, v2(f"{V2}/job/own", 1000, 400, 300))
    del files[f"{V2}/job/own/memory.stat"]
    groups, notes = read(tree(files))
    assert groups[0].available_bytes == 600
    assert "tells no file cache" in notes[0]


def test_a_guessed_group_says_so(tree):
    notes = read(tree(machine("0::/docker/abc\n", V2_MOUNTS, v2(V2, 700, 600))))[1]
    assert "is taken for it" in notes[0]


def test_an_unknown_group_says_so(tree):
    files = machine("", V2_MOUNTS, v2(V2, 700, 600))
    del files["proc/self/cgroup"]
    groups, notes = read(tree(files))
    assert [group.available_bytes for group in groups] == [100]
    assert "is taken for it" in notes[0]


def test_no_group_says_so(tree):
    assert "No memory control group" in read(tree({}))[1][0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            machine(
                OWN_V1, V1_MOUNTS, {f"{V1}/job/own/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"}
            ),
            3,
            id="v1",
        ),
        pytest.param(machine(OWN_V2, V2_MOUNTS, {f"{V2}/job/own/memory.events": "oom 9\noom_kill 4\n"}), 4, id="v2"),
        pytest.param(
            machine(
                OWN_V1, V1_MOUNTS, {f"{V1}/job/own/memory.oom_control": "under_oom 0\n", "proc/vmstat": "oom_kill 7\n"}
            ),
            7,
            id="a kernel that counts for the host alone",
        ),
        pytest.param({"proc/vmstat": "nr_free_pages 1\noom_kill 7\n"}, 7, id="no group"),
        pytest.param({"proc/vmstat": "oom_kill many\n"}, None, id="garbage"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_kills_are_counted_in_the_own_group_first(tree, files, expected):
    """Seen to fail with the mount root's counter read instead of the own group's."""
    roots = tree(files | {f"{V1}/memory.oom_control": "oom_kill 99\n"} if "proc/self/mountinfo" in files else files)
    assert count_oom_kills(*roots) == expected
