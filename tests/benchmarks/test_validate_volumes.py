"""Whole volumes are scored with tight boxes and with boxes off outwards, of one split."""

import pytest

from benchmarks.smoke import write_sources
from benchmarks.validate import volume_table
from benchmarks.volume_scores import score_volumes, volume_figures
from examples.phantoms import make_phantoms
from graysam.inference.baselines import BaselineSegmenter


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three drawn volumes, the first of them in the validation split, the others in train."""
    root = tmp_path_factory.mktemp("data")
    volumes = [each for each in make_phantoms(seed=1, count=1) if each.spacing_mm is not None]
    write_sources(root, volumes[:3])
    return root


def test_every_volume_of_a_split_has_a_score_for_each_kind_of_box(data):
    scores, failed = score_volumes(data, "val", BaselineSegmenter("ellipse"))
    assert failed == 0
    assert [score.boxes for score in scores] == ["tight", "outwards"]
    tight, outwards = scores
    assert tight.dsc == tight.ellipsoid_dsc  # the segmenter is the ellipsoid
    assert outwards.dsc < tight.dsc  # in a larger box it covers more than the object


def test_the_boxes_are_the_same_each_time(data):
    first, second = (score_volumes(data, "val", BaselineSegmenter("ellipse"))[0] for _ in range(2))
    assert [score.dsc for score in first] == [score.dsc for score in second]


def test_the_figures_keep_tight_boxes_under_their_old_key_and_the_table_has_both(data):
    scores, _ = score_volumes(data, "train", BaselineSegmenter("ellipse"))
    figures = volume_figures(scores)
    assert figures["volumes"]["all volumes"]["volumes"] == figures["volumes_outwards"]["all volumes"]["volumes"] == 2
    assert volume_table(figures).splitlines()[0] == (
        "| | volumes | DSC, tight | ellipsoid, tight | DSC, off outwards | ellipsoid, off outwards |"
    )


def test_every_second_volume_may_be_scored(data):
    scores, _ = score_volumes(data, "train", BaselineSegmenter("ellipse"), every=2)
    assert len({score.name for score in scores}) == 1


def test_a_split_without_volumes_has_no_scores(data):
    assert score_volumes(data, "far", BaselineSegmenter("ellipse")) == ([], 0)
