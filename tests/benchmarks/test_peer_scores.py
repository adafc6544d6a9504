"""Another model's figures next to ours: on the same prompts, kept while they hold, and shown in every table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_slices import write_store
from tiny_spec import TINY

from benchmarks.peer_scores import completed, held_peers, ordinal, slice_columns
from benchmarks.readme import results_section, summary_section
from benchmarks.recorded import read_figures
from benchmarks.validate import main, slice_table, volume_table

KINDS = ("tight", "both_ways", "outwards")


def constant(dsc, nsd=0.5):
    return {kind: {"CT": [dsc, nsd], "mean": [dsc, nsd]} for kind in KINDS}


def scored_volume(name, dsc):
    facts = {"dataset": "CT/drawn", "boxes": "tight", "objects": 1, "slices": 4, "ellipsoid_dsc": 0.5, "seconds": 1.0}
    return {"name": name, "dsc": dsc, **facts}


def rows_of_volumes(*scores):
    dsc = sum(each["dsc"] for each in scores) / len(scores)
    row = {"volumes": len(scores), "dsc": dsc, "ellipsoid_dsc": 0.5}
    return {"volumes": {"CT/drawn": row, "all volumes": row}, "volume_scores": list(scores)}


def figures(**peer):
    """Ours: 80 % on slices, 0.9 and 0.7 on two volumes."""
    return {
        "engine": "openvino",
        "precision": "fp32",
        "split": "val",
        "prompts": 7,
        "store_index_sha256": "a",
        "slices": {"graysam (openvino fp32)": constant(0.8), "ellipse": constant(0.6)},
        **rows_of_volumes(scored_volume("drawn/1", 0.9), scored_volume("drawn/2", 0.7)),
        **({"peers": {"litemedsam": {"engine": "openvino", "precision": "fp32", **peer}}} if peer else {}),
    }


EVERY_SECOND = {
    "every": 2,
    "slices": constant(0.7),
    "ours": constant(0.82),
    "every_volume": 2,
    **rows_of_volumes(scored_volume("drawn/1", 0.4)),
}


def test_a_peer_on_the_same_prompts_has_its_own_columns_after_ours():
    with_peer = figures(every=1, slices=constant(0.7))
    head, _, row, _ = slice_table(slice_columns(with_peer)).splitlines()
    assert head.startswith("| | graysam (openvino fp32), tight | graysam (openvino fp32), off both ways |")
    assert "| LiteMedSAM, tight | LiteMedSAM, off both ways | LiteMedSAM, off outwards | ellipse, tight |" in head
    assert row.split(" | ")[4] == "70.0/50.0"


def test_every_second_prompt_and_volume_is_said_and_our_own_figures_on_them_stand_next_to_it():
    sparse = figures(**EVERY_SECOND)
    columns = slice_columns(sparse, "GraySAM")
    assert list(columns) == ["GraySAM", "LiteMedSAM (every 2nd box)", "GraySAM (every 2nd box)", "ellipse"]
    assert columns["GraySAM (every 2nd box)"]["tight"]["CT"] == [0.82, 0.5]
    head, _, row, _ = volume_table(sparse).splitlines()
    assert head == (
        "| | volumes | DSC, tight | ellipsoid, tight | LiteMedSAM (every 2nd volume), tight "
        "| DSC (every 2nd volume), tight |"
    )
    assert row == "| CT/drawn | 2 | 0.800 | 0.500 | 0.400 | 0.900 |"  # 0.9 is ours on the one volume that it had


def test_readme_and_results_show_the_peer_and_say_what_it_was_given(tmp_path):
    (tmp_path / "validation.json").write_text(json.dumps(figures(**EVERY_SECOND)))
    short = summary_section(tmp_path)
    assert "tight boxes | 7 boxes | 80.0 | 70.0 (82.0) | 60.0 |" in short
    assert "| 2 volumes | 80.0 | 40.0 (90.0) | 50.0 |" in short
    assert "LiteMedSAM on every 2nd, volumes by GraySAM's propagation; in brackets GraySAM there." in short
    page = results_section(tmp_path)
    assert "LiteMedSAM (every 2nd box), tight box | LiteMedSAM (every 2nd box), off by up to 5 px" in page
    assert "in volumes with the propagation of GraySAM:" in page
    (tmp_path / "validation.json").write_text(json.dumps(figures(every=1, slices=constant(0.7))))
    assert "| validation slices, tight boxes | 7 boxes | 80.0 | 70.0 | 60.0 |" in summary_section(tmp_path)
    (tmp_path / "validation.json").write_text(json.dumps(figures()))
    assert "| validation slices, tight boxes | 7 boxes | 80.0 | not measured | 60.0 |" in summary_section(tmp_path)


def test_what_an_earlier_file_says_of_a_peer_holds_for_the_same_prompts_and_volumes_alone():
    earlier = figures(**EVERY_SECOND)
    assert held_peers(earlier, figures()) == earlier["peers"]
    other_store = {**figures(), "store_index_sha256": "b"}
    assert "slices" not in held_peers(earlier, other_store)["litemedsam"]
    assert "volumes" in held_peers(earlier, other_store)["litemedsam"]
    other_volumes = {**other_store, "volume_scores": [scored_volume("drawn/3", 1.0)]}
    assert held_peers(earlier, other_volumes) == {}


def test_volumes_that_are_measured_later_leave_the_slices_as_they_are():
    slices = {"every": 2, "slices": constant(0.7), "ours": constant(0.82)}
    volumes = {"every_volume": 4, **rows_of_volumes(scored_volume("drawn/1", 0.3))}
    assert completed(volumes, EVERY_SECOND) == {**slices, **volumes}
    anew = {"every": 1, "slices": constant(0.9)}  # on all prompts, so that ours on some of them is told no more
    assert completed(anew, slices) == anew


@pytest.mark.parametrize(("number", "said"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (21, "21st")])
def test_numbers_are_said_as_english_does(number, said):
    assert ordinal(number) == said


# --- the command, on two small models made at random -----------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with ours.pt, which takes hints, litemedsam.pt, and a store of drawn slices."""
    torch = pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    folder = tmp_path_factory.mktemp("models")
    for seed, spec in enumerate((replace(TINY, name="ours", hints=True), replace(TINY, name="litemedsam"))):
        torch.manual_seed(seed)
        model = build_network(spec)
        torch.nn.init.normal_(model.decoder.to_logits.weight, std=0.1)
        save_checkpoint(folder / f"{spec.name}.pt", model, spec)
    write_store(folder / "drawn.store")
    return folder


def scored(models, out, *more):
    words = ["--weights", models / "ours.pt", "--store", models / "drawn.store", "--threads", 1, "--no-baselines"]
    status = main([*map(str, words), "--out", str(out), *map(str, more)])
    return status, read_figures(out) if out.is_file() else {}


def test_a_peer_may_be_measured_on_another_day_and_stays_when_ours_is_measured_anew(models, tmp_path, capsys):
    out, peer = tmp_path / "validation.json", ("--peer", models / "litemedsam.pt", "--peer-every", 2)
    status, both = scored(models, tmp_path / "both.json", *peer)
    assert status == 0
    assert list(both["slices_told"]) == ["tight"]
    found = both["peers"]["litemedsam"]
    assert (found["every"], list(found["slices"])) == (2, list(KINDS))
    assert found["slices"]["tight"] != found["ours"]["tight"]
    assert scored(models, out)[0] == 0
    assert "peers" not in read_figures(out)
    assert scored(models, out, *peer, "--only-peer") == (0, both)
    assert scored(models, out) == (0, both)
    assert "LiteMedSAM (every 2nd box), tight" in capsys.readouterr().out


def test_a_peer_alone_wants_a_file_of_figures_of_the_same_prompts(models, tmp_path, capsys):
    out, peer = tmp_path / "validation.json", ("--peer", models / "litemedsam.pt", "--only-peer")
    assert scored(models, out, *peer)[0] == 2
    assert "--only-peer: wanted --peer, and --out with figures" in capsys.readouterr().err
    assert scored(models, out, "--per-modality", 1)[0] == 0
    assert scored(models, out, *peer)[0] == 2
    assert "holds figures with prompts 2" in capsys.readouterr().err
    assert scored(models, out, "--peer", models / "litemedsam.pt", "--peer-every", 0)[0] == 2
    assert "--peer-every: wanted 1 or more" in capsys.readouterr().err
