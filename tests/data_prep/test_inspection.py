import numpy as np
import pytest

from data_prep.inspection import inspect
from data_prep.sources import find_sources


@pytest.fixture
def messy(make_dataset, square_case):
    """A data set in which everything goes wrong once."""
    image, mask = square_case
    speck = np.zeros_like(mask)
    speck[0, 0] = 1
    root = make_dataset(
        "US/Messy",
        {
            "blank": (image * 0 + 7, mask),
            "empty": (image, mask * 0),
            "good": (image, mask),
            "shape": (image, mask[:, :-1]),
            "speck": (image, speck),
            "torn": (image, mask),
        },
    )
    (root / "US/Messy/images/torn.png").write_bytes(b"\x89PNG")
    return root


def test_each_problem_of_a_file_is_told_once_with_case_and_remedy(messy):
    problems = inspect(find_sources(messy), workers=0).problems
    assert {problem.where.split("/")[-1]: (problem.severity, problem.kind) for problem in problems} == {
        "blank": ("warning", "constant image"),
        "empty": ("error", "empty mask"),
        "shape": ("error", "mismatched shapes"),
        "speck": ("error", "specks only"),
        "torn": ("error", "unreadable"),
    }
    assert all(problem.what and problem.remedy for problem in problems)


def test_counts_shapes_values_and_windows_are_added_up(messy):
    inspection = inspect(find_sources(messy), workers=0)
    (summary,) = inspection.as_record()["datasets"]
    assert summary["cases"] == 6
    assert summary["objects"] == 2  # of good and blank
    assert summary["shapes"] == [[[20, 30], 4]]
    assert summary["label_values"] == {"1": 3}
    assert summary["intensities"] == [0.0, 232.0]  # 29 columns of 8
    assert summary["windows"] == {"as_is": 4}
    assert inspection.as_record()["modalities"] == {"US": {"2D": 6, "3D": 0, "objects": 2}}
    assert "US/Messy: 6 2D US" in inspection.as_lines()[0]


def test_spacing_and_axes_of_volumes_are_told(tmp_path, write_volume):
    folder = tmp_path / "CT" / "Lungs" / "volumes"
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[:, 2:9, 2:9] = 1
    for number, step in enumerate((2.5, 5.0)):
        write_volume(folder / f"{number}_image.nii.gz", labels.astype(np.int16), spacing=(0.5, 0.5, step))
        write_volume(folder / f"{number}_label.nii.gz", labels, spacing=(0.5, 0.5, step))
    (summary,) = inspect(find_sources(tmp_path), workers=0).summaries
    assert set(summary.spacings) == {(2.5, 0.5, 0.5), (5.0, 0.5, 0.5)}
    line = summary.as_line()
    assert "spacing (z, y, x) 2.5-5 0.5 0.5 mm" in line
    assert "axes LPS" in line
    assert "window lung" in line


def test_a_patient_on_both_sides_is_a_problem(make_dataset, square_case):
    root = make_dataset("US/Toy", {"p1_a": square_case, "p1_b": square_case})
    (root / "index.csv").write_text("dataset,case,group,split\nUS/Toy,p1_a,p1,train\nUS/Toy,p1_b,p1,val\n")
    assert [problem.kind for problem in inspect(find_sources(root), workers=0).problems] == ["leak"]


def test_two_processes_find_the_same_as_one(messy):
    inventory = find_sources(messy)
    assert inspect(inventory, workers=2).as_record() == inspect(inventory, workers=0).as_record()
