import json
import os

import numpy as np
import pytest

from benchmarks import score_speed


def test_the_volume_has_six_organs_and_another_seed_moves_them(monkeypatch):
    monkeypatch.setattr(score_speed, "SHAPE", (287, 64, 64))
    monkeypatch.setattr(
        score_speed,
        "ORGANS",
        tuple(((z, y / 8, x / 8), (c, b / 8, a / 8)) for (z, y, x), (c, b, a) in score_speed.ORGANS),
    )
    one, other = (score_speed.make_labels(seed=seed) for seed in (1, 2))
    assert np.unique(one).tolist() == np.unique(other).tolist() == list(range(7))
    assert (one != other).any()
    assert (one == score_speed.make_labels(seed=1)).all()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs a system that accounts for child processes")
def test_the_result_names_times_scores_and_machine(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(score_speed, "SHAPE", (6, 64, 64))
    monkeypatch.setattr(score_speed, "ORGANS", (((3, 30, 30), (3, 20, 20)),))
    out = tmp_path / "speed.json"
    assert score_speed.main(["--rounds", "1", "--note", "a test", "--out", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert set(result["median_seconds"]) == {"official", "honest"}
    assert 0.5 < result["scores"]["official"]["dsc"] <= 1.0
    assert result["machine"]["note"] == "a test"
    assert capsys.readouterr().out
