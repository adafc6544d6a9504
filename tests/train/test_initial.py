from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from graysam.models.checkpoint import OFFICIAL_PARTS, read_checkpoint
from graysam.models.network import build_network
from graysam.models.spec import SWIN_LITEMEDSAM, ModelSpec
from train.config import ConfigError
from train.initial import fitted_weights, mean_weights, read_weights
from train.soup import main


def layers(seen: int, *, made: int = 2, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(seen, made, kernel), nn.BatchNorm2d(made))


def test_weights_of_the_same_shapes_are_taken_as_they_are():
    first, second = layers(3), layers(3)
    fitted = fitted_weights(first.state_dict(), second)
    assert fitted.keys() == second.state_dict().keys()
    for name, value in first.state_dict().items():
        assert torch.equal(fitted[name], value), name


def test_a_convolution_that_looks_at_more_maps_gets_zeros_for_the_last_ones():
    before, after = layers(3), layers(5)
    fitted = fitted_weights(before.state_dict(), after)
    assert fitted["0.weight"].shape == (2, 5, 3, 3)
    assert torch.equal(fitted["0.weight"][:, :3], before[0].weight)
    assert (fitted["0.weight"][:, 3:] == 0).all()
    assert torch.equal(fitted["0.bias"], before[0].bias)
    after.load_state_dict(fitted)


@pytest.mark.parametrize("more", [{"memory": True}, {"hints": True}, {"memory": True, "hints": True}])
def test_a_model_that_is_shown_more_starts_from_one_without_and_nothing_else_is_wider(tiny_spec: ModelSpec, more):
    before, after = build_network(tiny_spec), build_network(replace(tiny_spec, **more))
    fitted = fitted_weights(before.state_dict(), after)
    after.load_state_dict(fitted)
    wider = [name for name, value in before.state_dict().items() if value.shape != fitted[name].shape]
    assert wider == ["decoder.stem.body.conv.weight"]


def test_a_model_does_not_start_from_one_that_was_shown_more(tiny_spec: ModelSpec):
    weights = build_network(replace(tiny_spec, memory=True)).state_dict()
    with pytest.raises(
        ConfigError, match=r"stem\.body\.conv\.weight is \(8, 30, 3, 3\), the model wants \(8, 22, 3, 3\)"
    ):
        fitted_weights(weights, build_network(tiny_spec))


@pytest.mark.parametrize(
    "other", [layers(4), layers(2, made=3), layers(2, kernel=5)], ids=["fewer maps seen", "more made", "larger kernel"]
)
def test_other_shapes_are_refused_with_both_and_the_remedy(other: nn.Module):
    with pytest.raises(ConfigError, match=r"0\.weight is \(.*the model wants \(2, 3, 3, 3\); take the config .*--init"):
        fitted_weights(other.state_dict(), layers(3))


def test_a_linear_layer_that_looks_at_more_numbers_answers_as_before_whatever_they_are():
    before, after = nn.Linear(3, 2), nn.Linear(4, 2)
    after.load_state_dict(fitted_weights(before.state_dict(), after))
    seen = torch.tensor([1.0, -2.0, 0.5])
    assert torch.equal(after(torch.cat([seen, torch.tensor([99.0])])), before(seen))


def test_vectors_are_not_continued():
    with pytest.raises(ConfigError, match=r"weight is \(2,\), the model wants \(3,\)"):
        fitted_weights(nn.LayerNorm(2).state_dict(), nn.LayerNorm(3))


def test_names_that_the_model_lacks_are_refused_with_their_number_and_one_of_them():
    weights = layers(3).state_dict()
    weights["3.weight"], weights["2.bias"] = weights.pop("0.weight"), weights.pop("0.bias")
    with pytest.raises(ConfigError, match=r"the model has no '2\.bias', of 2 such; is the config theirs\?"):
        fitted_weights(weights, layers(3))


def test_parts_that_are_new_start_as_the_model_has_them_and_are_named(caplog: pytest.LogCaptureFixture):
    before, after = layers(3), nn.Sequential(*layers(3), nn.Linear(2, 2))
    fitted = fitted_weights(before.state_dict(), after)
    assert "2.bias, 2.weight are not among them and start anew" in caplog.text
    assert torch.equal(fitted["2.weight"], after[2].weight)
    assert torch.equal(fitted["0.weight"], before[0].weight)
    after.load_state_dict(fitted)


def test_the_averaged_weights_are_read_first_and_in_single_precision(tmp_path: Path):
    half, counter = torch.ones(2, dtype=torch.float16), torch.tensor(3)
    torch.save({"model": {"weight": half, "counter": counter}}, tmp_path / "best.pt")
    torch.save({"model": {"weight": half}, "average": {"weight": 2 * half}}, tmp_path / "last.pt")
    weights = read_weights(tmp_path / "best.pt")
    assert weights["weight"].dtype == torch.float32
    assert weights["counter"].dtype == torch.int64
    assert read_weights(tmp_path / "last.pt")["weight"].tolist() == [2.0, 2.0]


def test_of_a_model_folder_its_checkpoint_is_read(tmp_path: Path):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "model.pt")
    assert read_weights(tmp_path)["weight"].tolist() == [1.0, 1.0]


def test_of_several_files_the_mean_is_read_and_the_counters_of_the_first(tmp_path: Path):
    for number in (1, 3, 8):
        half = torch.full((2,), float(number), dtype=torch.float16)
        torch.save({"model": {"weight": half, "counter": torch.tensor(number)}}, tmp_path / f"{number}.pt")
    weights = mean_weights([tmp_path / "1.pt", tmp_path / "3.pt", tmp_path / "8.pt"])
    assert weights["weight"].tolist() == [4.0, 4.0]
    assert weights["counter"].item() == 1
    assert mean_weights([tmp_path / "3.pt"])["weight"].tolist() == [3.0, 3.0]


def test_weights_of_different_models_have_no_mean(tmp_path: Path):
    torch.save({"model": layers(3).state_dict()}, tmp_path / "three.pt")
    torch.save({"model": layers(4).state_dict()}, tmp_path / "four.pt")
    with pytest.raises(ConfigError, match=r"four\.pt and .*three\.pt are of different models"):
        mean_weights([tmp_path / "three.pt", tmp_path / "four.pt"])


def test_files_may_have_unequal_shares_in_a_mean(tmp_path: Path):
    for number in (1, 5):
        torch.save({"model": {"weight": torch.full((2,), float(number))}}, tmp_path / f"{number}.pt")
    assert mean_weights([tmp_path / "1.pt", tmp_path / "5.pt"], [3, 1])["weight"].tolist() == [2.0, 2.0]
    with pytest.raises(ConfigError, match=r"wanted 2 numbers from 0 on, one of them more, got \[1\]"):
        mean_weights([tmp_path / "1.pt", tmp_path / "5.pt"], [1])
    with pytest.raises(ConfigError, match="one of them more"):
        mean_weights([tmp_path / "1.pt", tmp_path / "5.pt"], [0, 0])


def test_of_maps_that_only_some_models_saw_the_mean_is_theirs(tmp_path: Path):
    torch.save({"average": {"weight": torch.full((1, 3, 1, 1), 4.0)}}, tmp_path / "sees-3.pt")
    torch.save({"average": {"weight": torch.full((1, 2, 1, 1), 8.0)}}, tmp_path / "sees-2.pt")
    mean = mean_weights([tmp_path / "sees-3.pt", tmp_path / "sees-2.pt"], [3, 1])
    assert mean["weight"].flatten().tolist() == [5.0, 5.0, 4.0]  # (3 * 4 + 8) / 4 twice; of the third map 4 alone
    alone = mean_weights([tmp_path / "sees-3.pt", tmp_path / "sees-2.pt"], [0, 1])
    assert alone["weight"].flatten().tolist() == [8.0, 8.0, 0.0]  # nobody with a share saw the third
    with pytest.raises(ConfigError, match="different models"):
        mean_weights([tmp_path / "sees-2.pt", tmp_path / "sees-3.pt"])


def test_a_soup_is_a_checkpoint_with_the_spec_of_its_first_part(tiny_spec: ModelSpec, tmp_path: Path):
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    models = [build_network(tiny_spec) for _ in paths]
    for path, model in zip(paths, models, strict=True):
        torch.save({"model": model.state_dict(), "spec": tiny_spec.to_dict()}, path)
    out = tmp_path / "mean.pt"
    assert main([*map(str, paths), "--shares", "1", "3", "--out", str(out)]) == 0
    soup = read_checkpoint(out)
    assert soup.spec == tiny_spec
    name = "decoder.stem.body.conv.weight"
    first, second = (model.state_dict()[name] for model in models)
    torch.testing.assert_close(soup.state[name].float(), (first + 3 * second) / 4, atol=1e-3, rtol=1e-3)


def test_a_soup_cannot_begin_with_weights_that_do_not_say_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save({"model": layers(3).state_dict()}, tmp_path / "last.pt")
    assert main([str(tmp_path / "last.pt"), "--out", str(tmp_path / "mean.pt")]) == 2
    assert "begin with a best.pt" in capsys.readouterr().err
    assert not (tmp_path / "mean.pt").exists()


def test_a_shift_raises_every_logit_by_as_much(tiny_spec: ModelSpec, tmp_path: Path):
    model = build_network(tiny_spec)
    torch.save({"model": model.state_dict(), "spec": tiny_spec.to_dict()}, tmp_path / "best.pt")
    assert main([str(tmp_path / "best.pt"), "--shift", "0.5", "--out", str(tmp_path / "shifted.pt")]) == 0
    shifted = build_network(tiny_spec)
    shifted.load_state_dict(read_weights(tmp_path / "shifted.pt"))
    inputs = {
        "detail": torch.rand(2, 3, tiny_spec.view_size, tiny_spec.view_size),
        "box_in_view": torch.tensor([[0.2, 0.2, 0.8, 0.8]] * 2),
        "view_in_canvas": torch.tensor([[0.1, 0.1, 0.6, 0.6]] * 2),
    }
    logits = []
    for each in (model.eval(), shifted.eval()):
        with torch.inference_mode():
            embedding = each.encode(torch.ones(2, 3, tiny_spec.canvas, tiny_spec.canvas))
            logits.append(each.decode(embedding, **inputs)[0])
    torch.testing.assert_close(logits[1], logits[0] + 0.5, atol=0.02, rtol=0)  # weights were halved


def test_a_decoder_without_logits_of_its_own_cannot_be_shifted(
    tiny_spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save({"model": layers(3).state_dict(), "spec": tiny_spec.to_dict()}, tmp_path / "other.pt")
    assert main([str(tmp_path / "other.pt"), "--shift", "0.3", "--out", str(tmp_path / "out.pt")]) == 2
    assert "wanted the weights of a box-frame decoder to shift" in capsys.readouterr().err


def test_an_official_checkpoint_starts_a_run_without_what_nothing_reads(tmp_path: Path):
    options = {"widths": (16,) * 4, "depths": (2,) * 4, "heads": (1,) * 4, "embedding": 16}
    spec = replace(SWIN_LITEMEDSAM, canvas=64, embedding_width=128, encoder_options=options)
    model = build_network(spec)
    official = dict(model.state_dict())
    for name, own in OFFICIAL_PARTS.items():
        official = {key.replace(own, name, 1) if key.startswith(own) else key: official[key] for key in official}
    assert "image_encoder.stage1.downsample.linear.weight" in official
    barred = "image_encoder.stage1.blocks.0.1.attention_block.fn.fn.upper_lower_mask"
    torch.save({**official, barred: torch.full((64, 64), float("-inf"))}, tmp_path / "official.pth")
    fitted = fitted_weights(read_weights(tmp_path / "official.pth"), model)
    assert fitted.keys() == model.state_dict().keys()
    assert all(torch.equal(value, fitted[key]) for key, value in model.state_dict().items())
