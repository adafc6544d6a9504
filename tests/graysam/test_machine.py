import os

import pytest

from graysam.machine import allowed_cpus, usable_cores


def write_quota(folder, text):
    (folder / "cgroup").mkdir()
    (folder / "cgroup/cpu.max").write_text(text)


def test_the_cores_of_this_machine_are_some_of_those_it_has():
    assert 1 <= usable_cores() <= len(allowed_cpus()) <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_a_process_kept_on_one_cpu_has_one_core(tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert allowed_cpus() == {min(before)}
        assert usable_cores(tmp_path, tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("99900000 100000", None)]
)
def test_a_quota_of_the_group_is_rounded_up_and_never_adds_cores(tmp_path, quota, cores):
    write_quota(tmp_path, quota)
    assert usable_cores(tmp_path / "proc", tmp_path / "cgroup") == (cores or len(allowed_cpus()))
