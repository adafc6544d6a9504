import cv2
import numpy as np
import pytest

from data_prep.duplicates import difference_hash, find_near_duplicates, fingerprint, similar_pairs
from data_prep.sources import find_sources


def test_a_bit_is_set_where_the_right_neighbour_is_brighter():
    # 8 rows of 9 cells: exactly the hash's grid. Only in the first row does the gray rise, at its first step.
    image = np.zeros((8, 9), np.uint8)
    image[0, 1:] = 10
    assert int(difference_hash(image)) == 1 << 63
    image[7, 8] = 10  # and at the last step of the last row
    assert int(difference_hash(image)) == (1 << 63) | 1


def scene(seed: int) -> np.ndarray:
    """Smooth random blobs, 160 x 200."""
    noise = np.random.default_rng(seed).random((10, 12)).astype(np.float32)
    return (cv2.resize(noise, (200, 160), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: cv2.resize(image, (130, 104), interpolation=cv2.INTER_AREA),
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], -1),
        lambda image: (image * 0.7 + 20).astype(np.uint8),
        lambda image: np.repeat(image[..., None], 3, axis=2),
    ],
    ids=["shrunk", "saved as JPEG", "another window", "three channels"],
)
def test_a_changed_copy_is_recognised_and_others_are_not(change):
    marks = [fingerprint(scene(number)) for number in range(20)]
    ((first, second, bits, alike),) = similar_pairs([*marks, fingerprint(change(scene(7)))])
    assert (first, second) == (7, 20)
    assert bits <= 10
    assert alike > 0.985


def test_blank_images_resemble_nothing():
    assert similar_pairs([fingerprint(np.full((40, 40), 9, np.uint8))] * 3) == []
    assert similar_pairs([]) == []


def test_pairs_across_splits_come_first_and_pairs_of_one_patient_not_at_all(tmp_path, make_dataset):
    mask = np.ones((160, 200), np.uint8)
    images = {"p1_a": scene(1), "p1_b": scene(1), "p2_a": scene(1), "p3_a": scene(2), "p4_a": scene(2), "p5": scene(5)}
    root = make_dataset("US/Toy", {name: (image, mask) for name, image in images.items()})
    split = {"p4_a": "val"}
    rows = [f"US/Toy,{name},{name[:2]},{split.get(name, 'train')}" for name in images]
    (root / "index.csv").write_text("\n".join(["dataset,case,group,split", *rows]))
    pairs = find_near_duplicates(find_sources(root).sources, workers=0)
    assert [(pair.first.case, pair.second.case, pair.across_splits) for pair in pairs] == [
        ("p3_a", "p4_a", True),
        ("p1_a", "p2_a", False),
        ("p1_b", "p2_a", False),
    ]
