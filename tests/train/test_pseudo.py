"""Pseudo-objects on drawn slices; the teacher is an engine without weights that finds what is bright."""

import json
import signal
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_slices import SIDE, disc
from tiny_spec import TINY

from graysam.boxes import Box, box_around
from graysam.models.checkpoint import save_checkpoint
from graysam.models.network import build_network
from graysam.models.spec import ModelSpec
from graysam.store import PackedStore, StoreEntry, StoreWriter, encode_image, encode_runs, open_store
from train.config import ConfigError, RunConfig
from train.dataset import BatchSource
from train.pseudo.__main__ import Stop, main
from train.pseudo.boxes import SOURCES, Candidate, box_iou, candidate_boxes
from train.pseudo.keep import PseudoObject, Rules, TeacherAnswer, contrast, first_look, stability, without_duplicates
from train.pseudo.maker import Plan, PseudoMaker
from train.pseudo.order import balanced_order
from train.pseudo.shards import Found, PseudoError, Shard, read_found, read_shards, write_shard
from train.pseudo.slices import TrainingSlices
from train.pseudo.soft import SoftTarget, soft_target
from train.pseudo.trust import datasets_of, measure_trust
from train.slice_memory import SliceMemory
from train.trainer import Trainer

CPU = torch.device("cpu")
LABELLED, UNLABELLED = disc(10, 10, 6), disc(34, 34, 8)
PLAIN_TINY = replace(TINY, channels="plain")


@dataclass
class BrightTeacher:
    """Calls an object what is brighter than half of the slice's range, within the enlarged box, and is sure of it."""

    spec: ModelSpec = PLAIN_TINY
    name: str = "torch"
    precision: str = "fp32"
    threads: int = 1
    sign: float = 1.0
    asked: list[int] = field(default_factory=list)

    def begin(self, *, many):
        return 1

    def encode(self, canvas):
        return np.ascontiguousarray(canvas[:, ::8, ::8])

    def decode(self, embedding, inputs):
        detail = inputs["detail"]
        self.asked.append(len(detail))
        return self.sign * 40 * (detail[:, 0] - np.float32(0.5)), np.full(len(detail), 0.9, np.float32)


def bright_slice(number: int) -> np.ndarray:
    """A dark slice with two bright discs and a slope that tells it from others."""
    image = np.full((SIDE, SIDE), 20 + number, np.uint8) + np.arange(SIDE, dtype=np.uint8) // 4
    image[LABELLED | UNLABELLED] = 220
    return image


@pytest.fixture(scope="module")
def half_labelled(tmp_path_factory: pytest.TempPathFactory) -> PackedStore:
    """Ten slices of two modalities, each with one disc labelled and one not; the last of either is for val and far.

    In MR/Odd the dark corner is called the object, with which no teacher of bright things can agree.
    """
    path = tmp_path_factory.mktemp("pseudo") / "half.store"
    corner = np.zeros((SIDE, SIDE), bool)
    corner[30:44, 2:14] = True
    with StoreWriter(path) as writer:
        for dataset, mask, count in (("US/Discs", LABELLED, 5), ("MR/Discs", LABELLED, 3), ("MR/Odd", corner, 2)):
            for number in range(count):
                writer.add(
                    encode_image(bright_slice(number)),
                    [encode_runs(mask)],
                    dataset=dataset,
                    modality=dataset.partition("/")[0],
                    case=f"image{number}",
                    group=f"patient{number}",
                    split="train" if number < count - 1 or dataset == "MR/Odd" else "val" if count == 5 else "far",
                    size_hw=(SIDE, SIDE),
                )
    return open_store(path)


def maker(store: PackedStore, folder: Path, stop_after: int | None = None, **values: object) -> PseudoMaker:
    """A maker that is stopped when it asks for the n-th time whether to go on."""
    answers = iter(range(10**6))
    return PseudoMaker(
        BrightTeacher(),
        store,
        folder,
        Plan(trust_slices=1, **values),
        is_stopped=lambda: stop_after is not None and next(answers) >= stop_after,
    )


def test_the_disc_that_nobody_labelled_is_found_once_on_every_training_slice(
    half_labelled: PackedStore, tmp_path: Path
):
    assert maker(half_labelled, tmp_path, boxes=24).run()
    found = read_found(tmp_path, half_labelled).objects
    assert {(dataset, case) for dataset, case, _ in found} <= {
        *(("US/Discs", f"image{number}") for number in range(4)),
        *(("MR/Discs", f"image{number}") for number in range(2)),
    }
    slices = SliceMemory(half_labelled, "train", found=Found(found))
    masks = [slices.pseudo_mask(number, np.random.default_rng(0)) for number in range(len(slices))]
    hits = [mask for mask in masks if mask is not None]
    assert len(hits) >= 4
    for mask in hits:
        shared = (mask & UNLABELLED).sum() / (mask | UNLABELLED).sum()
        assert shared > 0.85
    assert all(len(objects) == 1 for objects in found.values())


def test_where_the_teacher_disagrees_with_the_labels_nothing_is_asked(half_labelled: PackedStore, tmp_path: Path):
    made = maker(half_labelled, tmp_path)
    made.run()
    report = made.write_report()
    assert list(report["left_out_below_trust"]) == ["MR/Odd"]
    assert report["slices_visited"] == report["slices_to_visit"] == 6
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert json.loads((tmp_path / "trust.json").read_text())["US/Discs"]["dsc"] > 0.9


def test_agreement_is_the_mean_dsc_of_answers_to_boxes_a_little_outside(half_labelled: PackedStore):
    slices = TrainingSlices(half_labelled)
    numbers = datasets_of(slices)
    agreeing = measure_trust(BrightTeacher(), slices, numbers["MR/Discs"])
    opposed = measure_trust(BrightTeacher(sign=-1.0), slices, numbers["MR/Discs"])
    assert agreeing is not None
    assert opposed is not None
    assert (agreeing.objects, opposed.objects) == (2, 2)
    assert agreeing.dsc > 0.9
    assert opposed.dsc < 0.2


def test_a_work_in_pieces_gives_what_the_uninterrupted_one_gives(half_labelled: PackedStore, tmp_path: Path):
    maker(half_labelled, tmp_path / "whole").run()
    finished = [maker(half_labelled, tmp_path / "pieces", stop_after=stop).run() for stop in (1, 3, 2, 2, 99)]
    assert finished == [False, False, False, False, True]
    shards = read_shards(tmp_path / "pieces")
    assert len(shards) > 1
    whole, pieces = (read_found(tmp_path / name, half_labelled).objects for name in ("whole", "pieces"))
    assert list(whole) == list(pieces)
    for name, objects in whole.items():
        assert len(objects) == len(pieces[name])
        assert all(np.array_equal(one, other) for one, other in zip(objects, pieces[name], strict=True))
    # What is done is not done again.
    again = maker(half_labelled, tmp_path / "pieces")
    assert again.run()
    assert again._engine.asked == []


def test_a_folder_takes_one_store_one_teacher_and_one_plan(
    half_labelled: PackedStore, store: PackedStore, tmp_path: Path
):
    maker(half_labelled, tmp_path)
    with pytest.raises(PseudoError, match="plan differ"):
        maker(half_labelled, tmp_path, boxes=3)
    with pytest.raises(PseudoError, match="store_index_sha256"):
        maker(store, tmp_path)
    with pytest.raises(PseudoError, match="another store"):
        read_found(tmp_path, store)


def test_an_object_of_a_slice_that_is_not_trained_on_is_refused(half_labelled: PackedStore, tmp_path: Path):
    maker(half_labelled, tmp_path)
    thing = PseudoObject("blob", UNLABELLED, 0.9, 0.9, 0.9)
    for held_out in (("US/Discs", "image4", -1), ("MR/Discs", "image2", -1)):
        shard = Shard(0)
        shard.add(held_out, [thing], {}, 0.1)
        write_shard(tmp_path, shard)
        with pytest.raises(PseudoError, match="not of the split 'train'"):
            read_found(tmp_path, half_labelled)


def test_no_slice_of_another_split_is_ever_looked_at(half_labelled: PackedStore):
    slices = TrainingSlices(half_labelled)
    assert {entry.split for entry in half_labelled.entries} == {"train", "val", "far"}
    assert {entry.split for entry in slices.entries} == {"train"}


def test_what_is_written_is_read_again(tmp_path: Path):
    shard = Shard(0)
    things = [PseudoObject("blob", UNLABELLED, 0.5, 0.75, 1.0), PseudoObject("random", LABELLED, 0.25, 1.0, 0.5)]
    shard.add(("MR/A", "one", 3), things, {"border": 2}, 0.5)
    shard.add(("MR/A", "two", -1), [], {"border": 1, "stability": 1}, 0.25)
    target = SoftTarget(2, (1, 4, 0, 9), np.arange(64 * 64).astype(np.uint8).reshape(64, 64))
    shard.add(("US/B", "one", -1), things[:1], {}, 0.25, soft=[target])
    write_shard(tmp_path, shard)
    (again,) = read_shards(tmp_path)
    assert again.slices == shard.slices
    assert again.sources == [[SOURCES.index("blob"), SOURCES.index("random")], [], [SOURCES.index("blob")]]
    assert again.scores == [[(0.5, 0.75, 1.0), (0.25, 1.0, 0.5)], [], [(0.5, 0.75, 1.0)]]
    assert again.dropped == {"border": 3, "stability": 1}
    assert again.seconds == 1.0
    assert [len(targets) for targets in again.soft] == [0, 0, 1]
    assert (again.soft[2][0].item, again.soft[2][0].window) == (2, (1, 4, 0, 9))
    np.testing.assert_array_equal(again.soft[2][0].values, target.values)
    assert [[runs.tolist() for runs in group] for group in again.objects] == [
        [runs.tolist() for runs in group] for group in shard.objects
    ]


def test_a_missing_or_damaged_shard_is_named(tmp_path: Path):
    shard = Shard(7)
    shard.add(("MR/A", "one", 3), [], {}, 0.5)
    path = write_shard(tmp_path, shard)
    with pytest.raises(PseudoError, match=r"objects-00000000\.npz is missing"):
        read_shards(tmp_path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PseudoError, match=r"objects-00000007.npz: is no whole shard"):
        read_shards(tmp_path)


def entry(dataset: str, group: str, z: int) -> StoreEntry:
    return StoreEntry(dataset, dataset.partition("/")[0], group, group, "train", z, (8, 8), 0, 0, ())


def test_any_first_part_of_the_order_is_balanced():
    # 40 slices of two patients, 10 and 2 slices of two other data sets, 8 of another modality.
    entries = [entry("CT/Large", f"patient{z % 2}", z) for z in range(40)]
    entries += [entry("CT/Small", "a", z) for z in range(10)] + [entry("CT/Tiny", "b", z) for z in range(2)]
    entries += [entry("US/Only", f"p{z}", z) for z in range(8)]
    order = balanced_order(entries, seed=3)
    assert sorted(order) == list(range(60))
    assert order == balanced_order(entries, seed=3)
    assert order != balanced_order(entries, seed=4)
    visited = [entries[number] for number in order]
    # Modalities take turns while both have slices, and so do the data sets of CT: three, then two, then one.
    assert [each.modality for each in visited[:16]] == ["CT", "US"] * 8
    ct = [each.dataset for each in visited if each.modality == "CT"]
    assert ct[:6] == ["CT/Large", "CT/Small", "CT/Tiny"] * 2
    assert ct[6:22] == ["CT/Large", "CT/Small"] * 8
    assert set(ct[22:]) == {"CT/Large"}
    patients = [each.group for each in visited if each.dataset == "CT/Large"]
    assert all(one != other for one, other in pairwise(patients))


def boxed(mask: np.ndarray) -> Box:
    box = box_around(mask)
    assert box is not None
    return box


def test_duplicates_and_what_the_labels_say_already_are_dropped():
    square = np.zeros((20, 20), bool)
    square[2:12, 2:12] = True  # 100 pixels
    nearly = square.copy()
    nearly[2, 2:12] = False  # 90 of them: IoU 0.9
    half = np.zeros((20, 20), bool)
    half[2:7, 2:12] = True  # 50 of them: IoU 0.5, and half of the box
    ring = square.copy()
    ring[5:9, 5:9] = False  # 84 of them, in the same box
    cross = np.zeros((20, 20), bool)
    cross[2:12, 6:8] = cross[6:8, 2:12] = True  # 36 of them, in the same box
    things = [PseudoObject("blob", mask, score, 1.0) for mask, score in ((nearly, 0.8), (square, 0.9), (half, 0.7))]
    kept, dropped = without_duplicates(things, [], Rules())
    assert [each.mask.sum() for each in kept] == [100, 50]
    assert dropped == {"duplicate": 1}
    kept, dropped = without_duplicates(things, [square], Rules())
    assert [each.mask.sum() for each in kept] == [50]
    assert dropped == {"labelled already": 2}
    others = [PseudoObject("blob", cross, 0.9, 1.0)]
    assert boxed(cross) == boxed(square) == boxed(ring)
    assert without_duplicates(others, [square], Rules()) == ([], {"contradicts a label": 1})
    assert len(without_duplicates(others, [half], Rules())[0]) == 1


def look(mask: np.ndarray, box: Box, *, sure: float = 5.0, iou: float = 0.9, shade: int = 90) -> PseudoObject | str:
    window = (slice(0, mask.shape[0]), slice(0, mask.shape[1]))
    logits = np.where(mask, sure, -sure).astype(np.float32)
    image = np.where(mask, shade, 50).astype(np.uint8)
    image[0, 0] = 250
    return first_look(TeacherAnswer(window, logits, iou), Candidate("blob", box), image, Rules())


def test_an_answer_is_judged_by_its_certainty_size_and_place():
    ball = disc(24, 24, 10)
    found = look(ball, boxed(ball))
    assert isinstance(found, PseudoObject)
    np.testing.assert_array_equal(found.mask, ball)
    assert look(ball, boxed(ball), iou=0.7) == "predicted IoU"
    assert look(ball, boxed(ball), sure=0.5) == "stability"
    assert look(ball, boxed(ball), shade=55) == "contrast"  # 5 of 200 levels
    assert look(disc(24, 24, 0), Box(20, 20, 28, 28)) == "too small"
    assert look(disc(24, 24, 23), Box(0, 0, 47, 47)) == "too large"
    assert look(ball | disc(5, 5, 5), Box(0, 0, 47, 47)) == "in pieces"
    assert look(ball, Box(24, 14, 40, 34)) == "outside of its box"
    filled = np.zeros((SIDE, SIDE), bool)
    filled[10:30, 10:30] = True
    assert look(filled, boxed(filled)) == "share of its box"
    assert look(np.eye(SIDE, dtype=bool) | np.eye(SIDE, k=1, dtype=bool), Box(0, 0, 47, 47)) == "share of its box"
    assert look(disc(24, 0, 12), boxed(disc(24, 0, 12))) == "border"


def test_a_mask_that_its_view_cuts_off_is_dropped_but_not_one_at_the_slice_s_border():
    logits = np.full((10, 10), 5, np.float32)
    logits[:, :4] = logits[:3] = logits[7:] = -5  # four rows high, reaching the last column
    asked = Candidate("blob", Box(14, 13, 19, 16))
    inner = TeacherAnswer((slice(10, 20), slice(10, 20)), logits, 0.9)
    image = np.zeros((40, 40), np.uint8)
    image[13:17, 14:20] = 200
    rules = Rules(smallest_px=1, most_box_share=1, border_share=0.5)
    assert first_look(inner, asked, image, rules) == "cut by its view"
    at_border = first_look(inner, asked, image[:, :20], rules)
    assert isinstance(at_border, PseudoObject)
    assert at_border.mask.sum() == 24


def test_contrast_is_the_difference_at_the_rim_in_the_clearest_channel():
    ball = disc(24, 24, 10)
    image = np.where(ball, 120, 20).astype(np.uint8)
    image[0, 0], image[0, 1] = 0, 200
    assert contrast(ball, image) == pytest.approx(0.5)
    colour = np.stack([np.where(ball, 60, 20), np.where(ball, 120, 20), np.full(ball.shape, 20)], axis=-1)
    colour[0, 0], colour[0, 1] = 0, 200
    assert contrast(ball, colour.astype(np.uint8)) == pytest.approx(0.5)
    assert contrast(ball, np.full((SIDE, SIDE), 9, np.uint8)) == 0.0
    assert contrast(np.ones((SIDE, SIDE), bool), image) == 0.0


def test_stability_is_what_is_left_at_a_raised_threshold():
    logits = np.array([[-2, -0.5, 0.5, 2, 3]], np.float32)
    assert stability(logits, 1.0) == pytest.approx(2 / 4)
    assert stability(logits, 0.1) == 1.0
    assert stability(np.full((2, 2), -9, np.float32), 1.0) == 0.0


def test_boxes_are_within_the_slice_unlike_each_other_and_unlike_the_labelled_ones():
    image, labelled = bright_slice(0), [boxed(LABELLED)]
    found = candidate_boxes(image, labelled, 20, np.random.default_rng(0))
    assert 8 <= len(found) <= 20
    assert {each.source for each in found} == set(SOURCES)
    boxes = [each.box for each in found]
    for number, box in enumerate(boxes):
        assert box == box.within((SIDE, SIDE))
        assert all(box_iou(box, other) <= 0.8 for other in (*labelled, *boxes[number + 1 :]))
    assert any(box_iou(box, boxed(UNLABELLED)) > 0.7 for box in boxes)
    assert {each.source for each in candidate_boxes(image, [], 20, np.random.default_rng(0))} == {*SOURCES} - {
        "neighbour"
    }
    assert candidate_boxes(np.full_like(image, 7), [], 20, np.random.default_rng(0)) == []


def test_the_share_of_two_boxes_is_counted_in_pixels():
    assert box_iou(Box(0, 0, 3, 3), Box(2, 0, 5, 3)) == pytest.approx(8 / 24)
    assert box_iou(Box(0, 0, 3, 3), Box(4, 0, 5, 3)) == 0.0


def test_training_draws_pseudo_objects_in_their_share(half_labelled: PackedStore, boxes_only: RunConfig):
    runs = [encode_runs(UNLABELLED)]
    memory = SliceMemory(half_labelled, "train", found=Found({("US/Discs", f"image{n}", -1): runs for n in range(9)}))

    def targets(share: float) -> list[float]:
        data = replace(boxes_only.data, pseudo=share, modality_weights={"MR": 0.0}, prompts_per_image=1)
        source = BatchSource(memory, boxes_only.model, data, seed=0)
        return [float(source.prompts(number).inputs["view_in_canvas"][0][0]) for number in range(80)]

    # A tight box round the labelled disc begins left of the middle, that of the other one right of it.
    left_edges = {share: np.array(targets(share)) for share in (0.0, 0.5, 1.0)}
    assert left_edges[0.0].std() == left_edges[1.0].std() == 0
    assert left_edges[0.0][0] < left_edges[1.0][0]
    assert (left_edges[0.5] == left_edges[1.0][0]).mean() == pytest.approx(0.5, abs=0.17)  # standard deviation 0.056


def test_slices_without_pseudo_objects_give_their_labelled_ones(half_labelled: PackedStore, boxes_only: RunConfig):
    memory = SliceMemory(half_labelled, "train")
    with_share = replace(boxes_only.data, pseudo=1.0)
    plain, asked = (
        BatchSource(memory, boxes_only.model, data, seed=0).batch(0) for data in (boxes_only.data, with_share)
    )
    assert plain.target.shape == asked.target.shape
    assert float(asked.target.flatten(1).amax(dim=1).min()) > 0


def test_a_run_wants_share_and_folder_together(half_labelled: PackedStore, tiny_config: RunConfig, tmp_path: Path):
    maker(half_labelled, tmp_path / "pseudo").run()
    with_share = replace(tiny_config, data=replace(tiny_config.data, pseudo=0.3))
    with pytest.raises(ConfigError, match="give the folder"):
        Trainer(with_share, half_labelled, tmp_path, CPU)
    with pytest.raises(ConfigError, match=r"data\.pseudo and data\.soft are 0"):
        Trainer(tiny_config, half_labelled, tmp_path, CPU, pseudo=tmp_path / "pseudo")
    trainer = Trainer(with_share, half_labelled, tmp_path, CPU, pseudo=tmp_path / "pseudo")
    assert trainer.train_step()["loss"] > 0


def test_a_signal_or_the_clock_asks_to_stop_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop(minutes=float("inf"))
    with stop.by_signals():
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) is before
    assert Stop(minutes=0)()


def test_the_command_takes_a_checkpoint_reports_and_draws(
    half_labelled: PackedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    torch.manual_seed(0)
    spec = replace(TINY, ellipse_gate=True)
    save_checkpoint(tmp_path / "teacher.pt", build_network(spec), spec)
    options = ["--teacher", str(tmp_path / "teacher.pt"), "--store", str(half_labelled.path), "--engine", "torch"]
    options += ["--precision", "fp32", "--threads", "1", "--trust", "0", "--boxes", "6", "--pictures", "3"]
    # Without training it neither is sure nor predicts a high IoU; but what it answers, the ellipse, is in place.
    options += ["--predicted-iou", "-9", "--stability", "0", "--same-answer", "0", "--out", str(tmp_path / "out")]
    caplog.set_level("INFO")
    assert main(options) == 0
    assert "objects on 8 of 8 slices" in caplog.text
    page = cv2.imread(str(tmp_path / "out/pseudo.png"))
    assert page.shape == (320, 4 * 320, 3)
    assert main([*options, "--boxes", "0"]) == 2
    assert main([*options[2:], "--teacher", str(tmp_path / "absent")]) == 2


def test_probabilities_are_kept_coarsely_round_the_object_and_come_back():
    logits = np.full((SIDE, SIDE), -30, np.float32)
    logits[10:30, 20:30] = 0.0  # a half everywhere in 20 rows and 10 columns
    logits[12:28, 22:28] = 30.0
    answer = TeacherAnswer((slice(0, SIDE), slice(0, SIDE)), logits, 0.9)
    target = soft_target(answer, 3, Box(20, 10, 29, 29), (SIDE, SIDE))
    assert target.item == 3
    assert target.window == (5, 35, 17, 32)
    assert target.values.shape == (64, 64)
    again = target.map((SIDE, SIDE))
    assert again[20, 25] == 255
    assert int(again[11, 25]) == pytest.approx(127, abs=40)
    assert again[6, 25] == again[20, 40] == again[0, 0] == 0
    assert np.abs(again / 255 - 1 / (1 + np.exp(-logits))).mean() < 0.02


def test_probabilities_of_labelled_objects_are_kept_where_the_teacher_agrees(
    half_labelled: PackedStore, tmp_path: Path
):
    made = maker(half_labelled, tmp_path, soft=2, trust=0.0)
    made.run()
    soft = read_found(tmp_path, half_labelled).soft
    assert {dataset for dataset, _, _ in soft} == {"US/Discs", "MR/Discs"}  # not MR/Odd
    assert len(soft) == made.write_report()["soft_targets"] == 6
    for targets in soft.values():
        found = targets[0].map((SIDE, SIDE)) > 127
        assert (found & LABELLED).sum() / (found | LABELLED).sum() > 0.8


def test_targets_lean_on_the_teacher_by_share_and_weight(half_labelled: PackedStore, boxes_only: RunConfig):
    unsure = {0: SoftTarget(0, (0, SIDE, 0, SIDE), np.full((64, 64), 51, np.uint8))}  # a fifth everywhere
    names = [(dataset, f"image{number}", -1) for dataset in ("US/Discs", "MR/Discs", "MR/Odd") for number in range(5)]
    memory = SliceMemory(half_labelled, "train", found=Found(soft=dict.fromkeys(names, unsure)))

    def targets(**values: float) -> np.ndarray:
        data = replace(boxes_only.data, prompts_per_image=1, images_per_batch=60, **values)
        return BatchSource(memory, boxes_only.model, data, seed=0).batch(0).target.numpy()

    plain, quarter = targets(), targets(soft=1.0, soft_weight=0.25)
    assert plain.min() == 0
    assert plain.max() == 1
    # Inside 0.75 + 0.25 / 5, outside 0.25 / 5; beyond the slice nothing is known.
    assert quarter.max() == pytest.approx(0.8, abs=1e-5)
    assert np.median(quarter[quarter < 0.5]) == pytest.approx(0.05, abs=1e-5)
    half = targets(soft=0.5, soft_weight=0.25)
    leaning = (half.reshape(60, -1).max(axis=1) < 0.9).mean()
    assert leaning == pytest.approx(0.5, abs=0.2)  # standard deviation 0.065


def test_probabilities_are_warped_with_the_slice(half_labelled: PackedStore, tiny_config: RunConfig):
    exact = {}
    for number in range(4):
        answer = TeacherAnswer((slice(0, SIDE), slice(0, SIDE)), np.where(LABELLED, 30, -30).astype(np.float32), 0.9)
        exact["US/Discs", f"image{number}", -1] = {0: soft_target(answer, 0, boxed(LABELLED), (SIDE, SIDE))}
    memory = SliceMemory(half_labelled, "train", found=Found(soft=exact))
    data = replace(tiny_config.data, augment="strong", modality_weights={"MR": 0.0}, prompts_per_image=1, soft=1.0)
    label, teacher = (
        BatchSource(memory, tiny_config.model, replace(data, soft_weight=weight), seed=0).batch(0).target
        for weight in (0.0, 1.0)
    )
    assert not torch.equal(label, teacher)
    assert float((label - teacher).abs().mean()) < 0.05
