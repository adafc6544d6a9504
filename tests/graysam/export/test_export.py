import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from graysam.boxes import box_around
from graysam.export.calibration import calibration_slices
from graysam.export.command import main
from graysam.formats.npz import read_case
from graysam.models.spec import ModelSpec
from graysam.store import StoreWriter, encode_image, encode_runs

SPEC = ModelSpec(name="any")


def test_a_folder_of_all_files_is_made_and_its_checksums_hold(exported):
    lines = (exported / "checksums.sha256").read_text().splitlines()
    named = dict(reversed(line.split("  ")) for line in lines)
    assert set(named) == {
        "calibration.json",
        "model.pt",
        "spec.json",
        *(
            f"{folder}/{part}"
            for folder in ("openvino", "openvino-int8")
            for part in ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")
        ),
    }
    for name, checksum in named.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == checksum, name


def test_the_spec_travels(exported, tiny_checkpoint):
    spec = ModelSpec.from_json((exported / "spec.json").read_text())
    assert spec.name == "tiny"
    assert spec.canvas == 64


def test_the_record_names_the_slices_that_int8_was_calibrated_with(exported):
    record = json.loads((exported / "calibration.json").read_text())
    # Two images with one box; a volume of three slices whose object gives its middle slice and both ends.
    assert record["count"] == 5
    assert record["slices"] == [
        "2DBox_US_0",
        "2DBox_US_1",
        "3DBox_CT_0/z1",
        "3DBox_CT_0/z0",
        "3DBox_CT_0/z2",
    ]


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_networks(exported, tiny_checkpoint, tmp_path):
    assert main(["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path)]) == 0
    for name in ("openvino/encoder.bin", "openvino/decoder.bin", "spec.json", "model.pt"):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes(), name
    assert not (tmp_path / "openvino-int8").exists()  # made with --calibration only


@pytest.mark.parametrize("folder", ["openvino", "openvino-int8"])
def test_the_decoder_of_a_model_with_memory_takes_it_as_an_input(exported, folder):
    import openvino

    network = openvino.Core().read_model(exported / folder / "decoder.xml")
    # Some inputs have a number for a second name.
    shapes = {name: list(each.shape) for each in network.inputs for name in each.names if not name.isdigit()}
    assert shapes == {
        "embedding": [1, 16, 8, 8],
        "detail": [1, 3, 32, 32],
        "box_in_view": [1, 4],
        "view_in_canvas": [1, 4],
        "memory": [1, 2, 32, 32],
    }


def test_the_tools_that_export_uses_cannot_send_that_they_are_used():
    program = (
        "from graysam.export.networks import send_nothing; send_nothing();"
        "from openvino.tools.ovc import telemetry_utils; print(telemetry_utils.tm.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_a_checkpoint_that_is_none_is_named(tmp_path, caplog):
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    assert main(["--checkpoint", str(tmp_path / "x.pt"), "--out", str(tmp_path / "out")]) == 2


@pytest.fixture
def store(tmp_path):
    """Six slices of training in two modalities, one of validation; each holds one square."""
    path = tmp_path / "drawn.store"
    with StoreWriter(path) as writer:
        for number in range(7):
            mask = np.zeros((40, 50), bool)
            mask[10 : 20 + number, 5:25] = True
            writer.add(
                encode_image(mask.astype(np.uint8) * 200, codec="png"),
                [encode_runs(mask)],
                dataset="drawn",
                modality="CT" if number % 2 else "US",
                case=f"case{number}",
                group=f"group{number}",
                split="val" if number == 6 else "train",
                size_hw=(40, 50),
                z=number,
            )
    return path


def test_a_store_gives_slices_of_its_training_split_modalities_in_turn(store):
    drawn = calibration_slices(store, SPEC, 100)
    assert len(drawn) == 6
    assert not any(each.name.startswith("case6") for each in drawn)
    assert [int(each.name[4]) % 2 for each in drawn] == [1, 0, 1, 0, 1, 0]  # CT, US, CT, ...
    assert [each.name for each in calibration_slices(store, SPEC, 100)] == [each.name for each in drawn]
    assert len(calibration_slices(store, SPEC, 4)) == 4


def test_every_other_box_of_a_store_is_tight_and_the_others_are_a_little_off(store):
    for number, each in enumerate(calibration_slices(store, SPEC, 100)):
        tight = box_around(each.image > 0)
        shift = np.abs(each.prompt.box.as_array() - tight.as_array()).max()
        if number % 2 == 0:
            assert shift == 0
        else:
            assert 0 < shift <= 5 * 50 / 256  # 5 pixels of a canvas of 256, in pixels of the slice


def test_slices_of_a_volume_in_a_store_come_with_the_object_that_is_most_alike_on_the_next_slice(tmp_path):
    # Slice 0 holds a square left and one right; on slice 1 both have moved by two columns and stand in the other order;
    # slice 2 has another size; on slice 3 there is an object elsewhere; slice 4 is of another volume.
    left, right, elsewhere = (np.zeros((40, 50), bool) for _ in range(3))
    left[10:20, 5:15], right[10:20, 30:40], elsewhere[35:, :5] = True, True, True
    moved = [np.roll(mask, 2, axis=1) for mask in (right, left)]
    slices = [("a", [left, right]), ("a", moved), ("a", [np.ones((20, 25), bool)]), ("a", [elsewhere]), ("b", [left])]
    with StoreWriter(tmp_path / "volume.store") as writer:
        for z, (case, masks) in enumerate(slices):
            size_hw = masks[0].shape
            writer.add(
                encode_image(np.full(size_hw, 10 * z, np.uint8)),
                [encode_runs(mask) for mask in masks],
                dataset="drawn",
                modality="CT",
                case=case,
                group=case,
                split="train",
                size_hw=size_hw,
                z=z,
            )
    drawn = {each.name: each for each in calibration_slices(tmp_path / "volume.store", SPEC, 10)}
    assert [name for name, each in sorted(drawn.items()) if each.prompt.neighbour] == ["a/z0"]
    first = drawn["a/z0"]
    assert (first.prompt.neighbour.image == 10).all()
    same = moved[1] if first.prompt.box.x_max < 25 else moved[0]
    assert np.array_equal(first.prompt.neighbour.mask, same)


def test_slices_of_a_case_s_volume_come_with_the_ellipse_on_the_slice_towards_the_middle(calibration_cases):
    drawn = {each.name: each for each in calibration_slices(calibration_cases, SPEC, 10)}
    volume = read_case(calibration_cases / "3DBox_CT_0.npz").image
    assert {name for name, each in drawn.items() if each.prompt.neighbour} == {"3DBox_CT_0/z0", "3DBox_CT_0/z2"}
    for name in ("3DBox_CT_0/z0", "3DBox_CT_0/z2"):
        neighbour = drawn[name].prompt.neighbour
        assert np.array_equal(neighbour.image, volume[1])
        # The ellipsoid has sqrt(1 - (2 / 3) ** 2) = 0.745 of the box of 30 x 20 there.
        assert neighbour.mask.sum() == pytest.approx(np.pi / 4 * 30 * 20 * 0.745**2, rel=0.1)
        assert neighbour.mask[25, 35]


def test_a_store_without_training_slices_is_an_error(tmp_path):
    from graysam.errors import EngineError

    with StoreWriter(tmp_path / "empty.store"):
        pass
    with pytest.raises(EngineError, match="no slice with a box"):
        calibration_slices(tmp_path / "empty.store", SPEC, 10)


def test_float_nodes_of_the_decoder_hold_the_coordinates_and_no_convolution(exported):
    import openvino

    from graysam.export.networks import float_nodes

    network = openvino.Core().read_model(exported / "openvino" / "decoder.xml")
    kinds = {node.get_friendly_name(): node.get_type_name() for node in network.get_ops()}
    names = float_nodes(network, ["ellipse_gate"])
    assert names
    assert not {kinds[name] for name in names if "ellipse_gate" not in name} & {"Convolution", "Relu", "Parameter"}


def test_contours_are_quantized_neither_by_the_ellipse_gate_nor_by_the_sums_that_make_the_logits(exported):
    import openvino

    network = openvino.Core().read_model(exported / "openvino-int8" / "decoder.xml")
    rounded = {
        node.get_friendly_name()
        for node in network.get_ordered_ops()
        for index in range(node.get_input_size())
        if node.input_value(index).get_node().get_type_name() == "FakeQuantize"
    }
    assert any(name.endswith("to_logits/aten::_convolution/Convolution") for name in rounded)
    logits = network.outputs[0].get_node().input_value(0).get_node().get_friendly_name()
    assert "ellipse_gate" in logits
    assert not [name for name in rounded if "ellipse_gate" in name]
    # After the last convolution nothing is, and the logits are the first output.
    ordered = [node.get_friendly_name() for node in network.get_ordered_ops()]
    last = max(place for place, name in enumerate(ordered) if name.endswith("to_logits/aten::_convolution/Convolution"))
    assert not rounded & set(ordered[last + 1 :]) - {name for name in rounded if "to_iou" in name}
