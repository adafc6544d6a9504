import subprocess
import sys

import numpy as np
import pytest

from graysam import Segmenter
from graysam.api import default_weights
from graysam.boxes import Box, VolumeBox
from graysam.errors import CaseError, CheckpointError, EngineError
from graysam.prompts import Click, Prompt


@pytest.fixture(scope="module")
def segmenter(exported):
    return Segmenter.load(exported, precision="fp32", threads=1)


def drawn(shape=(60, 80)):
    image = np.random.default_rng(3).integers(0, 60, shape).astype(np.uint8)
    image[..., 15:35, 20:50] += 120
    return image


def test_the_engine_says_what_was_chosen(segmenter):
    engine = segmenter.engine
    assert (engine.name, engine.precision, engine.threads) == ("openvino", "fp32", 1)


def test_torch_and_openvino_give_the_same_labels(exported, segmenter):
    torch_segmenter = Segmenter.load(exported, engine="torch", precision="fp32", threads=1)
    boxes = [[20, 15, 49, 34], [5, 30, 40, 55]]
    own, other = (each.segment_image(drawn(), boxes) for each in (segmenter, torch_segmenter))
    assert own.any()
    assert (own != other).mean() < 0.002  # a logit within rounding of 0 may fall on either side
    solid = [[20, 15, 0, 49, 34, 2]]
    own, other = (each.segment_volume(drawn((3, 60, 80)), solid) for each in (segmenter, torch_segmenter))
    assert own.any(axis=(1, 2)).all()
    assert (own != other).mean() < 0.005


def test_boxes_are_numbers_or_box_objects(segmenter):
    expected = segmenter.segment_image(drawn(), np.array([[20, 15, 49, 34]], np.uint16))
    assert np.array_equal(segmenter.segment_image(drawn(), [Box(20, 15, 49, 34)]), expected)
    volume = drawn((4, 60, 80))
    expected = segmenter.segment_volume(volume, np.array([[20, 15, 1, 49, 34, 2]], np.float32))
    assert expected.any(axis=(1, 2)).tolist() == [False, True, True, False]
    assert np.array_equal(segmenter.segment_volume(volume, [VolumeBox(Box(20, 15, 49, 34), 1, 2)]), expected)


def test_swapped_and_overhanging_boxes_are_put_right_with_the_warnings_that_a_file_gets(segmenter, caplog):
    expected = segmenter.segment_image(drawn(), [[40, 15, 79, 59]])
    assert np.array_equal(segmenter.segment_image(drawn(), [[900, 70, 40, 15]]), expected)
    volume = drawn((3, 60, 80))
    expected = segmenter.segment_volume(volume, [[20, 15, 0, 49, 34, 2]])
    assert np.array_equal(segmenter.segment_volume(volume, [[20, 15, 99, 49, 34, -5]]), expected)
    assert [message.split(";")[0] for message in caplog.messages] == [
        "1 of 1 boxes minimum and maximum swapped",
        "1 of 1 boxes partly outside the image of width 80, height 60",
        "1 of 1 boxes minimum and maximum swapped",
        "1 of 1 boxes partly outside the image of width 80, height 60, depth 3",
    ]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), ()])
def test_no_boxes_give_zeros(segmenter, empty):
    labels = segmenter.segment_image(drawn(), empty)
    assert labels.shape == (60, 80)
    assert labels.dtype == np.uint8
    assert not labels.any()


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], r"wanted shape \(N, 4\), found \(1, 3\)"),
        ([1, 2, 3, 4], r"wanted shape \(N, 4\), found \(4,\)"),
        ([[1, 2, 3, 4], [1, 2]], "not a table of numbers"),
        ([["a", 2, 3, 4]], "not a table of numbers"),
        ([[1, 2, float("nan"), 4]], "box 0.*not a number"),
        ([[1, 2, 5, 6], [80, 0, 90, 10]], r"box 1 \[80, 0, 90, 10\] lies wholly outside the image"),
    ],
)
def test_boxes_that_are_none_are_named(segmenter, boxes, message):
    with pytest.raises(CaseError, match=message):
        segmenter.segment_image(drawn(), boxes)


@pytest.mark.parametrize("shape", [(4,), (0, 5), (3, 4, 4), (2, 3, 4, 5)])
def test_images_of_other_shapes_are_refused(segmenter, shape):
    with pytest.raises(CaseError, match=r"wanted \(H, W\) or \(H, W, 3\)"):
        segmenter.segment_image(np.zeros(shape, np.uint8), [[0, 0, 1, 1]])


def test_volumes_of_other_shapes_are_refused(segmenter):
    with pytest.raises(CaseError, match=r"wanted \(D, H, W\)"):
        segmenter.segment_volume(np.zeros((4, 4), np.uint8), [[0, 0, 0, 1, 1, 1]])


def test_a_checkpoint_file_loads_without_an_export(tiny_checkpoint):
    assert Segmenter.load(tiny_checkpoint, threads=1).engine.name == "torch"


def test_how_boxes_fit_is_not_told_in_vain(exported):
    assert Segmenter.load(exported, box_fit="loose").box_fit == "loose"  # the usual thing need not be said
    with pytest.raises(CheckpointError, match="box fit 'tight': the model 'tiny' is not shown how boxes fit"):
        Segmenter.load(exported, box_fit="tight")


def test_loading_what_is_not_there_is_an_engine_error(tmp_path):
    with pytest.raises(EngineError, match="no such file or folder"):
        Segmenter.load(tmp_path / "nothing")


def test_a_thread_count_below_one_is_refused(exported):
    with pytest.raises(EngineError, match="threads 0"):
        Segmenter.load(exported, threads=0)


def test_the_default_weights_lie_beside_the_package_or_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAYSAM_WEIGHTS", raising=False)
    assert default_weights().parts[-2:] == ("weights", "graysam")
    monkeypatch.setenv("GRAYSAM_WEIGHTS", str(tmp_path))
    assert default_weights() == tmp_path


def test_importing_the_package_costs_nothing():
    program = (
        "import sys, graysam\n"
        "loaded = {'numpy', 'cv2', 'openvino', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported {loaded}' if loaded else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_prepared_slice_answers_as_the_whole_call_does_and_encodes_once(segmenter):
    boxes = [Box(20, 15, 49, 34), Box(5, 30, 40, 55)]
    prepared = segmenter.prepare_slice(drawn())
    assert prepared.size_hw == (60, 80)
    for number, box in enumerate(boxes):
        answer = prepared.answer([Prompt(box)])[0]
        assert np.array_equal(answer.mask(prepared.size_hw), segmenter.segment_image(drawn(), [box]) == 1)
        assert [each.index for each in prepared.answer([Prompt(box)] * (number + 1))] == list(range(number + 1))
    assert prepared.answer([]) == []


def test_a_slice_of_a_volume_is_prepared_like_an_image_that_is_looked_at_once(segmenter):
    volume = np.stack([drawn(), drawn()[::-1], drawn()])
    once = Segmenter(segmenter.engine, mirror="never")
    of_volume, alone = segmenter.prepare_slice(volume, z=1), once.prepare_slice(volume[1])
    prompt = Prompt(Box(20, 25, 49, 44))
    assert np.array_equal(of_volume.answer([prompt])[0].logits, alone.answer([prompt])[0].logits)
    with pytest.raises(CaseError, match="slice 3: the volume has slices 0 to 2"):
        segmenter.prepare_slice(volume, z=3)


def test_a_model_that_takes_no_clicks_says_so_and_never_ignores_them(segmenter):
    prepared, box = segmenter.prepare_slice(drawn()), Box(20, 15, 49, 34)
    assert not segmenter.takes_clicks
    for asked in (Prompt(box, clicks=(Click(3, 4, True),)), Prompt(box, previous=np.zeros((60, 80), bool))):
        with pytest.raises(CaseError, match="clicks: the model 'tiny' takes boxes alone"):
            prepared.answer([Prompt(box), asked])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"clicks": (Click(80, 4, True),)}, r"prompt 0: a click at x 80, y 4 lies outside the image of width 80"),
        ({"clicks": (Click(float("nan"), 4, True),)}, "prompt 0: a click at x nan, y 4 is no place"),
        ({"previous": np.zeros((80, 60), bool)}, r"the earlier answer has shape \(80, 60\), the image \(60, 80\)"),
    ],
)
def test_prompts_that_do_not_fit_the_slice_are_named(segmenter, said, message):
    with pytest.raises(CaseError, match=message):
        segmenter.prepare_slice(drawn()).answer([Prompt(Box(20, 15, 49, 34), **said)])
