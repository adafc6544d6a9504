import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from official_pairs import make_pairs

from evaluation import score
from evaluation.pair import mean_score, score_pair
from graysam.formats.npz import write_labels, write_reference

REPOSITORY = Path(__file__).parents[2]


def square(rows: slice, columns: slice, *, label: int = 1) -> np.ndarray:
    labels = np.zeros((12, 12), np.uint8)
    labels[rows, columns] = label
    return labels


LEFT, MIDDLE = square(slice(2, 8), slice(0, 6)), square(slice(2, 8), slice(3, 9))
VOLUME = np.stack([np.zeros_like(LEFT), LEFT, LEFT, np.zeros_like(LEFT)])


@pytest.fixture
def folders(tmp_path):
    """Two references, a volume and an image, each predicted half a width off."""
    gts, segs = tmp_path / "gts", tmp_path / "segs"
    gts.mkdir()
    segs.mkdir()
    write_reference(gts / "2DBox_US_1.npz", LEFT)
    write_labels(segs / "2DBox_US_1.npz", MIDDLE)
    write_reference(gts / "3DBox_CT_1.npz", VOLUME, spacing_mm=(5.0, 0.5, 0.5))
    write_labels(segs / "3DBox_CT_1.npz", np.roll(VOLUME, 1, axis=0))
    return gts, segs


def run(folders, tmp_path, *more: str) -> tuple[int, list[dict[str, str]]]:
    gts, segs = folders
    out = tmp_path / "scores.csv"
    status = score.main(["--segs", str(segs), "--gts", str(gts), "--out", str(out), "--workers", "1", *more])
    return status, read(out) if out.exists() else []


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_table_begins_as_the_challenge_does_and_is_sorted_by_case(folders, tmp_path):
    status, rows = run(folders, tmp_path)
    assert status == 0
    assert list(rows[0])[:3] == ["case", "dsc", "nsd"]
    assert [row["case"] for row in rows] == ["2DBox_US_1.npz", "3DBox_CT_1.npz"]
    assert [float(row["dsc"]) for row in rows] == [0.5, 0.5]  # half of each is shared


def test_spacing_is_used_as_stored_officially_and_in_order_honestly(folders, tmp_path):
    # The prediction is one slice of 5 mm off. Officially the stored 0.5 (x) is taken for the slice distance.
    official = float(run(folders, tmp_path)[1][1]["nsd"])
    reordered = float(run(folders, tmp_path, "--spacing-order", "zyx")[1][1]["nsd"])
    [honest] = [row for row in run(folders, tmp_path, "--mode", "honest")[1] if row["case"].startswith("3D")]
    assert official == 1.0
    assert reordered == float(honest["nsd"]) < 0.8
    assert float(honest["hd_mm"]) == 5.0


def test_honest_mode_adds_measures_and_rows_by_label(folders, tmp_path):
    labels_out = tmp_path / "labels" / "by_label.csv"
    status, rows = run(folders, tmp_path, "--mode", "honest", "--labels-out", str(labels_out))
    assert status == 0
    assert rows[0]["jaccard"] == "0.3333"
    assert float(rows[0]["hd_mm"]) == 3.0
    by_label = read(labels_out)
    assert [(row["case"], row["label"], row["reference_voxels"]) for row in by_label] == [
        ("2DBox_US_1.npz", "1", "36"),
        ("3DBox_CT_1.npz", "1", "72"),
    ]
    assert {"dsc", "nsd", "jaccard", "hd_mm", "hd95_mm"} <= set(by_label[0])


def test_a_missing_prediction_scores_zero_and_is_listed(folders, tmp_path, caplog):
    (folders[1] / "2DBox_US_1.npz").unlink()
    status, rows = run(folders, tmp_path)
    assert status == 0  # every reference was scored
    assert (rows[0]["dsc"], rows[0]["nsd"], rows[0]["status"]) == ("0.0", "0.0", "missing")
    assert "2DBox_US_1.npz: missing, scores 0" in caplog.text


def test_a_prediction_of_another_shape_scores_zero_and_both_shapes_are_named(folders, tmp_path):
    write_labels(folders[1] / "2DBox_US_1.npz", LEFT[:, :9])
    status, rows = run(folders, tmp_path, "--mode", "honest")
    assert status == 0
    assert (rows[0]["dsc"], rows[0]["hd_mm"], rows[0]["status"]) == ("0.0", "inf", "misshapen")
    assert "(12, 9)" in rows[0]["note"]
    assert "(12, 12)" in rows[0]["note"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip file", None],
    ids=["empty", "no-zip", "other-key"],
)
def test_an_unreadable_prediction_scores_zero_and_says_why(folders, tmp_path, content):
    path = folders[1] / "2DBox_US_1.npz"
    if content is None:
        np.savez_compressed(path, masks=LEFT)
    else:
        path.write_bytes(content)
    status, rows = run(folders, tmp_path)
    assert status == 0
    assert (rows[0]["dsc"], rows[0]["status"]) == ("0.0", "unreadable")
    assert rows[0]["note"]


def test_numbers_that_are_no_labels_are_said_officially_and_refused_honestly(folders, tmp_path, caplog):
    np.savez_compressed(folders[1] / "2DBox_US_1.npz", segs=LEFT.astype(np.int64) * 2**40)
    official = run(folders, tmp_path)[1][0]
    assert (official["dsc"], official["status"]) == ("0.0", "scored")
    assert official["note"] == "segs holds 36 numbers that are no labels (first: 1.09951e+12)"
    assert "they match no label" in caplog.text
    assert run(folders, tmp_path, "--mode", "honest")[1][0]["status"] == "unreadable"


def test_a_prediction_that_is_a_link_out_of_its_folder_is_not_followed(folders, tmp_path):
    inside = folders[1] / "2DBox_US_1.npz"
    inside.rename(tmp_path / "elsewhere.npz")
    inside.symlink_to(tmp_path / "elsewhere.npz")
    _, rows = run(folders, tmp_path)
    assert (rows[0]["dsc"], rows[0]["status"]) == ("0.0", "missing")
    assert "link" in rows[0]["note"]


def test_a_reference_that_cannot_be_scored_makes_the_exit_status_one_and_the_rest_is_scored(folders, tmp_path):
    write_reference(folders[0] / "3DBox_CT_1.npz", VOLUME)  # no spacing
    status, rows = run(folders, tmp_path)
    assert status == 1
    assert rows[0]["dsc"] == "0.5"
    assert (rows[1]["dsc"], rows[1]["nsd"], rows[1]["status"]) == ("", "", "reference unusable")
    assert "spacing" in rows[1]["note"]


def test_a_damaged_reference_is_unusable_too(folders, tmp_path):
    (folders[0] / "2DBox_US_1.npz").write_bytes(b"PK")
    assert run(folders, tmp_path)[0] == 1


def test_a_prediction_without_a_reference_is_mentioned_and_ignored(folders, tmp_path, caplog):
    write_labels(folders[1] / "2DBox_US_9.npz", LEFT)
    status, rows = run(folders, tmp_path)
    assert (status, len(rows)) == (0, 2)
    assert "2DBox_US_9.npz: a prediction without a reference" in caplog.text


def test_nothing_to_score_is_an_error_and_writes_nothing(tmp_path, caplog):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "scores.csv"
    for gts in (empty, tmp_path / "nowhere"):
        assert score.main(["--segs", str(empty), "--gts", str(gts), "--out", str(out)]) == 2
    assert not out.exists()
    assert "no .npz files" in caplog.text


def test_a_table_that_cannot_be_written_is_an_error(folders, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.touch()
    gts, segs = folders
    assert score.main(["--segs", str(segs), "--gts", str(gts), "--out", str(blocked / "scores.csv")]) == 2
    assert "cannot be written" in caplog.text


def test_a_table_is_replaced_whole_and_leaves_no_temporary_behind(folders, tmp_path):
    out = tmp_path / "tables" / "scores.csv"
    out.parent.mkdir()
    out.write_text("an older table, much longer than the new one\n" * 100)
    gts, segs = folders
    score.main(["--segs", str(segs), "--gts", str(gts), "--out", str(out)])
    assert [path.name for path in out.parent.iterdir()] == ["scores.csv"]
    assert len(read(out)) == 2


def test_undefined_scores_are_left_empty_as_in_the_challenge_table(folders, tmp_path):
    write_reference(folders[0] / "2DBox_US_1.npz", np.zeros_like(LEFT))
    _, rows = run(folders, tmp_path)
    assert (rows[0]["dsc"], rows[0]["nsd"], rows[0]["status"]) == ("", "0.0", "scored")


@pytest.mark.parametrize(
    "value", [["--workers", "0"], ["--tolerance-mm", "-1"], ["--tolerance-mm", "nan"], ["--mode", "x"]]
)
def test_wrong_options_are_refused(folders, tmp_path, value):
    with pytest.raises(SystemExit) as stopped:
        run(folders, tmp_path, *value)
    assert stopped.value.code == 2


def test_several_workers_give_the_same_table_as_one(tmp_path):
    gts, segs = tmp_path / "gts", tmp_path / "segs"
    gts.mkdir()
    segs.mkdir()
    for pair in make_pairs()[::9]:
        arrays = {} if pair.spacing is None else {"spacing": pair.spacing}
        np.savez_compressed(gts / pair.name, gts=pair.reference, **arrays)
        np.savez_compressed(segs / pair.name, segs=pair.prediction)
    tables = []
    for workers in ("1", "2"):
        out = tmp_path / f"{workers}.csv"
        assert score.main(["--segs", str(segs), "--gts", str(gts), "--out", str(out), "--workers", workers]) == 0
        tables.append(out.read_text())
    assert tables[0] == tables[1]
    expected = [
        mean_score(score_pair(p.reference, p.prediction, spacing_mm=p.spacing, mode="official"), mode="official")
        for p in sorted(make_pairs()[::9], key=lambda pair: pair.name)
    ]
    for row, mean in zip(read(tmp_path / "1.csv"), expected, strict=True):
        assert float(row["dsc"] or math.nan) == pytest.approx(mean["dsc"], abs=5.1e-5, nan_ok=True)
        assert float(row["nsd"]) == pytest.approx(mean["nsd"], abs=5.1e-5)


def test_the_command_of_the_readme_runs(folders, tmp_path):
    gts, segs = folders
    command = [sys.executable, "-m", "evaluation.score", "--segs", str(segs), "--gts", str(gts)]
    out = tmp_path / "scores.csv"
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("case,dsc,nsd")
    assert "2 of 2 references scored" in done.stderr
