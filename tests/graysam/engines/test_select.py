import os

import pytest

from graysam.engines.select import CpuFacts, EngineChoice, checkpoint_of, choose_engine, read_cpu_facts
from graysam.errors import EngineError
from graysam.machine import cpu_quota

PLAIN = CpuFacts(frozenset({"avx2", "avx512f"}), "Xeon W-2133", 6)
VNNI = CpuFacts(frozenset({"avx512_vnni"}), "Ice Lake", 4)
BF16 = CpuFacts(frozenset({"avx512_bf16"}), "Cooper Lake without int8", 4)
ZEN4 = CpuFacts(frozenset({"avx512_vnni", "avx512_bf16"}), "Zen 4", 4)
AMX = CpuFacts(frozenset({"avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}), "Sapphire Rapids", 4)


@pytest.fixture
def whole_export(tmp_path):
    """A folder with the names of all exported files; the contents do not matter for the choice."""
    for name in ("openvino", "openvino-int8"):
        (tmp_path / name).mkdir()
        for file in ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"):
            (tmp_path / name / file).touch()
    (tmp_path / "spec.json").touch()
    (tmp_path / "model.pt").touch()
    return tmp_path


def everything_installed(monkeypatch, *absent):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else object())


@pytest.mark.parametrize(
    ("facts", "precision"), [(PLAIN, "fp32"), (VNNI, "int8"), (BF16, "bf16"), (ZEN4, "int8"), (AMX, "bf16")]
)
def test_auto_takes_the_format_that_the_cpu_has_instructions_for(whole_export, monkeypatch, facts, precision):
    everything_installed(monkeypatch)
    assert choose_engine(whole_export, "auto", "auto", facts) == EngineChoice("openvino", precision)


@pytest.mark.parametrize(
    ("facts", "calls", "precision"),
    [
        (PLAIN, 2, "fp32"),
        (PLAIN, 1000, "fp32"),
        (VNNI, 2, "fp32"),
        (VNNI, 31, "fp32"),
        (VNNI, 32, "int8"),
        (ZEN4, 2, "bf16"),
        (ZEN4, 63, "bf16"),
        (ZEN4, 64, "int8"),
        (AMX, 2, "bf16"),
        (AMX, 1000, "bf16"),
    ],
)
def test_auto_takes_int8_only_for_as_many_calls_as_pay_for_its_longer_compiling(
    whole_export, monkeypatch, facts, calls, precision
):
    everything_installed(monkeypatch)
    assert choose_engine(whole_export, "auto", "auto", facts, calls) == EngineChoice("openvino", precision)


def test_few_calls_are_done_in_int8_where_its_files_alone_are_there(whole_export, monkeypatch):
    everything_installed(monkeypatch)
    (whole_export / "openvino" / "decoder.bin").unlink()
    assert choose_engine(whole_export, "openvino", "auto", ZEN4, 2) == EngineChoice("openvino", "int8")


def test_auto_goes_on_to_the_next_format_when_int8_was_not_exported(whole_export, monkeypatch):
    everything_installed(monkeypatch)
    (whole_export / "openvino-int8" / "decoder.bin").unlink()
    assert choose_engine(whole_export, "auto", "auto", ZEN4) == EngineChoice("openvino", "bf16")
    assert choose_engine(whole_export, "auto", "auto", VNNI) == EngineChoice("openvino", "fp32")


def test_auto_falls_back_to_torch_where_openvino_is_not_installed(whole_export, monkeypatch):
    everything_installed(monkeypatch, "openvino")
    assert choose_engine(whole_export, "auto", "auto", VNNI) == EngineChoice("torch", "fp32")
    assert choose_engine(whole_export, "auto", "auto", ZEN4) == EngineChoice("torch", "bf16")
    assert choose_engine(whole_export, "auto", "int8", ZEN4) == EngineChoice("torch", "int8")


def test_the_checkpoint_of_a_folder_is_a_file_in_it_and_a_file_is_its_own(whole_export):
    assert checkpoint_of(whole_export) == checkpoint_of(whole_export / "model.pt") == whole_export / "model.pt"


def test_a_checkpoint_file_is_for_torch(whole_export, monkeypatch):
    everything_installed(monkeypatch)
    assert choose_engine(whole_export / "model.pt", "auto", "auto", VNNI) == EngineChoice("torch", "fp32")


def test_what_was_asked_for_is_taken_even_where_the_cpu_is_slow_at_it(whole_export, monkeypatch):
    everything_installed(monkeypatch)
    assert choose_engine(whole_export, "openvino", "bf16", PLAIN) == EngineChoice("openvino", "bf16")
    assert choose_engine(whole_export, "torch", "int8", PLAIN) == EngineChoice("torch", "int8")


def test_a_missing_file_is_named_with_the_remedy(whole_export, monkeypatch):
    everything_installed(monkeypatch)
    (whole_export / "openvino-int8" / "encoder.bin").unlink()
    with pytest.raises(EngineError, match=r"encoder\.bin missing; export the checkpoint again \(--calibration"):
        choose_engine(whole_export, "openvino", "int8", PLAIN)


def test_a_missing_back_end_is_named_with_the_remedy(whole_export, monkeypatch):
    everything_installed(monkeypatch, "torch", "openvino")
    with pytest.raises(EngineError, match=r"pip install openvino.*pip install torch"):
        choose_engine(whole_export, "auto", "auto", PLAIN)


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("tensorrt", "auto", "engine 'tensorrt': wanted auto or one of torch, openvino"),
        ("auto", "fp16", "precision 'fp16': wanted auto or one of fp32, bf16, int8"),
    ],
)
def test_unknown_names_are_refused(whole_export, engine, precision, message):
    with pytest.raises(EngineError, match=message):
        choose_engine(whole_export, engine, precision, PLAIN)


def test_weights_that_are_not_there_are_named_with_the_remedy(tmp_path):
    with pytest.raises(EngineError, match=r"nowhere: no such file or folder.*graysam\.export"):
        choose_engine(tmp_path / "nowhere", "auto", "auto", PLAIN)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        # A batch job: its own group allows 8 CPUs, the user's above it 3.5.
        ("0::/user/job\n", {"user/cpu.max": "350000 100000\n", "user/job/cpu.max": "800000 100000\n"}, 3.5),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ("4:cpu:/job\n", {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("2:memory:/job\n", {"cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_cpu_quota_of_both_cgroup_versions_is_read(tmp_path, cgroup, files, quota):
    write(tmp_path, {"proc/self/cgroup": cgroup, **{f"cgroup/{name}": text for name, text in files.items()}})
    assert cpu_quota(tmp_path / "proc", tmp_path / "cgroup") == quota


CPUINFO = """\
processor\t: {processor}
model name\t: Test CPU
physical id\t: 0
core id\t\t: {core}
flags\t\t: fpu avx2 avx512_vnni

"""


def test_threads_are_physical_cores_within_affinity_and_quota(tmp_path, monkeypatch):
    # Four processors on two cores; this process may use three of them.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    text = "".join(CPUINFO.format(processor=number, core=number % 2) for number in range(4))
    write(tmp_path, {"proc/cpuinfo": text, "proc/self/cgroup": "0::/\n"})
    facts = read_cpu_facts(tmp_path / "proc", tmp_path / "cgroup")
    assert facts == CpuFacts(frozenset({"fpu", "avx2", "avx512_vnni"}), "Test CPU", 2)
    assert facts.has_int8
    assert not facts.has_bf16
    write(tmp_path, {"cgroup/cpu.max": "50000 100000\n"})
    assert read_cpu_facts(tmp_path / "proc", tmp_path / "cgroup").threads == 1


def test_where_nothing_can_be_read_threads_are_the_allowed_cpus(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 4, 5}, raising=False)
    assert read_cpu_facts(tmp_path, tmp_path) == CpuFacts(frozenset(), "unknown", 3)
