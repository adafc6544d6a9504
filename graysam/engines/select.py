"""Choose back end, number format and thread count: the fastest that this CPU really runs and whose files are there.

Nothing here imports a back end; what is installed is looked up without loading it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from graysam.engines.protocol import EngineName, Precision
from graysam.errors import EngineError
from graysam.machine import CGROUP_ROOT, PROC, allowed_cpus, usable_cores

INT8_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Without one of these int8 products may saturate, which costs some weights a point of DSC (docs/experiments.md)."""
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Without one of these bf16 is emulated, at a fifth of the speed of fp32."""
BF16_TILES: Final = "amx_bf16"
"""With this bf16 is as fast as int8, and starts 0.1 s sooner (measured on two Xeon cores, 2026-11-21)."""

INT8_PAYS_FROM: Final[dict[Precision, int]] = {"fp32": 32, "bf16": 64}
"""From how many calls of the networks on int8 is faster, with INT8_FLAGS, than this other format. It takes 0.17 s
longer to compile, and 3.4 ms a call where fp32 takes 9.9 and bf16 5.6 (measured on two Zen 4 cores, 2026-11-26)."""

SPEC_FILE: Final = "spec.json"
TORCH_FILE: Final = "model.pt"
OPENVINO_FOLDERS: Final[dict[Precision, str]] = {
    "fp32": "openvino",
    "bf16": "openvino",
    "int8": "openvino-int8",
}
OPENVINO_FILES: Final = ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")


@dataclass(frozen=True)
class CpuFacts:
    """What matters of the CPU this process runs on.

    Attributes:
        flags: instruction sets, as Linux names them; empty where they cannot be read.
        model: the CPU's name, "unknown" where it cannot be read.
        threads: how many threads are worth starting.
    """

    flags: frozenset[str]
    model: str
    threads: int

    @property
    def has_int8(self) -> bool:
        """Tell whether 8-bit products are accumulated in 32 bits by one instruction."""
        return not self.flags.isdisjoint(INT8_FLAGS)

    @property
    def has_bf16_tiles(self) -> bool:
        """Tell whether products of whole bfloat16 tiles are an instruction."""
        return BF16_TILES in self.flags

    @property
    def has_bf16(self) -> bool:
        """Tell whether bfloat16 products are an instruction."""
        return not self.flags.isdisjoint(BF16_FLAGS)


@dataclass(frozen=True)
class EngineChoice:
    """A back end and a number format, and why where `auto` decided."""

    engine: EngineName
    precision: Precision


def read_cpu_facts(proc: Path = PROC, cgroup_root: Path = CGROUP_ROOT) -> CpuFacts:
    """Look at the CPU, this process's affinity and its cgroup's quota.

    Threads are the physical cores among the CPUs that the process may use (two threads on one core only get in each
    other's way in products), but not more than the quota allows, rounded up, and at least 1.
    """
    try:
        text = (proc / "cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    flags, model, cores = _parse_cpuinfo(text, allowed_cpus())
    usable = usable_cores(proc, cgroup_root)
    return CpuFacts(flags, model, min(cores or usable, usable))


def _parse_cpuinfo(text: str, allowed: set[int]) -> tuple[frozenset[str], str, int]:
    """Give flags, model name, and the number of physical cores among the allowed CPUs (0 where not told)."""
    flags: frozenset[str] = frozenset()
    model = "unknown"
    cores = set()
    for block in text.split("\n\n"):
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        flags = flags or frozenset((facts.get("flags") or facts.get("Features") or "").split())
        model = facts.get("model name", model) if model == "unknown" else model
        if "core id" in facts and int(facts.get("processor", -1)) in allowed:
            cores.add((facts.get("physical id", "0"), facts["core id"]))
    return flags, model, len(cores)


def choose_engine(
    weights: Path, engine: str, precision: str, facts: CpuFacts, expected_calls: int | None = None
) -> EngineChoice:
    """Decide what `auto` means here, and refuse what cannot be done before anything is loaded.

    Args:
        weights: a folder as `graysam.export` makes it, or a checkpoint file, which only torch reads.
        engine: "auto", "torch" or "openvino".
        precision: "auto", "fp32", "bf16" or "int8".
        facts: the CPU.
        expected_calls: of the two networks, so that for few of them the time to compile counts; None for many.

    Raises:
        EngineError: unknown names, weights that are not there, or a back end that is not installed.
    """
    for what, value, known in (
        ("engine", engine, get_args(EngineName)),
        ("precision", precision, get_args(Precision)),
    ):
        if value != "auto" and value not in known:
            raise EngineError(f"{what} {value!r}: wanted auto or one of {', '.join(known)}.")
    if not weights.exists():
        raise EngineError(
            f"weights {weights}: no such file or folder. Give --weights, set GRAYSAM_WEIGHTS, or make them with "
            "`python -m graysam.export`."
        )
    reasons = []
    engines: tuple[EngineName, ...] = ("openvino", "torch")
    formats: tuple[Precision, ...] = get_args(Precision)
    for name in engines if engine == "auto" else [each for each in engines if each == engine]:
        asked = [each for each in formats if each == precision]
        for candidate in asked or _precisions(name, facts, expected_calls):
            missing = _what_is_missing(weights, name, candidate)
            if missing is None:
                return EngineChoice(name, candidate)
            reasons.append(f"{name} {candidate}: {missing}")
    raise EngineError(f"weights {weights}: no engine can run them. " + " ".join(reasons))


def _precisions(engine: EngineName, facts: CpuFacts, expected_calls: int | None) -> list[Precision]:
    """Give the number formats to try, fastest first.

    torch's int8 is for those who ask for it: it is dynamic, and reaches linear layers only.
    """
    if engine == "torch":
        return ["bf16"] if facts.has_bf16 else ["fp32"]
    floats: list[Precision] = ["bf16", "fp32"] if facts.has_bf16 else ["fp32"]
    if not facts.has_int8:
        return floats
    is_fast_enough = facts.has_bf16_tiles or (expected_calls is not None and expected_calls < INT8_PAYS_FROM[floats[0]])
    return [floats[0], "int8", *floats[1:]] if is_fast_enough else ["int8", *floats]


def checkpoint_of(weights: Path) -> Path:
    """Give the checkpoint of weights that are one, or a folder as `graysam.export` makes it; it may not be there."""
    return weights / TORCH_FILE if weights.is_dir() else weights


def _what_is_missing(weights: Path, engine: EngineName, precision: Precision) -> str | None:
    """Say what keeps an engine from running these weights, None when nothing does."""
    if importlib.util.find_spec(engine) is None:
        return f"the package {engine} is not installed (pip install {engine})."
    if engine == "torch":
        found = checkpoint_of(weights)
        return None if found.is_file() else f"{found} is missing; export the checkpoint again."
    if weights.is_file():
        return "OpenVINO wants an exported folder, not a checkpoint; make one with `python -m graysam.export`."
    folder = weights / OPENVINO_FOLDERS[precision]
    wanted = [weights / SPEC_FILE, *(folder / name for name in OPENVINO_FILES)]
    absent = [str(path) for path in wanted if not path.is_file()]
    if not absent:
        return None
    remedy = " (--calibration makes the int8 files)" if precision == "int8" else ""
    return f"{', '.join(absent)} missing; export the checkpoint again{remedy}."
