from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import disc, drawn_slice

from graysam.framing import DecoderInputs
from graysam.geometry import Box, box_around
from graysam.inference.images import segment_slice
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore
from train.config import DataConfig, RunConfig
from train.dataset import BatchSource, SliceMemory, prepare_prompts
from train.loader import batches_from


class RecordingEngine:
    """Keeps what the predictor hands to a model, and answers nothing."""

    name, precision, threads = "torch", "fp32", 1

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.canvas = np.empty(0, np.float32)
        self.inputs: DecoderInputs = {}

    def encode(self, canvas):
        self.canvas = canvas
        return np.zeros((1, 1, 1), np.float32)

    def decode(self, embedding, inputs):
        self.inputs = inputs
        count = len(next(iter(inputs.values())))
        return np.zeros((count, 8, 8), np.float32), np.zeros(count, np.float32)


@pytest.mark.parametrize("decoder", ["box_frame", "sam"])
@pytest.mark.parametrize("colour", [False, True])
def test_training_and_prediction_make_the_identical_tensors_of_an_image_and_its_boxes(
    tiny_spec: ModelSpec, decoder: str, colour: bool
):
    spec = replace(tiny_spec, decoder=decoder, encoder="efficientvit_l0" if decoder == "sam" else "conv")
    image, masks = drawn_slice(1, colour=colour)
    boxes = [box for mask in masks if (box := box_around(mask))]
    trained = prepare_prompts(image, masks, boxes, spec)
    engine = RecordingEngine(spec)
    segment_slice(engine, image, boxes)
    np.testing.assert_array_equal(trained.canvas, engine.canvas)
    assert trained.inputs.keys() == engine.inputs.keys()
    for name, value in trained.inputs.items():
        np.testing.assert_array_equal(value, engine.inputs[name])


def test_a_batch_of_the_store_holds_those_tensors_when_augmentation_is_off(boxes_only: RunConfig, store: PackedStore):
    memory = SliceMemory(store, "train")
    batch = BatchSource(memory, boxes_only.model, boxes_only.data, seed=0).batch(0)
    made = []
    for number in range(len(memory)):
        masks = memory.masks(number, [0, 1])
        made.append(prepare_prompts(memory.image(number), masks, [box_around(m) for m in masks], boxes_only.model))
    for canvas in batch.canvas.numpy():
        assert any(np.array_equal(canvas, each.canvas) for each in made)


def test_several_objects_of_one_image_share_its_place_in_the_batch(tiny_config: RunConfig, store: PackedStore):
    data = replace(tiny_config.data, images_per_batch=3, prompts_per_image=4)
    batch = BatchSource(SliceMemory(store, "train"), tiny_config.model, data, seed=0).batch(0)
    assert batch.canvas.shape == (3, 3, 64, 64)
    assert batch.target.shape == (12, 32, 32)
    assert batch.inputs["detail"].shape == (12, 3, 32, 32)
    assert 0 <= float(batch.target.min()) <= float(batch.target.max()) <= 1


def test_a_sam_target_has_four_cells_for_each_of_the_embedding(tiny_spec: ModelSpec):
    spec = replace(tiny_spec, decoder="sam", encoder="efficientvit_l0", neck_size=4)
    image, masks = drawn_slice(0, colour=False)
    assert prepare_prompts(image, masks, [Box(6, 7, 22, 23)] * 2, spec).target.shape == (2, 16, 16)


def test_two_processes_draw_together_what_one_draws_with_twice_the_batch(tiny_config: RunConfig, store: PackedStore):
    memory = SliceMemory(store, "train")
    twice = replace(tiny_config.data, images_per_batch=4)
    whole = BatchSource(memory, tiny_config.model, twice, seed=7).batch(3)
    halves = [
        BatchSource(memory, tiny_config.model, tiny_config.data, seed=7, rank=rank, processes=2).batch(3)
        for rank in (0, 1)
    ]
    assert torch.equal(whole.canvas, torch.cat([half.canvas for half in halves]))
    assert torch.equal(whole.target, torch.cat([half.target for half in halves]))


def test_background_processes_make_the_same_batches_in_the_same_order(tiny_config: RunConfig, store: PackedStore):
    source = BatchSource(SliceMemory(store, "train"), tiny_config.model, tiny_config.data, seed=0)
    here, there = batches_from(source, 5), batches_from(source, 5, workers=2)
    for _ in range(4):
        first, second = next(here), next(there)
        assert torch.equal(first.canvas, second.canvas)
        assert torch.equal(first.target, second.target)


def test_the_object_on_the_slice_beside_is_found_and_ends_with_the_volume(store: PackedStore):
    memory = SliceMemory(store, "train")
    first = next(n for n, each in enumerate(memory.entries) if each.modality == "MR" and each.z == 0)
    mask = memory.masks(first, [0])[0]
    found = [memory.mask_beside(first, mask, np.random.default_rng(seed)) for seed in range(8)]
    # z - 1 is not there; z + 1 has the same disc, one pixel further right (conftest.drawn_slice).
    assert any(each is None for each in found)
    assert all(np.array_equal(each, disc(15, 15, 8)) for each in found if each is not None)


def test_an_image_has_no_slice_beside(store: PackedStore):
    memory = SliceMemory(store, "train")
    image = next(n for n, each in enumerate(memory.entries) if each.z < 0)
    assert memory.mask_beside(image, memory.masks(image, [0])[0], np.random.default_rng(0)) is None


@pytest.mark.parametrize("source", ["propagation", "synthetic", "superpixels"])
def test_further_sources_of_objects_give_whole_batches(tiny_config: RunConfig, store: PackedStore, source: str):
    data = DataConfig(images_per_batch=4, **{source: 1.0})
    batch = BatchSource(SliceMemory(store, "train"), tiny_config.model, data, seed=0).batch(0)
    assert batch.canvas.shape == (4, 3, 64, 64)
    assert float(batch.target.flatten(1).amax(dim=1).min()) > 0  # an object in every view
