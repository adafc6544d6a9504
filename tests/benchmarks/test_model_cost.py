import json
from dataclasses import replace

import torch

from benchmarks.machine import machine_facts
from benchmarks.model_cost import count_macs, main, measure_model
from graysam.models.encoders.efficientvit import EfficientViTEncoder
from graysam.models.spec import GRAYSAM, L0


def test_products_are_counted_once_each():
    # 3x3 convolution, 2 to 4 channels, at 5x6 pixels: 9 * 2 * 4 * 30 = 2160; linear 7 to 3 for 2 rows: 42
    convolution, linear = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Linear(7, 3)
    with torch.no_grad():
        assert count_macs(lambda: convolution(torch.zeros(1, 2, 5, 6))) == 2160
        assert count_macs(lambda: linear(torch.zeros(2, 7))) == 42


def test_the_l0_encoder_takes_as_many_products_as_measured_before():
    # Counted by hand: 16.95 GMAC at 256x256 (backbone 5.88, neck 11.07); all but attention's shrinks 16 fold at 64x64
    encoder = EfficientViTEncoder(replace(L0, neck_size=16)).eval()
    with torch.no_grad():
        assert round(count_macs(lambda: encoder(torch.zeros(1, 3, 64, 64))) * 16 / 1e9, 1) == 16.9


def test_a_model_is_measured_in_both_its_steps():
    small = replace(GRAYSAM, encoder_widths=(8,) * 5, decoder_widths=(8,) * 4, embedding_width=8)
    cost = measure_model(small, box_counts=[1, 3], repeats=2)
    assert [step.step for step in cost.steps] == ["encode", "decode 1", "decode 3"]
    assert cost.encoder_parameters < cost.parameters
    assert cost.steps[1].gmac < cost.steps[2].gmac <= 3 * cost.steps[1].gmac + 0.002
    assert all(0 < step.ms_median <= step.ms_p90 for step in cost.steps)


def test_figures_are_written_with_the_machine_they_were_made_on(tmp_path, capsys):
    assert main(["--spec", "graysam", "--boxes", "1", "--repeats", "1", "--json", str(tmp_path / "cost.json")]) == 0
    written = json.loads((tmp_path / "cost.json").read_text())
    assert written["models"][0]["name"] == "graysam"
    assert written["machine"]["cpu"] == machine_facts()["cpu"]
    assert written["machine"]["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert "| graysam |" in capsys.readouterr().out
