"""The model card: its tables by hand, and a picture that shows outlines and no image."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.model_card import (
    PAPER,
    CardFacts,
    data_table,
    draw_failures,
    kinds_list,
    runs_table,
    split_part,
    threshold_part,
    write_card,
)
from benchmarks.peer_scores import slice_columns
from benchmarks.recorded import read_figures
from benchmarks.validate import slice_table, volume_table
from benchmarks.weights_id import check_weights
from evaluation.prompts import ValidationPrompt
from graysam.boxes import Box
from graysam.store import StoreEntry, StoreWriter, encode_image, encode_runs, open_store

SLICES = {
    "graysam": {"tight": {"CT": [0.8, 0.7], "mean": [0.8, 0.7]}, "both_ways": {"CT": [0.5, 0.4], "mean": [0.5, 0.4]}},
    "ellipse": {"tight": {"CT": [0.7, 0.5], "mean": [0.7, 0.5]}, "both_ways": {"CT": [0.6, 0.3], "mean": [0.6, 0.3]}},
}
CURVES = {"CT": [0.8, 0.912], "mean": [0.8, 0.912]}
VOLUMES = {"CT/drawn": {"volumes": 2, "dsc": 0.5, "ellipsoid_dsc": 0.25}}


def small_store(folder):
    image = np.zeros((4, 5), np.uint8)
    with StoreWriter(folder / "s.store") as writer:
        for case, split in (("a", "train"), ("b", "train"), ("c", "val")):
            writer.add(
                encode_image(image),
                [encode_runs(image == 0)],
                dataset="CT/drawn",
                modality="CT",
                case=case,
                group=case,
                split=split,
                size_hw=(4, 5),
            )
    (folder / "CT" / "drawn").mkdir(parents=True)
    (folder / "CT" / "drawn" / "dataset.json").write_text(json.dumps({"licence": "CC0"}))
    return open_store(folder / "s.store")


def test_every_data_set_stands_with_its_licence(tmp_path):
    assert data_table(small_store(tmp_path), tmp_path).splitlines()[-1] == "| CT/drawn | 2 | 1 | 0 | CC0 |"


def test_the_card_holds_figures_data_and_the_warning(tmp_path):
    facts = CardFacts(
        spec={"name": "x", "encoder": "conv", "decoder": "box_frame", "canvas": 64, "channels": "plain"},
        validation={"slices": SLICES, "volumes": VOLUMES, "prompts": 7, "engine": "openvino", "precision": "int8"},
        training={
            "text": "Two minutes.",
            "runs": [{"run": "a", "minutes": "2"}],
            "notes": ["One note."],
            "commands": ["python -m train.run"],
        },
        parameters=1_500_000,
    )
    card = write_card(facts, small_store(tmp_path), tmp_path)
    for text in (
        "Not for clinical use",
        "1.50 million",
        "7 objects",
        "3 cases",
        "Two minutes.",
        "| run | minutes |",
        "| a | 2 |",
        "- One note.",
        '- "tight": the box of the reference',
        "| CT/drawn | 2 | 1 | 0 | CC0 |",
    ):
        assert text in card


def test_other_splits_and_outward_boxes_get_their_own_tables(tmp_path):
    outwards = {"CT": [0.6, 0.3], "mean": [0.6, 0.3]}
    slices = {name: {**kinds, "outwards": outwards} for name, kinds in SLICES.items()}
    figures = {"slices": slices, "volumes": VOLUMES, "volumes_outwards": VOLUMES, "prompts": 7, "split": "far"}
    part = split_part(figures)
    assert part.startswith("\n### Split `far`")
    assert "| | graysam, tight | graysam, off both ways | graysam, off outwards | ellipse, tight |" in part
    assert "| | volumes | DSC, tight | ellipsoid, tight | DSC, off outwards | ellipsoid, off outwards |" in part
    assert "| CT/drawn | 2 | 0.500 | 0.250 | 0.500 | 0.250 |" in part


def test_the_card_beside_the_weights_shows_the_recorded_runs_and_figures():
    root = Path(__file__).resolve().parents[2]
    card = (root / "weights" / "MODEL_CARD.md").read_text()
    training = json.loads((root / "weights" / "graysam" / "training.json").read_text())
    figures = read_figures(root / "benchmarks" / "results" / "validation.json")
    assert runs_table(training["runs"]) in card
    assert slice_table(slice_columns(figures)) in card
    assert volume_table(figures) in card
    configs = re.findall(r"--config (\S+)", "\n".join(training["commands"]))
    assert [config for config in configs if not (root / config).is_file()] == []


RECORDED = ("validation", "validation-far", "confidence", "clicks", "threshold", "startup", "precision")


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_figures_that_say_of_which_weights_they_are_are_of_those_in_the_repository(name):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no {name}.json is recorded")
    check_weights(read_figures(path), path.parents[2] / "weights" / "graysam", path)


def test_the_comparison_on_unseen_data_sets_is_of_the_weights_in_the_repository():
    root = Path(__file__).resolve().parents[2]
    path = root / "benchmarks" / "results" / "unseen.json"
    check_weights(read_figures(path)["models"]["graysam"], root / "weights" / "graysam", path)


def test_the_picture_of_failures_shows_the_worst_answer_and_no_pixel_of_an_image():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    entry = StoreEntry("CT/drawn", "CT", "a", "a", "val", -1, (40, 40), 0, 0, ())
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    prompts = [ValidationPrompt(entry, noise, mask, {"tight": Box(10, 10, 29, 29)})]
    drawn = draw_failures(prompts, lambda image, boxes: [np.roll(mask, 5, axis=1)])
    plain = draw_failures(
        [ValidationPrompt(entry, np.zeros_like(noise), mask, prompts[0].boxes)],
        lambda image, boxes: [np.roll(mask, 5, axis=1)],
    )
    assert np.array_equal(drawn, plain)  # the image makes no difference
    assert (drawn == PAPER).mean() > 0.9


def test_what_clicks_mend_stands_in_the_card_of_a_model_that_takes_them_and_in_no_other(tmp_path):
    figures = {"prompts": 9, "split": "far", "engine": "openvino", "precision": "fp32", "clicks": [0, 1], "dsc": CURVES}
    spec = {"name": "x", "encoder": "conv", "decoder": "box_frame", "canvas": 64, "channels": "plain"}
    facts = CardFacts(
        spec={**spec, "hints": True},
        validation={"slices": SLICES, "volumes": VOLUMES, "prompts": 7, "engine": "openvino", "precision": "int8"},
        training={"text": "", "runs": [{"run": "a"}], "notes": [], "commands": []},
        parameters=1,
        clicks=figures,
    )
    store = small_store(tmp_path)
    card = write_card(facts, store, tmp_path)
    assert "| | 0 clicks | 1 click |" in card
    assert "| CT | 80.0 | 91.2 |" in card
    assert "Besides boxes it takes clicks" in card
    of_boxes_alone = write_card(replace(facts, spec=spec), store, tmp_path)
    assert "### Clicks" not in of_boxes_alone
    assert "It takes boxes alone, no clicks." in of_boxes_alone
    assert "### Clicks" not in write_card(replace(facts, clicks=None), store, tmp_path)


def test_the_best_threshold_stands_in_the_card_with_its_curve(tmp_path):
    figures = {"thresholds": [-0.15, 0], "threshold": 0, "per_modality": 9, "engine": "openvino", "precision": "fp32"}
    curve = {"mean": [0.81, 0.8]}
    part = threshold_part({**figures, "dsc": {"val": {"tight": curve, "both_ways": curve, "outwards": curve}}})
    assert "The mean DSC of val with boxes off outwards is best at 0, within 0.1 points." in part
    assert "| val, tight | 81.0 | 80.0 |" in part


def test_the_card_says_when_a_model_was_told_that_boxes_are_tight():
    assert kinds_list({"slices": SLICES}).splitlines()[-1].startswith('- "off both ways"')
    told = {"slices": SLICES, "slices_told": {"tight": {"mean": [0.9, 0.8]}}}
    assert '- "said to be tight": with `--box-fit tight`' in kinds_list(told)
