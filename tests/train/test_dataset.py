from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_slices import SIDE, disc, drawn_slice
from tiny_spec import TINY
from torch import Tensor

from graysam.boxes import Box, VolumeBox, box_around
from graysam.image.geometry import BoxView, CanvasFit
from graysam.image.preprocessing import prepare_slice
from graysam.inference.images import segment_slice
from graysam.inference.propagation import expected_box
from graysam.inference.volumes import segment_volume
from graysam.models.frames import DecoderInputs, view_memory
from graysam.models.spec import ModelSpec
from graysam.prompts import USUAL_FIT, Neighbour, Prompt, box_rows
from graysam.store import PackedStore, StoreWriter, encode_image, encode_runs, open_store
from train.config import DataConfig, RunConfig
from train.dataset import Batch, BatchSource, prepare_prompts
from train.loader import batches_from
from train.slice_memory import TWO_SLICES_SHARE, SliceMemory
from train.tracks import Place


class RecordingEngine:
    """Keeps what the predictor hands to a model, and answers nothing."""

    name, precision, threads = "torch", "fp32", 1

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.canvas = np.empty(0, np.float32)
        self.inputs: DecoderInputs = {}

    def begin(self, *, many):
        return 1

    def encode(self, canvas):
        self.canvas = canvas
        return np.zeros((1, 1, 1), np.float32)

    def decode(self, embedding, inputs):
        self.inputs = inputs
        count = len(next(iter(inputs.values())))
        return np.zeros((count, 8, 8), np.float32), np.zeros(count, np.float32)


@pytest.mark.parametrize(("decoder", "hints"), [("box_frame", False), ("box_frame", True), ("sam", False)])
@pytest.mark.parametrize("colour", [False, True])
def test_training_and_prediction_make_the_identical_tensors_of_an_image_and_its_boxes(
    tiny_spec: ModelSpec, decoder: str, hints: bool, colour: bool
):
    spec = replace(tiny_spec, decoder=decoder, memory=decoder == "box_frame", hints=hints)
    image, masks = drawn_slice(1, colour=colour)
    boxes = [box for mask in masks if (box := box_around(mask))]
    asked = [Prompt(box, others=box_rows(boxes), fit=USUAL_FIT) for box in boxes]
    trained = prepare_prompts(image, masks, asked, spec)
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
        made.append(
            prepare_prompts(memory.image(number), masks, [Prompt(box_around(m)) for m in masks], boxes_only.model)
        )
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
    spec = replace(tiny_spec, decoder="sam", encoder="efficientvit_l0", neck_size=4, embedding_width=256)
    image, masks = drawn_slice(0, colour=False)
    assert prepare_prompts(image, masks, [Prompt(Box(6, 7, 22, 23))] * 2, spec).target.shape == (2, 16, 16)


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


def test_the_predictor_s_walk_and_training_make_the_identical_tensors_of_what_is_known(tiny_spec: ModelSpec):
    class WholeView(RecordingEngine):
        """Calls everything within the view the object."""

        def decode(self, embedding, inputs):
            super().decode(embedding, inputs)
            return np.ones((1, 8, 8), np.float32), np.ones(1, np.float32)

    spec = replace(tiny_spec, memory=True)
    volume = np.stack([drawn_slice(number, colour=False)[0] for number in (0, 1)])
    volume[0] += 7
    engine, given = WholeView(spec), VolumeBox(Box(10, 11, 20, 23), 0, 1)
    found = segment_volume(engine, volume, [given])[0] == 1
    tight = box_around(found)
    assert tight is not None
    box = expected_box(tight, given.cross_section(1)).within((SIDE, SIDE))
    trained = prepare_prompts(volume[1], [found], [Prompt(box, Neighbour(volume[0], found))], spec)
    assert trained.inputs.keys() == engine.inputs.keys()
    assert trained.inputs["memory"][:, 1].any()
    for name, value in trained.inputs.items():
        np.testing.assert_array_equal(value, engine.inputs[name])


@pytest.mark.parametrize("z", [0, 1, 3])
def test_training_and_prediction_show_a_model_the_identical_neighbouring_slices(
    tiny_spec: ModelSpec, memory: SliceMemory, volume: list[int], z: int
):
    spec = replace(tiny_spec, channels="adjacent", memory=True)
    whole = np.stack([memory.image(number) for number in volume])
    masks = memory.masks(volume[z], [0])
    box = box_around(masks[0])
    assert box is not None
    engine = RecordingEngine(spec)
    segment_volume(engine, whole, [VolumeBox(box, z, z)])
    trained = prepare_prompts(memory.slice_for(spec, volume[z]), masks, [Prompt(box)], spec)
    assert not np.array_equal(trained.canvas[0], trained.canvas[2])
    np.testing.assert_array_equal(trained.canvas, engine.canvas)
    for name, value in trained.inputs.items():
        np.testing.assert_array_equal(value, engine.inputs[name])


def test_batches_of_a_model_that_sees_neighbouring_slices_hold_them(boxes_only: RunConfig, memory: SliceMemory):
    spec = replace(boxes_only.model, channels="adjacent")
    batch = BatchSource(memory, spec, boxes_only.data, seed=0).batch(0)
    shown = [prepare_slice(memory.slice_for(spec, number), spec).canvas for number in range(len(memory))]
    assert all(any(np.array_equal(canvas, each) for each in shown) for canvas in batch.canvas.numpy())


def test_hints_of_a_batch_show_other_boxes_clicks_and_answers_in_the_shares_of_the_config(
    tiny_config: RunConfig, store: PackedStore
):
    spec = replace(tiny_config.model, hints=True)
    memory = SliceMemory(store, "train")

    def shown(**shares: float) -> Tensor:
        data = replace(tiny_config.data, synthetic=0.0, superpixels=0.0, **shares)
        batches = [BatchSource(memory, spec, data, seed=0).batch(number) for number in range(3)]
        hints = torch.cat([batch.inputs["hints"] for batch in batches])
        return (hints != 0).any(dim=0).flatten(1).any(dim=1)  # for each of the maps of `HINT_MAPS`

    assert not shown(others=0.0, corrections=0.0, propagation=0.0, fits=0.0).any()
    fits = shown(others=0.0, corrections=0.0, propagation=0.0, fits=1.0, tight=1.0)
    assert fits.tolist() == [False] * 6 + [True]
    assert shown(others=1.0, corrections=0.0)[:2].any()
    clicked = shown(others=0.0, corrections=1.0)
    assert clicked[2]
    assert clicked[4]


def test_augmentation_changes_the_tone_of_neighbouring_slices_alike(tiny_config: RunConfig, tmp_path: Path):
    # All slices of the volume are the same, so the three channels of every canvas are.
    image, masks = drawn_slice(0, colour=False)
    path = tmp_path / "same.store"
    with StoreWriter(path) as writer:
        for z in range(3):
            runs = [encode_runs(mask) for mask in masks]
            names = {"dataset": "MR/Same", "modality": "MR", "case": "one", "group": "one"}
            writer.add(encode_image(image), runs, **names, split="train", size_hw=(SIDE, SIDE), z=z)
    spec = replace(tiny_config.model, channels="adjacent")
    source = BatchSource(SliceMemory(open_store(path), "train"), spec, tiny_config.data, seed=0)
    for number in range(20):
        first, second, third = source.prompts(number).canvas
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)


@pytest.fixture
def memory(store: PackedStore) -> SliceMemory:
    return SliceMemory(store, "train")


@pytest.fixture
def volume(memory: SliceMemory) -> list[int]:
    """The numbers of the four slices of the volume, in order."""
    slices = [n for n, each in enumerate(memory.entries) if each.z >= 0]
    assert [memory.entries[n].z for n in slices] == [0, 1, 2, 3]
    return slices


def test_an_object_s_track_is_the_same_from_each_of_its_slices(memory: SliceMemory, volume: list[int]):
    for item in (0, 1):
        track = tuple(Place(number, item) for number in volume)
        assert [memory.track(number, item) for number in volume] == [track] * 4


def test_tracks_do_not_leave_their_volume_and_do_not_want_its_slices_in_order(tmp_path: Path):
    # Slices of two volumes with the same objects, in turn and from the last to the first.
    path = tmp_path / "turned.store"
    with StoreWriter(path) as writer:
        for z in (2, 1, 0):
            for case in ("a", "b"):
                image, masks = drawn_slice(z, colour=False)
                runs = [encode_runs(mask) for mask in masks]
                names = {"dataset": "MR/Drawn", "modality": "MR", "case": case, "group": case}
                writer.add(encode_image(image), runs, **names, split="train", size_hw=(SIDE, SIDE), z=z)
    memory = SliceMemory(open_store(path), "train")
    assert memory.track(0, 1) == (Place(4, 1), Place(2, 1), Place(0, 1))
    assert memory.track(3, 0) == (Place(5, 0), Place(3, 0), Place(1, 0))


def test_no_walk_leads_to_the_middle_slice(memory: SliceMemory, volume: list[int]):
    # The middle of slices 0 to 3 is 1, as it is the predictor's.
    assert VolumeBox(Box(0, 0, 1, 1), 0, 3).key_slice == 1
    assert all(memory.propagated(volume[1], 0, TINY, np.random.default_rng(seed)) is None for seed in range(20))


def test_an_image_s_object_is_a_track_of_its_own_and_no_walk_leads_there(memory: SliceMemory):
    image = next(n for n, each in enumerate(memory.entries) if each.z < 0)
    assert memory.track(image, 1) == (Place(image, 1),)
    assert memory.propagated(image, 1, TINY, np.random.default_rng(0)) is None


@pytest.mark.parametrize(("z", "before"), [(0, {1}), (2, {1}), (3, {1, 2})])
def test_a_walk_comes_from_one_or_two_slices_nearer_to_the_middle(
    memory: SliceMemory, volume: list[int], z: int, before: set[int]
):
    reached = []
    for seed in range(100):
        known = memory.propagated(volume[z], 1, TINY, np.random.default_rng(seed))
        assert known is not None
        assert (known.place, known.length) == (z, 4)
        # conftest.drawn_slice: the second disc goes up by a pixel a slice.
        np.testing.assert_array_equal(known.middle, disc(33, 31, 10))
        came = [each for each in before if np.array_equal(known.mask, disc(33, 32 - each, 10))]
        np.testing.assert_array_equal(known.image, memory.image(volume[came[0]]))
        reached += came
    assert len(reached) == 100
    assert set(reached) == before
    if z == 3:
        assert reached.count(1) / 100 == pytest.approx(TWO_SLICES_SHARE, abs=0.12)  # standard deviation 0.04


def with_memory(config: RunConfig) -> RunConfig:
    """Every prompt on a slice of a volume comes from propagation; models are shown what is known."""
    data = replace(config.data, propagation=1.0)
    return replace(config, model=replace(config.model, memory=True), data=data)


def view_of(shares: np.ndarray, fit: CanvasFit) -> BoxView:
    """Give the view with these edges as shares of a canvas that the slice fills; its own box is not known."""
    return BoxView(Box(0, 0, 0, 0), fit, 32, *(round(float(edge)) for edge in shares * SIDE))


def test_without_augmentation_a_walk_s_prompt_holds_the_slices_exactly(
    boxes_only: RunConfig, memory: SliceMemory, volume: list[int]
):
    config = with_memory(boxes_only)
    source = BatchSource(memory, config.model, config.data, seed=0)
    slices = [prepare_slice(memory.image(number), config.model) for number in volume]
    known, lost, exact = 0, 0, 0
    for number in range(150):
        prompts = source.prompts(number)
        z = next((z for z, each in enumerate(slices) if np.array_equal(each.canvas, prompts.canvas)), None)
        if z in (None, 1):
            assert not prompts.inputs["memory"].any()  # images and the middle slice
            continue
        for place in (0, 1):
            view = view_of(prompts.inputs["view_in_canvas"][place], slices[z].fit)
            masks = [view.sample(mask.astype(np.float32)) for mask in memory.masks(volume[z], [0, 1])]
            item = next(i for i, mask in enumerate(masks) if np.array_equal(mask, prompts.target[place]))
            found, brighter = prompts.inputs["memory"][place]
            if not found.any():
                lost += 1
                continue
            known += 1
            for neighbour in {0: [1], 2: [1], 3: [1, 2]}[z]:
                there = Neighbour(memory.image(volume[neighbour]), memory.masks(volume[neighbour], [item])[0])
                map_there, brighter_there = view_memory(slices[z], view, there, prompts.inputs["detail"][place])
                if np.array_equal(brighter_there, brighter):
                    exact += np.array_equal(map_there, found)
                    assert ((map_there > 0) & (found > 0)).any()
                    break
            else:
                pytest.fail(f"prompt {number}: brightness of no neighbour of slice {z}")
    assert known > 50
    assert 0 < lost < 0.15 * (known + lost)
    assert 0.05 * known < exact < 0.5 * known


def test_augmentation_changes_the_neighbouring_slice_as_the_slice_itself(tiny_config: RunConfig, tmp_path: Path):
    # All slices of the volume are the same: then none is brighter anywhere, and the object is found where it is.
    image, masks = drawn_slice(0, colour=False)
    path = tmp_path / "same.store"
    with StoreWriter(path) as writer:
        for z in range(5):
            runs = [encode_runs(mask) for mask in masks]
            names = {"dataset": "MR/Same", "modality": "MR", "case": "one", "group": "one"}
            writer.add(encode_image(image), runs, **names, split="train", size_hw=(SIDE, SIDE), z=z)
    config = with_memory(tiny_config)
    source = BatchSource(SliceMemory(open_store(path), "train"), config.model, config.data, seed=0)
    overlaps = []
    for number in range(40):
        prompts = source.prompts(number)
        np.testing.assert_allclose(prompts.inputs["memory"][:, 1], 0, atol=1e-6)
        for (found, _), target in zip(prompts.inputs["memory"], prompts.target, strict=True):
            if found.any():
                there, here = found > 0, target > 0.5
                overlaps.append((there & here).sum() / (there | here).sum())
    assert len(overlaps) > 30
    assert np.mean(overlaps) > 0.6


def test_the_share_of_augmented_images_is_that_of_the_config(boxes_only: RunConfig, memory: SliceMemory):
    def canvases(**values: object) -> list[np.ndarray]:
        source = BatchSource(memory, boxes_only.model, replace(boxes_only.data, **values), seed=0)
        return [source.prompts(number).canvas for number in range(60)]

    plain = canvases()

    def unchanged_share(share: float) -> float:
        drawn = canvases(augment="full", augment_share=share)
        return float(np.mean([np.array_equal(a, b) for a, b in zip(plain, drawn, strict=True)]))

    unchanged = {share: unchanged_share(share) for share in (0.0, 0.5, 1.0)}
    assert unchanged[0.0] == 1
    assert 0.5 < unchanged[0.5] < 0.8  # some of the augmented are left as they are, too
    assert unchanged[1.0] < 0.35


def test_modalities_may_have_their_own_share_of_tight_boxes(boxes_only: RunConfig, memory: SliceMemory):
    def batch(**values: object) -> Batch:
        data = replace(boxes_only.data, proportional=0.0, outwards=0.0, **values)
        return BatchSource(memory, boxes_only.model, data, seed=0).batch(0)

    everywhere = {entry.modality: 1.0 for entry in memory.entries}
    tight, named, noisy = batch(tight=1.0), batch(tight=0.0, modality_tight=everywhere), batch(tight=0.0)
    assert torch.equal(named.target, tight.target)
    assert not torch.equal(noisy.target, tight.target)


def test_a_model_without_memory_learns_from_walks_by_their_boxes_alone(tiny_config: RunConfig, memory: SliceMemory):
    data = replace(tiny_config.data, propagation=1.0)
    with_it = replace(tiny_config.model, memory=True)
    plain, shown = (BatchSource(memory, spec, data, seed=0).batch(3) for spec in (tiny_config.model, with_it))
    assert set(shown.inputs) - set(plain.inputs) == {"memory"}
    assert torch.equal(plain.target, shown.target)
    assert all(torch.equal(value, shown.inputs[name]) for name, value in plain.inputs.items())


def test_what_is_known_of_several_images_stands_in_the_batch_in_their_order(
    tiny_config: RunConfig, memory: SliceMemory
):
    config = with_memory(tiny_config)
    data = replace(config.data, images_per_batch=6, prompts_per_image=3)
    source = BatchSource(memory, config.model, data, seed=0)
    batch = source.batch(0)
    assert batch.inputs["memory"].shape == (18, 2, 32, 32)
    assert batch.inputs["memory"].any()
    for number in range(6):
        alone = source.prompts(number).inputs["memory"]
        np.testing.assert_array_equal(batch.inputs["memory"][3 * number : 3 * number + 3].numpy(), alone)


@pytest.mark.parametrize("source", ["propagation", "synthetic", "superpixels"])
def test_further_sources_of_objects_give_whole_batches(tiny_config: RunConfig, store: PackedStore, source: str):
    data = DataConfig(images_per_batch=4, **{source: 1.0})
    batch = BatchSource(SliceMemory(store, "train"), tiny_config.model, data, seed=0).batch(0)
    assert batch.canvas.shape == (4, 3, 64, 64)
    assert float(batch.target.flatten(1).amax(dim=1).min()) > 0  # an object in every view
