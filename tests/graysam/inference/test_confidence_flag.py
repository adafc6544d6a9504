"""The threshold that lies with the weights."""

from pathlib import Path

import pytest

from graysam.errors import CheckpointError
from graysam.inference.confidence import FlagRule, read_flag_rule

WEIGHTS = Path(__file__).resolve().parents[3] / "weights" / "graysam"


def test_the_threshold_goes_through_its_file_and_may_be_missing(tmp_path):
    assert read_flag_rule(tmp_path) is None
    assert read_flag_rule(tmp_path / "best.pt") is None
    (tmp_path / "confidence.json").write_text(FlagRule(0.61, "chosen on two masks").to_json())
    assert read_flag_rule(tmp_path) == FlagRule(0.61, "chosen on two masks")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"flag_below": "high"}', '{"flag_below": 1.5}', '{"flag_below": NaN}']
)
def test_a_damaged_threshold_is_named_with_its_remedy(tmp_path, text):
    (tmp_path / "confidence.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"confidence\.json: .*flag_below"):
        read_flag_rule(tmp_path)


@pytest.mark.weights
def test_the_shipped_weights_have_a_threshold_and_say_where_it_comes_from():
    if not (WEIGHTS / "spec.json").is_file():
        pytest.skip("no weights under weights/graysam")
    rule = read_flag_rule(WEIGHTS)
    assert rule is not None, "run `python -m benchmarks.confidence` for the new weights"
    assert 0.3 < rule.below < 0.95
    assert "validation split" in rule.why
