import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from graysam.store import PackedStore
from train.config import OptimiserConfig, RunConfig, TuningConfig
from train.initial import read_weights
from train.run import main
from train.run_folder import read_rows
from train.trainer import Trainer

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def trainer_in(folder: Path, config: RunConfig, store: PackedStore) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(config, store, folder, CPU)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def config_file(folder: Path, config: RunConfig, *, extra: str = "") -> Path:
    values = config.model.to_dict()
    options = values.pop("encoder_options", None)
    model = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    if options:
        model += "\n[model.encoder_options]\n" + "\n".join(f"{key} = {value}" for key, value in options.items())
    path = folder / "tiny.toml"
    path.write_text(
        f'precision = "fp32"\ncheckpoint_minutes = 0.0\n{extra}\n[model]\n{model}\n[data]\nimages_per_batch = 2\n'
    )
    return path


def test_four_steps_straight_equal_two_and_two_after_a_resume_bit_for_bit(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore
):
    straight = trainer_in(tmp_path / "straight", tiny_config, store)
    for _ in range(4):
        straight.train_step()
    first = trainer_in(tmp_path / "parts", tiny_config, store)
    first.train_step()
    first.train_step()
    first.save()
    second = trainer_in(tmp_path / "parts", tiny_config, store)
    assert second.resume()
    second.train_step()
    second.train_step()
    assert same_weights(straight.model, second.model)
    assert same_weights(straight.averaged, second.averaged)


def test_training_lowers_the_loss_and_leaves_checkpoints_tables_and_pictures(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("train.trainer.LOG_EVERY_STEPS", 1)
    trainer = trainer_in(tmp_path / "run", replace(tiny_config, steps=30, validate_steps=15), store)
    trainer.run(float("inf"))
    losses = [row["loss"] for row in read_rows(tmp_path / "run/log.csv")]
    assert len(losses) == 30
    assert sum(losses[-5:]) < sum(losses[:5])
    assert [row["step"] for row in read_rows(tmp_path / "run/validation.csv")] == [15, 30]
    for name in ("last.pt", "best.pt", "curves.png", "overlays.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_weights_are_compared_by_the_same_prompts_whether_all_are_asked_or_few(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore
):
    trainer = trainer_in(tmp_path / "run", tiny_config, store)
    trainer.validate(quick=True)
    of_few = trainer.best_score
    trainer.best_score = 0.0
    trainer.validate(quick=False)
    few, all_of_them = read_rows(tmp_path / "run/validation.csv")
    assert few["tight_mean_dsc"] != all_of_them["tight_mean_dsc"]
    assert trainer.best_score == of_few


def test_best_pt_holds_half_precision_weights_and_the_spec(tmp_path: Path, tiny_config: RunConfig, store: PackedStore):
    trainer_in(tmp_path / "run", tiny_config, store).run(float("inf"))
    state = torch.load(tmp_path / "run/best.pt", weights_only=True)
    assert set(state) == {"model", "spec", "validation"}
    assert state["spec"]["name"] == "tiny"
    assert state["model"]["encoder.stem.body.conv.weight"].dtype == torch.float16


def test_a_run_that_is_over_takes_no_further_step(tmp_path: Path, tiny_config: RunConfig, store: PackedStore):
    trainer_in(tmp_path / "run", tiny_config, store).run(float("inf"))
    again = trainer_in(tmp_path / "run", tiny_config, store)
    again.resume()
    again.run(float("inf"))
    assert again.progress.step == 4


def test_a_model_with_memory_goes_on_from_the_file_of_a_run_without(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore
):
    trainer_in(tmp_path / "without", tiny_config, store).run(float("inf"))
    weights = read_weights(tmp_path / "without/best.pt")
    data = replace(tiny_config.data, propagation=1.0)
    config = replace(tiny_config, model=replace(tiny_config.model, memory=True), data=data)
    (tmp_path / "with").mkdir()
    trainer = Trainer(config, store, tmp_path / "with", CPU, initial=weights)
    kernel = "decoder.stem.body.conv.weight"
    assert torch.equal(trainer.model.state_dict()[kernel][:, :22], weights[kernel])
    assert (trainer.model.state_dict()[kernel][:, 22:] == 0).all()
    trainer.run(float("inf"))
    assert (read_weights(tmp_path / "with/best.pt")[kernel][:, 22:] != 0).any()


def test_a_session_stops_at_its_limit_with_a_checkpoint(tmp_path: Path, tiny_config: RunConfig, store: PackedStore):
    trainer = trainer_in(tmp_path / "run", replace(tiny_config, steps=10**6), store)
    trainer.run(0.0)
    assert torch.load(trainer.checkpoint_path, weights_only=True)["step"] == 1


def test_accumulating_two_batches_gives_the_gradient_of_one_batch_of_twice_the_images(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore
):
    # Norms at rest: otherwise each batch is normed by its own statistics.
    still = replace(tiny_config, tuning=TuningConfig(freeze_norm=True))
    twice = replace(still, data=replace(still.data, images_per_batch=4))
    in_two = replace(still, optimiser=OptimiserConfig(accumulate=2))
    one, two = trainer_in(tmp_path / "a", twice, store), trainer_in(tmp_path / "b", in_two, store)
    one.gradients()
    two.gradients()
    for (name, first), second in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_a_plateau_is_remembered_by_the_checkpoint(tmp_path: Path, tiny_config: RunConfig, store: PackedStore):
    falling = OptimiserConfig(schedule="plateau", plateau_patience=0, plateau_factor=0.5, learning_rate=0.0)
    config = replace(tiny_config, optimiser=falling, steps=3, validate_steps=1)
    trainer = trainer_in(tmp_path / "run", config, store)
    trainer.run(float("inf"))  # the weights stand still: the score never rises after the first validation
    assert trainer.plateau.share < 1
    again = trainer_in(tmp_path / "run", config, store)
    again.resume()
    assert again.plateau == trainer.plateau


def test_bf16_and_background_loaders_train_too(tmp_path: Path, tiny_config: RunConfig, store: PackedStore):
    config = replace(tiny_config, precision="bf16", data=replace(tiny_config.data, workers=1))
    trainer = trainer_in(tmp_path / "run", config, store)
    trainer.run(float("inf"))
    assert trainer.progress.step == 4


def run_command(config: Path, store: Path, out: Path, steps: int) -> list[str]:
    return [
        *(sys.executable, "-m", "train.run", "--config", str(config), "--store", str(store), "--out", str(out)),
        *("--steps", str(steps), "--threads", "1", "--device", "cpu"),
    ]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, tiny_config: RunConfig, store_path: Path
):
    config = config_file(tmp_path, tiny_config)
    options = ("--config", config, "--store", store_path, "--steps", 12, "--threads", 1, "--device", "cpu")
    assert main([*map(str, options), "--out", str(tmp_path / "straight")]) == 0
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        run_command(config, store_path, killed, 12), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600  # on a busy machine the start alone takes minutes
    while not (killed / "last.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert (killed / "last.pt").exists(), errors
    assert torch.load(killed / "last.pt", weights_only=True)["step"] < 12
    assert main([*map(str, options), "--out", str(killed)]) == 0
    straight, resumed = read_weights(tmp_path / "straight/last.pt"), read_weights(killed / "last.pt")
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_the_run_folder_says_where_the_run_came_from(tmp_path: Path, tiny_config: RunConfig, store_path: Path):
    config = config_file(tmp_path, tiny_config)
    options = ["--config", str(config), "--store", str(store_path), "--out", str(tmp_path / "run")]
    assert main([*options, "--steps", "1", "--seed", "5", "--device", "cpu"]) == 0
    session = json.loads((tmp_path / "run/run.json").read_text())["sessions"][0]
    assert session["seed"] == 5
    assert len(session["store_index_sha256"]) == 64
    assert session["versions"]["torch"] == torch.__version__
    assert json.loads((tmp_path / "run/config.json").read_text())["model"]["name"] == "tiny"


def test_what_a_user_can_mend_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ["--config", str(tmp_path / "none.toml"), "--store", "s", "--out", str(tmp_path / "run")]
    assert main(options) == 2
    error = capsys.readouterr().err.strip()
    assert "error: " in error
    assert "none.toml: cannot be read" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


GRADIENTS_OF_ONE_PROCESS = """
import sys, torch
from pathlib import Path
from torch import distributed
from graysam.store import open_store
from train.config import read_config
from train.trainer import Trainer
torch.set_num_threads(1)
distributed.init_process_group("gloo")
config, store, out = map(Path, sys.argv[1:])
trainer = Trainer(read_config(config), open_store(store), out, torch.device("cpu"))
trainer.gradients()
trainer.gradients()  # the second time PyTorch complains of parameters that it waited for in vain
if trainer.processes.rank == 0:
    torch.save({name: each.grad for name, each in trainer.model.named_parameters()}, out / "gradients.pt")
distributed.destroy_process_group()
"""


SAM = {"decoder": "sam", "encoder": "efficientvit_l0", "neck_size": 4, "embedding_width": 256}


SWIN = {
    "decoder": "sam_skips",
    "encoder": "swin",
    "embedding_width": 128,
    "encoder_options": {"widths": (16,) * 4, "depths": (2,) * 4, "heads": (1,) * 4, "embedding": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "accumulate"),
    [({}, 1), (SAM, 2), (SWIN, 1)],
    ids=["box_frame", "sam, two batches a step", "swin and its skips"],
)
def test_two_gloo_processes_have_the_gradient_of_one_process_with_the_same_global_batch(
    tmp_path: Path, tiny_config: RunConfig, store: PackedStore, store_path: Path, model: dict, accumulate: int
):
    tiny_config = replace(tiny_config, model=replace(tiny_config.model, **model))
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS_OF_ONE_PROCESS)
    path = config_file(tmp_path, tiny_config, extra="steps = 1")
    path.write_text(path.read_text() + f"[tuning]\nfreeze_norm = true\n[optimiser]\naccumulate = {accumulate}\n")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(script), str(path), str(store_path), str(tmp_path)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    of_two = torch.load(tmp_path / "gradients.pt", weights_only=True)
    optimiser = OptimiserConfig(accumulate=accumulate)
    still = replace(tiny_config, tuning=TuningConfig(freeze_norm=True), optimiser=optimiser)
    one = trainer_in(tmp_path / "one", replace(still, data=replace(still.data, images_per_batch=4)), store)
    one.gradients()
    one.gradients()
    assert any(gradient is not None for gradient in of_two.values())
    for name, parameter in one.model.named_parameters():
        if parameter.grad is None:
            assert of_two[name] is None, name
        else:
            torch.testing.assert_close(parameter.grad, of_two[name], rtol=1e-4, atol=1e-6, msg=name)
