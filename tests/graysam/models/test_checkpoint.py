import os
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from graysam.errors import CheckpointError
from graysam.models.checkpoint import load_model, load_weights, read_checkpoint, save_checkpoint
from graysam.models.network import build_network
from graysam.models.spec import GRAYSAM, L0

SMALL = replace(GRAYSAM, name="small", encoder_widths=(8, 8, 8, 8, 8), decoder_widths=(8, 8, 8, 8), embedding_width=8)
KEYS = Path(__file__).parent / "data" / "original_keys.txt"


def two_layers() -> torch.nn.Sequential:
    """A model of four keys: 0.weight (3, 2), 0.bias (3,), 1.weight (1, 3), 1.bias (1,)."""
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))


def official_state() -> dict[str, torch.Tensor]:
    """Zeros under the keys and shapes of the public EfficientViT-SAM-L0."""
    state = {}
    for line in KEYS.read_text().splitlines():
        key, _, shape = line.partition(" ")
        sizes = [int(size) for size in shape.split("x") if size]
        state[key] = torch.zeros(1).expand(sizes) if sizes else torch.zeros(())  # stored as one number
    return state


def test_a_model_comes_back_with_its_spec_and_what_was_kept_beside_it(tmp_path):
    model = build_network(SMALL).eval()
    extra = {"step": 7, "dsc": [0.5, None], "optimizer": {"momentum": torch.ones(2)}}
    save_checkpoint(tmp_path / "model.pt", model, SMALL, extra)

    checkpoint = read_checkpoint(tmp_path / "model.pt")
    assert checkpoint.spec == SMALL
    assert checkpoint.extra["step"] == 7
    assert checkpoint.extra["optimizer"]["momentum"].tolist() == [1.0, 1.0]
    again = load_model(tmp_path / "model.pt")
    assert not again.training
    for key, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)


def test_half_precision_stores_kernels_in_two_bytes_and_vectors_as_they_are(tmp_path):
    model = two_layers()
    save_checkpoint(tmp_path / "half.pt", model, SMALL, half=True)
    state = read_checkpoint(tmp_path / "half.pt").state
    assert (state["0.weight"].dtype, state["0.bias"].dtype) == (torch.float16, torch.float32)
    again = two_layers()
    load_weights(again, state)
    assert again[0].weight.dtype == torch.float32
    torch.testing.assert_close(again[0].weight, model[0].weight, rtol=2**-11, atol=1e-7)


def test_a_weight_beyond_half_precision_is_refused_instead_of_becoming_infinite(tmp_path):
    model = two_layers()
    torch.nn.init.constant_(model[0].weight, 70_000.0)  # the largest float16 is 65,504
    with pytest.raises(CheckpointError, match=r"0\.weight: largest value 7e\+04"):
        save_checkpoint(tmp_path / "half.pt", model, SMALL, half=True)
    assert list(tmp_path.iterdir()) == []


WRAPPED = {
    "bare": lambda state: state,
    "litemedsam": lambda state: {
        "model": state,
        "optimizer": {"lr": 0.1},
        "epoch": 3,
        "loss": np.float64(0.5),
    },
    "state_dict": lambda state: {"epoch": 1, "state_dict": state},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {"model": {f"_orig_mod.{key}": value for key, value in state.items()}},
    "lightning": lambda state: {"state_dict": {f"model.module.{key}": value for key, value in state.items()}},
    "twice": lambda state: {"model": {"state_dict": state}},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_official_wrappers_come_off_by_themselves(tmp_path, wrap):
    model = two_layers()
    torch.save(wrap(model.state_dict()), tmp_path / "official.pth")
    checkpoint = read_checkpoint(tmp_path / "official.pth")
    assert checkpoint.spec is None
    assert checkpoint.state.keys() == model.state_dict().keys()
    load_weights(two_layers(), checkpoint.state)


def test_an_official_l0_checkpoint_loads_when_told_its_spec(tmp_path):
    torch.save({"model": official_state()}, tmp_path / "l0.pt")
    assert load_model(tmp_path / "l0.pt", spec=L0).spec == L0
    with pytest.raises(CheckpointError, match="holds no spec"):
        load_model(tmp_path / "l0.pt")


@pytest.mark.parametrize("prefix", ["image_encoder.", ""], ids=["whole model", "encoder alone"])
def test_the_image_encoder_alone_loads_from_either_layout(prefix):
    encoder = {key: value for key, value in official_state().items() if key.startswith("image_encoder.")}
    model = build_network(L0)
    state = {prefix + key.removeprefix("image_encoder."): value for key, value in encoder.items()}
    load_weights(model, state, part="encoder")
    assert model.encoder.norm.weight.abs().sum() == 0
    assert model.decoder.mask_decoder.iou_token.weight.abs().sum() > 0


def test_a_mismatch_names_every_key_and_changes_nothing():
    model = two_layers()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {
        "0.weight": torch.zeros(3, 3),
        "0.bias": torch.zeros(3),
        "1.bias": torch.tensor([float("nan")]),
        "2.bias": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as refusal:
        load_weights(model, state)
    for part in (
        "1 missing: 1.weight",
        "1 unexpected: 2.bias",
        "1 misshapen: 0.weight (wanted (3, 2), found (3, 3))",
        "1 not finite: 1.bias",
    ):
        assert part in str(refusal.value)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_long_list_of_keys_is_counted_and_cut():
    state = official_state()
    with pytest.raises(CheckpointError, match=r"4 missing: .*; \d{3} unexpected: .*, \.\.\."):
        load_weights(two_layers(), state)


def test_absent_batch_counters_are_no_mismatch():
    model = torch.nn.BatchNorm2d(2)
    state = model.state_dict()
    del state["num_batches_tracked"]
    load_weights(model, state)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_within_a_checkpoint_is_refused_and_not_run(tmp_path):
    torch.save({"model": two_layers().state_dict(), "loss": Malicious(tmp_path / "run")}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad\.pt: cannot be read as weights"):
        read_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "run").exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(two_layers(), tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match="tensors and plain values only"):
        read_checkpoint(tmp_path / "network.pt")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x00" * 600],
    ids=["empty", "text", "zip header", "empty pickle", "zeros"],
)
def test_files_that_are_no_checkpoint_are_named(tmp_path, content):
    (tmp_path / "junk.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"junk\.pt"):
        read_checkpoint(tmp_path / "junk.pt")


def test_a_truncated_or_absent_file_is_named(tmp_path):
    save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    for name in ("model.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"model": 5}, torch.ones(2)])
def test_plain_values_without_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match=r"none\.pt"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_spec_of_a_newer_version_is_refused_with_its_unknown_key(tmp_path):
    spec = {**SMALL.to_dict(), "wings": 2}
    torch.save({"model": two_layers().state_dict(), "spec": spec, "extra": {}}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match="wings"):
        read_checkpoint(tmp_path / "new.pt")


def test_another_spec_than_wanted_is_refused(tmp_path):
    save_checkpoint(tmp_path / "model.pt", build_network(SMALL), SMALL)
    with pytest.raises(CheckpointError, match="holds a model of spec"):
        load_model(tmp_path / "model.pt", spec=GRAYSAM)


def test_weights_of_another_model_are_refused_with_the_file_and_the_keys(tmp_path):
    save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL)
    with pytest.raises(CheckpointError, match=r"model\.pt: .*missing: .*2 unexpected|4 unexpected"):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize("extra", [{"loss": np.float32(1)}, {"when": [Path()]}, {"mask": {1, 2}}])
def test_what_could_not_be_read_again_is_not_written(tmp_path, extra):
    save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL, {"step": 1})
    with pytest.raises(CheckpointError, match=r"extra\['\w+'\].*cannot be stored"):
        save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL, extra)
    assert read_checkpoint(tmp_path / "model.pt").extra == {"step": 1}


def test_a_failed_write_is_named_and_leaves_the_old_file_whole(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL, {"step": 1})

    def full_disk(content: object, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"model\.pt: cannot be written .*No space"):
        save_checkpoint(tmp_path / "model.pt", two_layers(), SMALL, {"step": 2})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert read_checkpoint(tmp_path / "model.pt").extra == {"step": 1}


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        save_checkpoint(tmp_path / "absent" / "model.pt", two_layers(), SMALL)
