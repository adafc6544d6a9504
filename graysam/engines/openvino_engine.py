"""OpenVINO on the CPU: what the container runs. Imports no torch.

Start-up is part of every timed case, so the two networks are compiled at the same time, each in its own thread, while
the caller prepares its first slice. They are compiled for what comes (`OpenVinoEngine.begin`): one slice, whose calls
use all threads, or a volume, whose calls go side by side with one thread each.
"""

from __future__ import annotations

import importlib
import locale
import os
import sys
import threading
import zlib
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from graysam.engines.protocol import FloatArray, Precision
from graysam.engines.select import OPENVINO_FOLDERS, SPEC_FILE, read_cpu_facts
from graysam.errors import EngineError
from graysam.models.frames import DecoderInputs
from graysam.models.spec import ModelSpec

if TYPE_CHECKING:
    from openvino import Core, InferRequest

# "f32" also for int8: it is the format of the layers between the quantized ones.
PRECISION_HINTS: Final[dict[Precision, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}

MOST_LANES: Final = 4
"""Calls side by side: each has its own buffers and its own compiled copy; Python between them is a thread at a time."""


class OpenVinoEngine:
    """Runs the two networks of an exported folder.

    The decoder's own batch size tells how boxes are run: one with a fixed batch of 1 is run box by box, which for the
    box-frame decoder is faster than any batch (figures in `graysam.models.decoders.box_frame`); one with an open batch
    gets them all at once.
    """

    name: Literal["openvino"] = "openvino"

    def __init__(self, folder: Path, spec: ModelSpec, *, precision: Precision = "fp32", threads: int = 1) -> None:
        """Open encoder.xml and decoder.xml of a folder; they are compiled when work begins.

        Raises:
            EngineError: openvino is not installed. Files that OpenVINO refuses are reported on first use.
        """
        self.spec = spec
        self.precision: Precision = precision
        self.threads = threads
        self._folder = folder
        self._core = _make_core()
        self._cache = cache_folder()
        self._compiled: dict[int, _Networks] = {}  # by the number of lanes
        self._in_use: _Networks | None = None

    @classmethod
    def load(cls, weights: Path, *, precision: Precision = "fp32", threads: int = 1) -> OpenVinoEngine:
        """Open an exported folder.

        Raises:
            EngineError: spec.json cannot be read, or openvino is not installed.
            CheckpointError: spec.json is of another version.
        """
        try:
            spec = ModelSpec.from_json((weights / SPEC_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as cause:
            raise EngineError(
                f"{weights / SPEC_FILE}: cannot be read ({cause}); export the checkpoint again."
            ) from cause
        return cls(weights / OPENVINO_FOLDERS[precision], spec, precision=precision, threads=threads)

    def begin(self, *, many: bool) -> int:
        """Start compiling for one slice or for many calls; see `Engine.begin`."""
        lanes = min(self.threads, MOST_LANES) if many else 1
        if lanes not in self._compiled:
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": lanes,
                "INFERENCE_NUM_THREADS": self.threads,
                "INFERENCE_PRECISION_HINT": PRECISION_HINTS[self.precision],
                # Pinned, all processes with one thread would share the machine's first core.
                "ENABLE_CPU_PINNING": False,
            }
            if self._cache is not None:
                settings["CACHE_DIR"] = str(self._cache)
            self._compiled[lanes] = _Networks(self._core, self._folder, settings, lanes)
        self._in_use = self._compiled[lanes]
        return lanes

    @property
    def boxes_at_once(self) -> int | None:
        """The decoder's own batch size; see `Engine.boxes_at_once`."""
        return self._networks.decoder.batch

    @property
    def _networks(self) -> _Networks:
        if self._in_use is None:
            self.begin(many=False)
        assert self._in_use is not None, "work has begun"
        return self._in_use

    def encode(self, canvas: FloatArray) -> FloatArray:
        """Embed a canvas; see `Engine.encode`."""
        embedding: FloatArray = self._networks.encoder.run({"canvas": canvas[None]})[0][0]
        return embedding

    def decode(self, embedding: FloatArray, inputs: DecoderInputs) -> tuple[FloatArray, FloatArray]:
        """Segment boxes; see `Engine.decode`."""
        decoder, shared = self._networks.decoder, {"embedding": embedding[None]}
        if decoder.batch is None:
            logits, iou = decoder.run({**shared, **inputs})
            return logits, iou
        count = len(next(iter(inputs.values())))
        answers = [
            decoder.run({**shared, **{name: value[i : i + 1] for name, value in inputs.items()}}) for i in range(count)
        ]
        if count == 1:
            return answers[0][0], answers[0][1]
        return np.concatenate([each[0] for each in answers]), np.concatenate([each[1] for each in answers])


class _Networks:
    """Encoder and decoder, compiled for a number of calls at the same time."""

    def __init__(self, core: Core, folder: Path, settings: dict[str, Any], lanes: int) -> None:
        # OpenVINO leaves the process in the locale "C" when it meets a damaged cache, and all text would be ASCII then.
        locale_before = locale.setlocale(locale.LC_ALL)
        self.encoder = _Network(core, folder / "encoder.xml", settings, lanes, locale_before)
        self.decoder = _Network(core, folder / "decoder.xml", settings, lanes, locale_before)


class _Network:
    """One compiled network; compiling runs in a thread of its own and is waited for on first use."""

    def __init__(self, core: Core, path: Path, settings: dict[str, Any], lanes: int, locale_before: str) -> None:
        self._path = path
        self._lanes = lanes
        self._locale_before = locale_before
        self._requests: SimpleQueue[InferRequest] = SimpleQueue()  # those that no call is using
        self._batch: int | None = None
        self._error: Exception | None = None
        # No daemon, so that Python waits for it when the program ends: OpenVINO crashes when it is cut off.
        self._thread = threading.Thread(target=self._compile, args=(core, settings))
        self._thread.start()

    def _compile(self, core: Core, settings: dict[str, Any]) -> None:
        try:
            try:
                compiled = core.compile_model(str(self._path), "CPU", settings)
            except RuntimeError:
                if "CACHE_DIR" not in settings:
                    raise
                # A damaged cache, or a folder that fills up, must not stop a prediction.
                without = {key: value for key, value in settings.items() if key != "CACHE_DIR"}
                compiled = core.compile_model(str(self._path), "CPU", without)
            batch = compiled.inputs[-1].partial_shape[0]
            self._batch = None if batch.is_dynamic else batch.get_length()
            for _ in range(self._lanes):
                self._requests.put(compiled.create_infer_request())
        except Exception as error:  # it is raised again where somebody can catch it
            self._error = error

    def _ready(self) -> None:
        self._thread.join()
        if locale.setlocale(locale.LC_ALL) != self._locale_before:
            locale.setlocale(locale.LC_ALL, self._locale_before)
        if self._error is not None:
            raise EngineError(
                f"{self._path}: OpenVINO cannot run it ({str(self._error).strip().splitlines()[-1]}). Is the file "
                "whole? Compare checksums.sha256, or export the checkpoint again."
            ) from self._error

    @property
    def batch(self) -> int | None:
        """The number of boxes that the network takes at once, None where any."""
        self._ready()
        return self._batch

    def run(self, inputs: dict[str, FloatArray]) -> list[FloatArray]:
        """Give all outputs, in order, as copies: OpenVINO writes the next answer into the same memory."""
        self._ready()
        if not _first_run.is_over:
            with _first_run.lock:
                answer = self._infer(inputs)
                _first_run.is_over = True
                return answer
        return self._infer(inputs)

    def _infer(self, inputs: dict[str, FloatArray]) -> list[FloatArray]:
        request = self._requests.get()
        try:
            request.infer({name: np.ascontiguousarray(value) for name, value in inputs.items()}, share_inputs=True)
            return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
        finally:
            self._requests.put(request)


class _FirstRun:
    """The first call of the process, which goes alone.

    In it OpenVINO's Python side looks up numpy, within a C++ static that others wait for. A second thread that comes
    there while it holds Python's lock waits for the first, which waits for that lock, for ever (seen with 2026.4.1).
    """

    lock = threading.Lock()
    is_over = False


_first_run = _FirstRun()


def _make_core() -> Core:
    """Import OpenVINO and start it.

    Raises:
        EngineError: it is not installed, or does not start on this machine.
    """
    try:
        return _import_openvino().Core()
    except (ImportError, RuntimeError) as cause:
        raise EngineError(f"engine openvino: cannot be started ({cause}). pip install openvino.") from cause


def _import_openvino() -> ModuleType:
    """Import OpenVINO without its model converter, which takes a third of the time and is optional to it.

    The converter imports telemetry, an HTTP client and multiprocessing. Programs that convert models in the same
    process still find it under its usual name; it is then imported on first use.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules[converter] = None  # type: ignore[assignment]  # makes its import fail, as if it were not installed
    try:
        openvino = importlib.import_module("openvino")
    finally:
        del sys.modules[converter]
    if not hasattr(openvino, "convert_model"):

        def convert_model(*args: object, **keywords: object) -> object:
            return importlib.import_module(converter).convert_model(*args, **keywords)

        openvino.convert_model = convert_model  # type: ignore[attr-defined]
    return openvino


def cache_folder() -> Path | None:
    """Give a folder where compiled networks may be kept for the next process, None where there is none.

    It is GRAYSAM_CACHE, or graysam/ in the user's cache folder where that exists: a home that people work in has one, a
    container that lives for one case has none, and must not lose time on writing one. An empty GRAYSAM_CACHE means no
    cache. Compiled networks are for one CPU model with one set of instructions, as virtual machines hide some under the
    same name, so each has a folder of its own; one that is there is used even where nothing can be added to it, such as
    in a read-only container that was warmed when it was built.
    """
    chosen = os.environ.get("GRAYSAM_CACHE")
    if chosen == "":
        return None
    base = Path(chosen or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not chosen and not base.is_dir():
        return None
    facts = read_cpu_facts()
    model = "".join(letter if letter.isalnum() else "-" for letter in facts.model)
    instructions = zlib.crc32(" ".join(sorted(facts.flags)).encode())
    folder = base / "graysam" / f"openvino-{model}-{instructions:08x}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) or any(folder.iterdir()) else None
