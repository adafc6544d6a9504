"""The timing loop with real processes: that answer, fail, hang, hide and eat memory; and with a real container."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from evaluation import runtime, timed_run
from evaluation.rank.read import read_runtimes
from graysam.boxes import Box
from graysam.formats.npz import write_case

# Answers each case by copying it, and does what the case's name says.
CONTESTANT = """\
import os, shutil, subprocess, sys, time
from pathlib import Path
inputs, outputs = map(Path, sys.argv[1:])
cases = sorted(inputs.glob("*.npz"))
assert len(cases) == 1, "one case at a time"
name = cases[0].name
print("seen", name, flush=True)
time.sleep(0.2)  # long enough to be seen by who polls its memory
if "memory" in name:
    block = bytearray(300 << 20)
    time.sleep(0.2)
if "hang" in name:
    child = [sys.executable, "-c", "import time; time.sleep(60)"]
    (outputs / "child.pid").write_text(str(subprocess.Popen(child, start_new_session=True).pid))
    shutil.copy(cases[0], outputs / name)
    time.sleep(60)
if "silent" not in name:
    shutil.copy(cases[0], outputs / name)
if "fail" in name:
    sys.exit("out of luck")
"""


@pytest.fixture
def run(tmp_path):
    """Run the contestant on cases of the given names; give (exit status, rows by case, output folder)."""

    def run_cases(*names: str, limit: float = 20.0, script: str = CONTESTANT, extra: tuple[str, ...] = ()):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "contestant.py").write_text(script)
        for name in names:
            write_case(tmp_path / f"in/{name}.npz", image=np.zeros((4, 4), np.uint8), boxes=[Box(0, 0, 1, 1)])
        status = runtime.main(
            ["--inputs", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--limit", str(limit), *extra,
             "--command", f"{sys.executable} {tmp_path / 'contestant.py'} {{inputs}} {{outputs}}"]
        )  # fmt: skip
        with (tmp_path / "out/runtime.csv").open(newline="") as stream:
            rows = {row["case"]: row for row in csv.DictReader(stream)}
        return status, rows, tmp_path / "out"

    return run_cases


def test_every_case_is_run_alone_timed_and_its_prediction_and_log_kept(run):
    status, rows, out = run("2DBox_CT_a", "2DBox_CT_b")
    assert status == 0
    assert list(rows) == ["2DBox_CT_a.npz", "2DBox_CT_b.npz"]
    row = rows["2DBox_CT_a.npz"]
    assert row["status"] == "ok"
    assert row["seconds"] == row["wall_seconds"]
    assert 0.01 < float(row["seconds"]) < 20.0
    assert float(row["peak_memory_mib"]) > 3.0  # an interpreter
    assert sorted(path.name for path in (out / "segs").iterdir()) == list(rows)
    assert "seen 2DBox_CT_b.npz" in (out / rows["2DBox_CT_b.npz"]["log"]).read_text()
    assert not (out / "work").exists()


def test_a_failing_case_costs_the_limit_its_log_stays_and_the_loop_goes_on(run):
    status, rows, out = run("1_fail", "2_fine", limit=20.0)
    assert status == 1
    assert (rows["1_fail.npz"]["status"], rows["1_fail.npz"]["exit_code"]) == ("failed", "1")
    assert float(rows["1_fail.npz"]["seconds"]) == 20.0
    assert float(rows["1_fail.npz"]["wall_seconds"]) < 20.0
    assert "out of luck" in (out / "logs/1_fail.npz.log").read_text()
    assert rows["2_fine.npz"]["status"] == "ok"
    # What it wrote is put aside, so that the scorer finds nothing and gives the worst score.
    assert (out / "rejected/1_fail.npz").is_file()
    assert not (out / "segs/1_fail.npz").exists()


def test_a_prediction_of_a_failing_case_counts_where_asked_as_in_the_official_loop(run):
    status, rows, out = run("1_fail", "2_fail_silent", extra=("--accept-failed",))
    assert status == 1
    assert [rows[f"{name}.npz"]["status"] for name in ("1_fail", "2_fail_silent")] == ["ok", "failed"]
    assert (out / "segs/1_fail.npz").is_file()


def test_a_hanging_case_is_killed_with_all_its_children_at_the_limit_and_the_loop_goes_on(run):
    started = time.monotonic()
    status, rows, out = run("1_hang", "2_fine", limit=1.5)
    assert time.monotonic() - started < 15
    assert status == 1
    row = rows["1_hang.npz"]
    assert (row["status"], row["exit_code"], float(row["seconds"])) == ("timeout", "", 1.5)
    assert "killed at the limit of 1.5 s" in (out / "logs/1_hang.npz.log").read_text()
    assert (out / "rejected/1_hang.npz").is_file()  # may be half written: it does not count
    assert rows["2_fine.npz"]["status"] == "ok"


def is_running(process: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_a_child_in_a_session_of_its_own_does_not_outlive_its_case(tmp_path):
    script = "import subprocess,sys; p = subprocess.Popen(['sleep', '60'], start_new_session=True); print(p.pid)"
    log = tmp_path / "log"
    outcome = timed_run.run_limited([sys.executable, "-c", script], log=log, limit_s=20)
    assert outcome.exit_code == 0
    child = int(log.read_text().splitlines()[-1])
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def test_a_case_without_a_prediction_costs_the_limit_though_the_exit_status_is_zero(run):
    status, rows, _ = run("1_silent")
    assert status == 1
    assert (rows["1_silent.npz"]["status"], float(rows["1_silent.npz"]["seconds"])) == ("no_output", 20.0)


def test_peak_memory_is_that_of_the_case_and_not_of_an_earlier_one(run):
    _, rows, _ = run("1_memory", "2_fine")
    assert 300 < float(rows["1_memory.npz"]["peak_memory_mib"]) < 400
    assert float(rows["2_fine.npz"]["peak_memory_mib"]) < 100
    assert rows["1_memory.npz"]["memory_source"] == "processes"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory_adds_up_processes_that_live_at_the_same_time(tmp_path):
    hold = "x = bytearray(100 << 20); import time; time.sleep(0.6)"
    script = (
        f"import subprocess,sys\nfor p in [subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in '12']: p.wait()"
    )
    outcome = timed_run.run_limited([sys.executable, "-c", script], log=tmp_path / "log", limit_s=20)
    assert outcome.peak_memory_mib is not None
    assert 200 < outcome.peak_memory_mib < 300


def test_a_cache_that_a_contestant_leaves_is_there_for_its_next_case(run):
    script = CONTESTANT + textwrap.dedent("""
        cache = outputs / "cache"
        print("cached" if cache.exists() else "cold")
        cache.write_text("compiled")
    """)
    _, _, out = run("1_first", "2_second", script=script)
    assert "cold" in (out / "logs/1_first.npz.log").read_text()
    assert "cached" in (out / "logs/2_second.npz.log").read_text()


def test_a_prediction_of_an_earlier_run_is_never_taken_for_this_ones(run):
    run("1_case")
    status, rows, out = run("1_case", script="pass")
    assert (status, rows["1_case.npz"]["status"]) == (1, "no_output")
    assert not (out / "segs/1_case.npz").exists()


def test_a_command_that_does_not_exist_is_a_failed_case(tmp_path):
    outcome = timed_run.run_limited([str(tmp_path / "nothing")], log=tmp_path / "log", limit_s=5)
    assert outcome.exit_code == 127
    assert "cannot be started" in (tmp_path / "log").read_text()


def test_the_csv_is_what_the_leaderboard_reads(run):
    _, _, out = run("2DBox_CT_1")
    assert 0 < read_runtimes(out / "runtime.csv")["2DBox_CT_1"]["seconds"] < 20


def test_an_empty_or_missing_folder_is_said_and_gives_status_two(tmp_path, caplog):
    arguments = ["--command", "true", "--out", str(tmp_path / "out"), "--inputs"]
    assert runtime.main([*arguments, str(tmp_path)]) == 2
    assert "no .npz case" in caplog.text
    assert runtime.main([*arguments, str(tmp_path / "absent")]) == 2


def test_an_image_is_run_with_the_official_command_line():
    argv = runtime.Contestant(image="GraySAM").argv(Path("/w/inputs"), Path("/w/outputs"))
    assert " ".join(argv[:-1]) + f' "{argv[-1]}"' == (
        "docker container run -m 8G --name graysam --rm -v /w/inputs/:/workspace/inputs/ "
        '-v /w/outputs/:/workspace/outputs/ graysam:latest /bin/bash -c "sh predict.sh"'
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [("python 'x", "No closing quotation"), ("python {input}", "'input'"), ("python {}", "index 0"), ("", "is empty")],
)
def test_a_command_that_cannot_be_put_together_is_one_line_and_status_two(tmp_path, caplog, command, message):
    arguments = ["--command", command, "--out", str(tmp_path / "out"), "--inputs", str(tmp_path)]
    assert runtime.main(arguments) == 2
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("error: --command")
    assert message in line
    assert "\n" not in line


def test_a_contestant_is_an_image_or_a_command():
    with pytest.raises(ValueError, match="either"):
        runtime.Contestant()
    with pytest.raises(ValueError, match="either"):
        runtime.Contestant(image="a", command="b")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12.5MiB", 12.5 * 2**20),
        ("1GiB", 2**30),
        ("512B", 512),
        ("3kB", 3000),
        ("", None),
        ("--", None),
        ("1 m", None),
    ],
)
def test_dockers_units_are_read(text, wanted):
    assert timed_run.parse_memory(text) == wanted


# --- a real container ---

PREDICT_SH = """\
set -e
name=$(ls /workspace/inputs)
case $name in
  *hang*) sleep 300 ;;
  *fail*) echo no luck >&2; exit 3 ;;
  *memory*) python -c 'x = bytearray(200 << 20); import time; time.sleep(1.5)' ;;
esac
cp /workspace/inputs/$name /workspace/outputs/$name
"""


@pytest.fixture
def image(tmp_path):
    """Build a tiny contestant; skip where there is no engine or no base, or fail if GRAYSAM_REQUIRE_DOCKER is set."""
    give_up = pytest.fail if os.environ.get("GRAYSAM_REQUIRE_DOCKER") else pytest.skip
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        give_up("no Docker engine answers")
    name = f"timing-test-{os.getpid()}"
    (tmp_path / "image").mkdir()
    (tmp_path / "image/predict.sh").write_text(PREDICT_SH)
    (tmp_path / "image/Dockerfile").write_text("FROM python:3.11-slim\nWORKDIR /workspace\nCOPY predict.sh .\n")
    build = ["docker", "build", "-q", "-t", name, str(tmp_path / "image")]
    if (done := subprocess.run(build, capture_output=True, text=True)).returncode:
        give_up(f"the contestant's image cannot be built: {done.stderr[-300:]}")
    yield name
    subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True)


def run_image(folder: Path, image: str, case: str, limit: float):
    """Time the image on one case; give (exit status, the row, the text of its log)."""
    (folder / "in").mkdir(parents=True)
    write_case(folder / f"in/{case}.npz", image=np.zeros((4, 4), np.uint8), boxes=[Box(0, 0, 1, 1)])
    status = runtime.main(
        ["--inputs", f"{folder / 'in'}", "--out", f"{folder / 'out'}", "--limit", f"{limit}", "--image", image.upper()]
    )
    with (folder / "out/runtime.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    return status, row, (folder / "out" / row["log"]).read_text()


@pytest.mark.docker
@pytest.mark.slow
def test_a_real_container_is_timed_measured_and_killed_at_its_limit(tmp_path, image):
    status, row, log = run_image(tmp_path / "fail", image, "fail", 60)
    assert (status, row["status"], row["exit_code"], float(row["seconds"])) == (1, "failed", "3", 60)
    assert "no luck" in log

    status, row, log = run_image(tmp_path / "hang", image, "hang", 5)
    assert (status, row["status"], row["exit_code"], float(row["seconds"])) == (1, "timeout", "", 5)
    assert "killed at the limit" in log
    left = subprocess.run(["docker", "ps", "-aq", "--filter", f"name={image}"], capture_output=True, text=True)
    assert left.stdout == ""

    status, row, _ = run_image(tmp_path / "memory", image, "memory", 60)
    assert (status, row["status"]) == (0, "ok")
    assert 1.5 < float(row["seconds"]) < 60
    assert 200 < float(row["peak_memory_mib"]) < 320
    assert row["memory_source"] in ("processes", "docker stats")
