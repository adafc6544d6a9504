import locale
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from graysam.boxes import Box
from graysam.engines import openvino_engine
from graysam.engines.openvino_engine import OpenVinoEngine, cache_folder
from graysam.engines.select import CpuFacts
from graysam.engines.torch_engine import TorchEngine
from graysam.errors import EngineError
from graysam.export import export
from graysam.image.preprocessing import prepare_slice
from graysam.models.checkpoint import load_model, save_checkpoint
from graysam.models.frames import frame_prompts
from graysam.models.network import build_network
from graysam.prompts import Neighbour, Prompt

BOXES = [Box(20, 15, 49, 34), Box(0, 0, 79, 59), Box(30, 20, 33, 22)]


def noisy_block(seed, x):
    """A dark noisy slice with a bright block of 20 x 30 that begins at column `x`."""
    image = np.random.default_rng(seed).integers(0, 60, (60, 80)).astype(np.uint8)
    image[15:35, x : x + 30] += 120
    return image


def neighbour():
    """What is known of a block from the neighbouring slice."""
    image = noisy_block(6, 22)
    return Neighbour(image, image > 90)


def prompt(spec, boxes=BOXES):
    """Ask for boxes, of which all but the second are known from the neighbouring slice."""
    prepared = prepare_slice(noisy_block(5, 20), spec)
    prompts = [Prompt(box, None if box == BOXES[1] else neighbour()) for box in boxes]
    return prepared.canvas, frame_prompts(prepared, prompts, spec).inputs()


def answers(engine, boxes=BOXES):
    canvas, inputs = prompt(engine.spec, boxes)
    embedding = engine.encode(canvas)
    return embedding, *engine.decode(embedding, inputs)


@pytest.fixture(scope="module")
def reference(exported):
    return answers(TorchEngine.load(exported / "model.pt"))


def test_shapes_and_dtypes_are_those_of_the_protocol(exported):
    for engine in (TorchEngine.load(exported / "model.pt"), OpenVinoEngine.load(exported)):
        embedding, logits, iou = answers(engine)
        assert embedding.shape == (16, 8, 8)
        assert logits.shape == (3, 32, 32)
        assert iou.shape == (3,)
        assert embedding.dtype == logits.dtype == iou.dtype == np.float32


def test_openvino_fp32_gives_the_numbers_of_torch(exported, reference):
    for own, other in zip(answers(OpenVinoEngine.load(exported)), reference, strict=True):
        np.testing.assert_allclose(own, other, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("kind", [OpenVinoEngine, TorchEngine])
def test_what_is_known_from_the_slice_beside_changes_the_answer(exported, kind):
    engine = kind.load(exported if kind is OpenVinoEngine else exported / "model.pt")
    canvas, inputs = prompt(engine.spec)
    embedding = engine.encode(canvas)
    known, _ = engine.decode(embedding, inputs)
    unknown, _ = engine.decode(embedding, {**inputs, "memory": np.zeros_like(inputs["memory"])})
    changes = np.abs(known - unknown).max(axis=(1, 2))
    assert (changes[[0, 2]] > 0.05).all()
    assert changes[1] < 1e-4


@pytest.mark.slow
def test_a_model_without_memory_is_exported_without_that_input(tiny_checkpoint, tmp_path):
    torch.manual_seed(0)
    spec = replace(load_model(tiny_checkpoint).spec, memory=False)
    model = build_network(spec)
    torch.nn.init.normal_(model.decoder.to_logits.weight, std=0.1)
    save_checkpoint(tmp_path / "tiny.pt", model, spec)
    export(tmp_path / "tiny.pt", tmp_path)
    engines = TorchEngine.load(tmp_path / "model.pt"), OpenVinoEngine.load(tmp_path)
    assert not engines[1].spec.memory
    for own, other in zip(answers(engines[1]), answers(engines[0]), strict=True):
        np.testing.assert_allclose(own, other, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("kind", [OpenVinoEngine, TorchEngine])
def test_few_bits_change_few_pixels(exported, reference, kind, precision):
    weights = exported if kind is OpenVinoEngine else exported / "model.pt"
    engine = kind.load(weights, precision=precision)
    assert (engine.name, engine.precision) == (kind.name, precision)
    _, logits, iou = answers(engine)
    # Untrained weights leave many logits near 0, so that rounding moves more pixels than in a trained model.
    assert ((logits > 0) == (reference[1] > 0)).mean() > 0.97
    np.testing.assert_allclose(iou, reference[2], atol=0.1)


def test_int8_is_truly_quantized(exported):
    text = (exported / "openvino-int8" / "encoder.xml").read_text() + (
        exported / "openvino-int8" / "decoder.xml"
    ).read_text()
    assert text.count('type="FakeQuantize"') > 40
    assert text.count('element_type="i8"') > 20  # kernels are stored in 8 bits
    quantized, floats = ((exported / name / "decoder.bin").stat().st_size for name in ("openvino-int8", "openvino"))
    assert quantized < floats


@pytest.mark.parametrize("kind", [OpenVinoEngine, TorchEngine])
def test_boxes_together_give_the_answers_of_each_alone(exported, kind):
    engine = kind.load(exported if kind is OpenVinoEngine else exported / "model.pt")
    _, together, iou = answers(engine)
    for number, box in enumerate(BOXES):
        _, alone, iou_alone = answers(engine, [box])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-4)
        np.testing.assert_allclose(iou_alone[0], iou[number], atol=1e-5)


@pytest.mark.parametrize("kind", [OpenVinoEngine, TorchEngine])
def test_answers_are_the_caller_s_own_and_inputs_are_left_alone(exported, kind):
    engine = kind.load(exported if kind is OpenVinoEngine else exported / "model.pt")
    canvas, inputs = prompt(engine.spec)
    before = canvas.copy(), {name: value.copy() for name, value in inputs.items()}
    embedding = engine.encode(canvas)
    logits, _ = engine.decode(embedding, inputs)
    kept = embedding.copy(), logits.copy()
    engine.decode(engine.encode(np.zeros_like(canvas)), prompt(engine.spec, [BOXES[1]] * 3)[1])
    np.testing.assert_array_equal(embedding, kept[0])
    np.testing.assert_array_equal(logits, kept[1])
    np.testing.assert_array_equal(canvas, before[0])
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, before[1][name])
    logits[:] = 0
    np.testing.assert_array_equal(engine.decode(embedding, inputs)[0], kept[1])


def test_a_damaged_network_file_is_an_engine_error_that_names_it(exported, tmp_path):
    (tmp_path / "openvino").mkdir()
    for name in ("spec.json", "openvino/encoder.xml", "openvino/encoder.bin", "openvino/decoder.xml"):
        (tmp_path / name).write_bytes((exported / name).read_bytes()[: -50 if name.endswith("bin") else None])
    (tmp_path / "openvino" / "decoder.xml").write_text("<net")
    engine = OpenVinoEngine.load(tmp_path)
    with pytest.raises(EngineError, match=r"decoder\.xml: OpenVINO cannot run it.*checksums"):
        engine.decode(np.zeros((16, 8, 8), np.float32), prompt(engine.spec)[1])
    with pytest.raises(EngineError, match=r"encoder\.xml"):
        engine.encode(prompt(engine.spec)[0])


def test_a_spec_that_cannot_be_read_is_an_engine_error_that_names_it(tmp_path):
    with pytest.raises(EngineError, match=r"spec\.json: cannot be read"):
        OpenVinoEngine.load(tmp_path)
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(EngineError, match=r"spec\.json: cannot be read"):
        OpenVinoEngine.load(tmp_path)


def test_the_compile_cache_lies_where_something_can_be_written_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAYSAM_CACHE", str(tmp_path / "new"))
    folder = cache_folder()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "new")
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAYSAM_CACHE", str(tmp_path / "file"))  # a file, so that no folder can be made in it
    assert cache_folder() is None
    monkeypatch.setenv("GRAYSAM_CACHE", "")
    assert cache_folder() is None


def test_cpus_of_one_name_with_other_instructions_have_caches_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAYSAM_CACHE", str(tmp_path))
    facts = CpuFacts(frozenset({"avx2", "avx512f"}), "AMD EPYC", 2)
    folders = []
    for flags in ({"avx2", "avx512f"}, {"avx512f", "avx2"}, {"avx2"}):
        monkeypatch.setattr(
            openvino_engine, "read_cpu_facts", lambda flags=flags: replace(facts, flags=frozenset(flags))
        )
        folders.append(cache_folder())
    assert folders[0] == folders[1] != folders[2]


def test_a_cache_that_cannot_be_used_does_not_stop_a_prediction(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("GRAYSAM_CACHE", str(tmp_path))
    first = answers(OpenVinoEngine.load(exported))
    blobs = list(tmp_path.rglob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.chmod(0o600)
        blob.write_bytes(b"damaged")
    encoding = locale.getpreferredencoding(False)
    for own, other in zip(answers(OpenVinoEngine.load(exported)), first, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    assert locale.getpreferredencoding(False) == encoding  # OpenVINO changes the locale then


def test_the_openvino_path_imports_no_torch_and_nothing_else_that_is_slow(exported):
    program = (
        "import sys, numpy as np\n"
        "from graysam import Segmenter\n"
        f"segmenter = Segmenter.load({str(exported)!r}, engine='openvino')\n"
        "labels = segmenter.segment_image(np.eye(40, dtype=np.uint8) * 200, [[5, 5, 30, 30]])\n"
        "labels = segmenter.segment_volume(np.ones((2, 40, 40), np.uint8), [[5, 5, 0, 30, 30, 1]])\n"
        "slow = {'torch', 'pandas', 'matplotlib', 'scipy', 'nncf', 'cc3d', 'tqdm'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_program_may_end_while_the_networks_are_still_being_compiled(exported):
    program = (
        "from graysam import Segmenter\n"
        f"segmenters = [Segmenter.load({str(exported)!r}, engine='openvino', precision='fp32') for _ in range(4)]\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
