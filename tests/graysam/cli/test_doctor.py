"""`graysam doctor`: true findings for people and as JSON, and a status that tells whether a model runs here."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny_spec import TINY

from graysam.cli import doctor
from graysam.cli import main as graysam
from graysam.engines.select import CpuFacts
from graysam.formats.npz import write_case
from graysam.inference.confidence import CONFIDENCE_FILE, FlagRule


@pytest.fixture
def engine_of_its_own(monkeypatch):
    """Segment by threshold, so that no weights are needed; the disc is brighter than 120."""

    class Bright:
        def segment_image(self, image, boxes):
            return (image > 120).astype(np.uint8)

    monkeypatch.setattr("graysam.api.Segmenter.load", classmethod(lambda cls, weights=None: Bright()))


def test_the_drawn_disc_lies_in_its_box_and_the_checksum_is_that_of_its_mask(engine_of_its_own, capsys):
    image, box, disc = doctor.drawn_disc()
    rows, columns = np.flatnonzero(disc.any(axis=1)), np.flatnonzero(disc.any(axis=0))
    assert [columns[0], rows[0], columns[-1], rows[-1]] == box
    assert image[disc].min() > 120 > image[~disc].max()
    assert graysam(["doctor", "--json"]) == 0
    test = json.loads(capsys.readouterr().out)["self_test"]
    assert (test["works"], test["dice"], test["pixels"]) == (True, 1.0, int(disc.sum()))
    assert len(test["checksum"]) == 8


def test_it_counts_the_cases_of_a_folder_and_says_what_is_free(engine_of_its_own, tmp_path, capsys):
    write_case(tmp_path / "a.npz", image=np.zeros((4, 4), np.uint8), boxes=[])
    assert doctor.main(["-i", str(tmp_path), "-o", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert f"input      {tmp_path}: 1 npz" in words
    assert "GB free" in words
    assert "nothing is sent anywhere" in words
    assert doctor.main(["-i", str(tmp_path / "gone")]) == 0
    assert "cannot be listed" in capsys.readouterr().out


def test_without_weights_it_says_what_is_missing_and_ends_with_2(tmp_path, capsys):
    assert doctor.main(["--weights", str(tmp_path / "gone")]) == 2
    words = capsys.readouterr().out
    assert "engine     none" in words
    assert "self-test  FAILED: EngineError: weights" in words


def test_with_vnni_and_bf16_it_says_what_is_done_in_which_format(engine_of_its_own, monkeypatch, capsys):
    both = CpuFacts(frozenset({"avx512_vnni", "avx512_bf16"}), "Zen 4", 2)
    monkeypatch.setattr("graysam.engines.select.read_cpu_facts", lambda: both)
    assert doctor.main([]) == 0
    words = capsys.readouterr().out
    assert "engine     openvino int8" in words
    assert "int8 is fastest; below 64 slices and boxes in all, bf16 is, as it is compiled sooner" in words


def test_a_package_that_is_not_here_has_no_version():
    assert doctor.package_version("numpy", "numpy") == np.__version__
    assert doctor.package_version("no-such-package", "no_such_package") is None


@pytest.mark.weights
@pytest.mark.slow
def test_the_default_model_passes_and_loads_no_telemetry(capsys):
    from graysam.api import default_weights

    pytest.importorskip("openvino")
    if not (default_weights() / "spec.json").is_file():
        pytest.skip("no weights under weights/graysam")
    import subprocess

    done = subprocess.run([sys.executable, "-m", "graysam", "doctor", "--json"], capture_output=True, text=True)
    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert findings["self_test"]["dice"] > 0.9
    assert findings["telemetry"] == {"openvino_telemetry_loaded": False}


def told(weights, capsys):
    doctor.main(["--weights", str(weights)])
    return capsys.readouterr().out


@pytest.mark.parametrize("hints", [False, True])
def test_it_tells_what_weights_take_and_below_which_confidence_they_flag(engine_of_its_own, tmp_path, capsys, hints):
    (tmp_path / "spec.json").write_text(replace(TINY, hints=hints).to_json())
    words = told(tmp_path, capsys)
    assert ("tiny takes boxes alone" in words) is not hints
    assert ("tiny takes boxes, clicks and earlier answers, and how boxes fit" in words) is hints
    assert "confidence nothing is flagged: no confidence.json lies with the weights" in words
    (tmp_path / CONFIDENCE_FILE).write_text(FlagRule(0.59, "best F1 on drawn cases").to_json())
    assert "confidence objects below 0.59 are flagged; best F1 on drawn cases" in told(tmp_path, capsys)
    (tmp_path / CONFIDENCE_FILE).write_text("{}")
    assert "wanted a number 'flag_below'" in told(tmp_path, capsys)
