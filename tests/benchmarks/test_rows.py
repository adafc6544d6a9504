"""Every system of the field goes through one chain: trained, exported, and predicted with by every engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_slices import drawn_slice, write_store
from tiny_spec import TINY

from benchmarks.pages import page_with
from benchmarks.race import main as race
from benchmarks.rows import CONFIGS, HEADING, ORIGINS, PAGE, ROWS, main, size_of, table
from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.export import export
from graysam.models.spec import SPECS, VIT_TINY, ModelSpec
from graysam.store import open_store
from train.config import DataConfig, RunConfig, read_config
from train.run_folder import write_atomically
from train.trainer import Trainer

SMALL = {
    ("conv", "box_frame"): replace(TINY, memory=True, ellipse_gate=True),
    ("efficientvit_l0", "sam"): replace(SPECS["l0"], canvas=64, neck_size=16),
    ("tiny_vit", "sam"): replace(SPECS["litemedsam"], canvas=64),
    ("swin", "sam_skips"): replace(
        SPECS["swin-litemedsam"],
        canvas=64,
        embedding_width=128,
        encoder_options={"widths": (16, 16, 16, 16), "depths": (2, 2, 2, 2), "heads": (1,) * 4, "embedding": 16},
    ),
    ("vit", "sam"): replace(
        VIT_TINY,
        canvas=64,
        encoder_options={"width": 32, "depth": 2, "heads": 2, "patch": 4, "window": 4, "global_blocks": (1,)},
    ),
}
"""Each pair of an encoder and a decoder that a row has, in a size that is built in a blink; all else is the same."""


def test_every_row_is_a_spec_with_a_config_of_the_same_model():
    assert {row.spec.name: row.spec for row in ROWS} == SPECS
    for row in ROWS:
        assert read_config(CONFIGS / f"{row.config}.toml").model == row.spec, row.spec.name
        assert (row.spec.encoder, row.spec.decoder) in SMALL, f"{row.spec.name} goes through no test of the chain"


def test_a_list_says_where_the_weights_of_every_row_come_from(capsys):
    with pytest.raises(SystemExit) as end:
        race(["--list"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.spec.name for row in ROWS]
    assert "its authors', released" in next(line for line in lines if line.startswith("litemedsam"))
    assert "none: random" in next(line for line in lines if line.startswith("daft-l0"))
    assert {row.origin for row in ROWS} == set(ORIGINS)


def test_products_are_counted_from_shapes_alone():
    # The patches: 3 * 8 * 8 products for each of 16 numbers of 64 cells; the neck: 16 * 16 and 9 * 16 * 16 for each
    # cell. The block: 3 + 1 times 16 * 16 for attention's layers, 2 * 4 * 16 * 16 for the MLP; each of 64 cells with
    # each other 16 for the weight and 16 for the value; with each row and each column 16 for their places.
    options = {"width": 16, "depth": 1, "heads": 2, "patch": 8, "window": 8, "global_blocks": ()}
    spec = replace(VIT_TINY, canvas=64, embedding_width=16, encoder_options=options)
    cells = 64
    block = 12 * 16 * 16 * cells + 2 * cells * cells * 16 + 2 * cells * 8 * 16
    expected = 192 * 16 * cells + block + 10 * 16 * 16 * cells
    assert round(size_of(spec).gmac_encode * 1e9) == expected


@pytest.mark.slow
def test_the_table_in_the_docs_is_that_of_the_registry():
    assert page_with(PAGE, HEADING, table()) == PAGE.read_text(encoding="utf-8"), (
        "run `python -m benchmarks.rows --write`"
    )


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path: Path, monkeypatch, capsys):
    page = tmp_path / "models.md"
    page.write_text("# Models\n")
    monkeypatch.setattr("benchmarks.rows.PAGE", page)
    monkeypatch.setattr("benchmarks.rows.ROWS", ())
    assert main(["--write"]) == 2
    assert "wanted a line '## All rows'" in capsys.readouterr().err
    assert page.read_text() == "# Models\n"


def cases(folder: Path) -> Path:
    """Two drawn cases to calibrate with, an image and a volume."""
    folder.mkdir()
    image, volume = drawn_slice(0, colour=True)[0], np.stack([drawn_slice(z, colour=False)[0] for z in range(3)])
    np.savez(folder / "2DBox_Dermoscopy_a.npz", imgs=image, boxes=[[6, 7, 22, 23]])
    np.savez(folder / "3DBox_MR_b.npz", imgs=volume, boxes=[[6, 7, 0, 22, 23, 2]])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("spec", SMALL.values(), ids=lambda spec: f"{spec.encoder}-{spec.decoder}")
def test_each_row_is_trained_exported_and_predicts_images_and_volumes(spec: ModelSpec, tmp_path: Path):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    config = RunConfig(model=spec, data=DataConfig(images_per_batch=1), steps=1, precision="fp32")
    trainer = Trainer(config, open_store(write_store(tmp_path / "drawn.store")), tmp_path, torch.device("cpu"))
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    assert np.isfinite(trainer.train_step()["loss"])
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("decoder.") for name in moved)
    write_atomically(tmp_path / "best.pt", trainer.shipped({}))
    export(tmp_path / "best.pt", tmp_path / "weights", calibration=cases(tmp_path / "cases"), count=4)
    image, _ = drawn_slice(0, colour=True)
    volume = np.stack([drawn_slice(z, colour=False)[0] for z in range(3)])
    boxes = [Box(6, 7, 22, 23), Box(23, 20, 43, 42)]
    answers = {}
    for engine, precision in (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")):
        segmenter = Segmenter.load(tmp_path / "weights", engine=engine, precision=precision, threads=1)
        again = segmenter.segment_image(image, boxes)
        answers[engine, precision] = [again, segmenter.segment_volume(volume, [VolumeBox(boxes[0], 0, 2)])]
        np.testing.assert_array_equal(segmenter.segment_image(image, boxes), again)
        assert [each.shape for each in answers[engine, precision]] == [(48, 48), (3, 48, 48)]
    for exact, found in zip(answers["torch", "fp32"], answers["openvino", "fp32"], strict=True):
        assert (exact == found).mean() > 0.999
    # Weights of one step leave many logits near 0, where 8 bits are too coarse to tell the sign.
    for exact, found in zip(answers["torch", "fp32"], answers["openvino", "int8"], strict=True):
        assert (exact == found).mean() > 0.6
