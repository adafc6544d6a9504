import json
from pathlib import Path

import pytest

from train.gpu_session import (
    GpuSessionError,
    assemble,
    collect,
    cut,
    hand_back,
    main,
    pack_run,
    receive,
    room_for_a_piece,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, size in (("last.pt", 5000), ("best.pt", 700), ("log.csv", 20)):
        (folder / name).write_bytes(name.encode() * (size // len(name)))
    return folder


def test_a_store_and_a_run_travel_in_pieces_and_arrive_whole(tmp_path: Path, run_folder: Path):
    store = tmp_path / "some.store"
    store.write_bytes(bytes(range(256)) * 40)
    places = cut(store, tmp_path / "pieces", run=run_folder, piece_bytes=4000)
    assert len(places) == 3 + 6  # 10,240 bytes of store and 20,480 of a tar, in pieces of 4,000
    for place in places:
        assert sum(path.stat().st_size for path in place.iterdir()) < 4000 + 200
        receive(place, tmp_path / "there")
    assemble(tmp_path / "there")
    assert (tmp_path / "there/packed.store").read_bytes() == store.read_bytes()
    assert (tmp_path / "there/run/last.pt").read_bytes() == (run_folder / "last.pt").read_bytes()


def test_a_missing_piece_is_noticed(tmp_path: Path):
    store = tmp_path / "some.store"
    store.write_bytes(bytes(10_000))
    for place in cut(store, tmp_path / "pieces", run=None, piece_bytes=4000)[:-1]:
        receive(place, tmp_path / "there")
    with pytest.raises(GpuSessionError, match="missing or damaged"):
        assemble(tmp_path / "there")


def test_a_bare_machine_is_told_to_receive_first(tmp_path: Path):
    with pytest.raises(GpuSessionError, match="nothing was received"):
        assemble(tmp_path / "there")


def test_a_run_comes_back_as_it_was(tmp_path: Path, run_folder: Path):
    pieces = hand_back(run_folder, tmp_path / "out")
    assert [path.name for path in pieces] == ["run.tar.000"]
    collect(tmp_path / "out", tmp_path / "home")
    for path in run_folder.iterdir():
        assert (tmp_path / "home" / path.name).read_bytes() == path.read_bytes()


def test_a_state_too_large_to_come_back_stays_behind_and_the_weights_still_come(tmp_path: Path, run_folder: Path):
    archive = pack_run(run_folder, tmp_path / "small.tar", most_bytes=7000)
    assert b"best.ptbest.pt" in archive.read_bytes()
    assert b"last.ptlast.pt" not in archive.read_bytes()


def test_the_repository_leaves_room_for_a_piece():
    assert 2**20 <= room_for_a_piece(REPOSITORY) <= 60 * 10**6


@pytest.mark.slow
def test_a_session_of_two_calls_trains_on_and_brings_the_run_home(
    tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("train.gpu_session.room_for_a_piece", lambda repository: 30_000)
    folder, there = tmp_path / "pieces", tmp_path / "there"
    assert main(["cut", "--store", str(store_path), "--folder", str(folder)]) == 0
    for place in sorted(folder.iterdir()):
        assert main(["receive", str(place), "--into", str(there)]) == 0
    config = REPOSITORY / "train/configs/smoke.toml"
    call = ["train", "--into", str(there), "--config", str(config), "--minutes", "60", "--device", "cpu"]
    steps = []
    for number in range(2):
        assert main([*call, "--limit-minutes", "0.05", "--out", str(tmp_path / f"out{number}")]) == 0
        assert main(["collect", str(tmp_path / f"out{number}"), "--out", str(tmp_path / "home")]) == 0
        steps.append(_last_step(tmp_path / "home"))
    assert 0 < steps[0] < steps[1]
    assert len(json.loads((tmp_path / "home/run.json").read_text())["sessions"]) == 2


def _last_step(run: Path) -> int:
    lines = (run / "validation.csv").read_text().splitlines()
    return int(lines[-1].split(",")[0])
