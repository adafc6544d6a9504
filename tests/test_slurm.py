"""The array job of docs/cluster.md under a real SLURM: one node on this machine, started here and stopped afterwards.

Wanted are root and Debian's packages slurm-wlm and munge, which .ci/run installs; without them the tests are skipped.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graysam.boxes import Box, VolumeBox
from graysam.formats.npz import read_labels, write_case
from graysam.machine import usable_cores

ROOT = Path(__file__).resolve().parent.parent
HAS_WEIGHTS = (ROOT / "weights" / "graysam" / "spec.json").is_file()
DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo")
PR_SET_PDEATHSIG = 1
LONGEST_WAIT_S = 300  # on a busy machine; a quiet one needs a tenth
SLICES = 80  # of the volume during which a task is killed

pytestmark = [pytest.mark.slow, pytest.mark.weights]

# One node that is this machine. Nothing of the system is touched: no accounting, no cgroups, every file in one folder.
CONFIGURATION = """\
ClusterName=graysam
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Say what keeps SLURM from being started here, "" when nothing does."""
    if os.geteuid() != 0:
        return "SLURM's daemons want root"
    missing = [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=search_path()) is None]
    return f"no SLURM here: {', '.join(missing)} missing (apt-get install slurm-wlm munge)" if missing else ""


def search_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = LONGEST_WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


@dataclass
class Cluster:
    """A SLURM of one node, and a folder in which jobs are handed in."""

    environment: dict[str, str]
    sandbox: Path

    def run(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self.sandbox, env=self.environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.run("scontrol", "show", "job", "--oneliner", job))
        assert found
        return found[1]

    def tasks_ended(self, job: str, tasks: int) -> bool:
        return all(self.state(f"{job}_{task}") not in ("PENDING", "RUNNING", "COMPLETING") for task in range(tasks))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        (pytest.fail if os.environ.get("GRAYSAM_REQUIRE_SLURM") else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    text = CONFIGURATION.format(
        folder=folder, host=host, cpus=min(2, usable_cores()), controller_port=free_port(), node_port=free_port()
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    sandbox = tmp_path_factory.mktemp("sandbox")
    (sandbox / "bin").mkdir()
    program = sandbox / "bin" / "graysam"  # stands in for the installed command, which tests/test_install.py installs
    program.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\nexec "{sys.executable}" -m graysam "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}
    daemons = [*start_munge(folder, environment), *start_slurm(folder, environment)]
    try:
        made = Cluster({**environment, "PATH": f"{sandbox / 'bin'}{os.pathsep}{search_path()}"}, sandbox)
        wait_until(lambda: "idle" in made.run("sinfo", "--noheader", "--format=%T"), "the node", 30)
        yield made
    finally:
        for daemon in reversed(daemons):
            stop(daemon)


def start_munge(folder: Path, environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in {**files, "log-file": "munge.log"}.items()]
    daemon = started(["munged", "--foreground", "--force", *options], folder / "munge.out", environment)
    wait_until((folder / "munge.socket").exists, "munged", 10)
    return [daemon]


def start_slurm(folder: Path, environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    return [started([name, "-D"], folder / f"{name}.out", environment) for name in ("slurmctld", "slurmd")]


def started(words: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        # A test that is killed must not leave them behind.
        return subprocess.Popen(words, env=environment, stdout=output, stderr=output, preexec_fn=end_with_the_test)


def end_with_the_test() -> None:
    """Ask Linux for a signal when the process that started this one ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def array_job_of_the_page() -> str:
    """The line of docs/cluster.md, word for word."""
    (line,) = re.findall(r"^sbatch .*$", (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert isinstance(line, str)
    return line


def hand_in(cluster: Cluster, line: str) -> tuple[str, int]:
    """Hand an array job in; its number, and how many tasks it has."""
    first, last = re.findall(r"--array=(\d+)-(\d+)", line)[0]
    assert first == "0"
    told = cluster.run("sh", "-c", line)
    return re.findall(r"Submitted batch job (\d+)", told)[0], int(last) + 1


def log_of(cluster: Cluster, job: str, task: int) -> str:
    return (cluster.sandbox / f"slurm-{job}_{task}.out").read_text(encoding="utf-8")


def write_cases(folder: Path) -> list[str]:
    """Twelve cases, so that each of four tasks has three; the sixth, of task 2, is a volume that takes seconds."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"case_{number:02d}.npz" for number in range(12)]
    for name in names:
        image = rng.integers(0, 80, (64, 64)).astype(np.uint8)
        image[16:40, 20:50] += 120
        write_case(folder / name, image=image, boxes=[Box(20, 16, 49, 39)])
    volume = np.repeat(image[None], SLICES, axis=0)
    write_case(folder / names[6], image=volume, boxes=[VolumeBox(Box(20, 16, 49, 39), 0, SLICES - 1)])
    return names


def test_the_array_job_of_the_page_does_all_parts_and_a_killed_task_goes_on(cluster: Cluster) -> None:
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    line = array_job_of_the_page()
    names = write_cases(cluster.sandbox / "demo" / "inputs")
    outputs = cluster.sandbox / "demo" / "outputs"

    job, tasks = hand_in(cluster, line)
    assert tasks == 4
    # Task 2 has the cases 2, 6 and 10; while the volume runs, its processes are killed as by a node that fails.
    wait_until((outputs / names[2]).exists, "the first result of task 2")
    cluster.run("scancel", "--signal=KILL", "--full", f"{job}_2")
    wait_until(lambda: cluster.tasks_ended(job, tasks), "the end of the first job")
    states = [cluster.state(f"{job}_{task}") for task in range(tasks)]
    assert states[:2] + states[3:] == ["COMPLETED"] * 3, [log_of(cluster, job, task) for task in range(tasks)]
    assert states[2] in ("FAILED", "CANCELLED")
    done = {path.name: path.stat().st_mtime_ns for path in outputs.glob("*.npz")}
    assert set(names) - set(done) == {names[6], names[10]}

    job, _ = hand_in(cluster, line)
    wait_until(lambda: cluster.tasks_ended(job, tasks), "the end of the second job")
    logs = [log_of(cluster, job, task) for task in range(tasks)]
    assert [cluster.state(f"{job}_{task}") for task in range(tasks)] == ["COMPLETED"] * 4, logs
    assert ["3 skipped" in log for log in logs] == [True, True, False, True], logs
    assert "2 done, 0 failed, 1 skipped" in logs[2]
    # Nothing is lost, nothing half written is left, and what was done stayed as it was.
    assert sorted(path.name for path in outputs.iterdir()) == names
    assert {name: (outputs / name).stat().st_mtime_ns for name in done} == done
    for name in names:
        labels = read_labels(outputs / name, "segs")
        assert labels.shape == ((SLICES, 64, 64) if name == names[6] else (64, 64))
        assert labels.any()
