"""Weights on disk: owns their reading and writing, the names of their parts and their rounding to half precision.

Ours come with their spec, official ones in the wrappers that people meet. Training, export and the torch engine read
and write weights here.

A checkpoint is read without executing anything from it, and is loaded whole or not at all: which keys are
missing, unexpected, misshapen or not finite is said in the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from graysam.errors import CheckpointError
from graysam.files import written_whole
from graysam.models.network import Network, build_network
from graysam.models.spec import ModelSpec

WRAPPERS: Final = ("model", "state_dict", "model_state_dict", "net")
"""Keys under which public training scripts keep the weights, next to optimizer, epoch and losses."""
PREFIXES: Final = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every key."""
OFFICIAL_PARTS: Final = {
    "image_encoder.": "encoder.",
    "prompt_encoder.": "decoder.prompt_encoder.",
    "mask_decoder.": "decoder.mask_decoder.",
}
"""What the parts of a `Network` are called in the public checkpoints of SAM and its relatives."""
COUNTER: Final = "num_batches_tracked"
"""A counter of BatchNorm that neither prediction nor our training reads; it may be absent."""
NAMES_SHOWN: Final = 6


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        state: the weights by key, unwrapped.
        spec: the model's description; None in files that are not ours.
        extra: further plain values of our own files (step, seed, optimizer state, scores).
    """

    state: dict[str, Tensor]
    spec: ModelSpec | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mismatch:
    """How a state differs from what a model takes; each field is sorted, and empty when all is well."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    not_finite: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen or self.not_finite)

    def __str__(self) -> str:
        parts = []
        for kind in ("missing", "unexpected", "misshapen", "not_finite"):
            lines: tuple[str, ...] = getattr(self, kind)
            if lines:
                more = ", ..." if len(lines) > NAMES_SHOWN else ""
                parts.append(f"{len(lines)} {kind.replace('_', ' ')}: {', '.join(lines[:NAMES_SHOWN])}{more}")
        return "; ".join(parts)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a .pt or .pth file onto the CPU, unwrapping `model`, `state_dict`, `module.` and the like.

    Parts of official checkpoints (`image_encoder.`, ...) get the names that they have in a `Network`.

    Only tensors and plain values (and numpy scalars, which old scripts store as their loss) are accepted.

    Raises:
        CheckpointError: no such file, not a checkpoint, or one that holds other objects.
    """
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:  # a parser of foreign bytes: whatever it raises, the file is to blame
        first_line = (str(cause).splitlines() or [""])[0]
        raise CheckpointError(
            f"{path}: cannot be read as weights ({type(cause).__name__}: {first_line}). Wanted a file of "
            "torch.save that holds tensors and plain values only; anything else could run its own code."
        ) from cause
    ours = isinstance(content, dict) and isinstance(content.get("spec"), dict)
    spec = ModelSpec.from_dict(content["spec"]) if ours else None
    extra = content.get("extra", {}) if ours else {}
    return Checkpoint(state=own_names(_unwrap(content, path)), spec=spec, extra=extra)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, part: str | None = None) -> None:
    """Copy weights into a model, strictly: all of them, or none and an error that lists what does not fit.

    Half-precision weights are widened to the model's dtype. BatchNorm's batch counters may be absent.

    Args:
        model: takes the weights, in place.
        state: weights by key.
        part: load only this submodule (such as "encoder"), from a state of the whole model or of the
            part alone.

    Raises:
        CheckpointError: a key is missing, unexpected, misshapen, or holds a NaN or infinity; the model is
            unchanged.
    """
    target = model.get_submodule(part) if part else model
    state = used_weights(model, own_names(state))
    if part and any(key.startswith(f"{part}.") for key in state):
        state = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
    mismatch = compare_weights(target, state)
    if mismatch:
        raise CheckpointError(
            f"weights do not fit {type(target).__name__}: {mismatch}. Is this the checkpoint of another model or spec?"
        )
    target.load_state_dict(dict(state), strict=False)  # strictness is ours, above; only batch counters may be absent


def compare_weights(model: nn.Module, state: Mapping[str, Tensor]) -> Mismatch:
    """Compare a state with what the model takes, changing nothing."""
    wanted = model.state_dict()
    shared = sorted(wanted.keys() & state.keys())
    return Mismatch(
        missing=tuple(key for key in sorted(wanted.keys() - state.keys()) if not key.endswith(COUNTER)),
        unexpected=tuple(sorted(state.keys() - wanted.keys())),
        misshapen=tuple(
            f"{key} (wanted {tuple(wanted[key].shape)}, found {tuple(state[key].shape)})"
            for key in shared
            if wanted[key].shape != state[key].shape
        ),
        not_finite=tuple(key for key in shared if not torch.isfinite(state[key]).all()),
    )


def load_model(path: Path, *, spec: ModelSpec | None = None) -> Network:
    """Build the model of a checkpoint, in evaluation mode.

    spec: needed for a file that carries none, such as an official checkpoint; must be equal where it carries
        one.

    Raises:
        CheckpointError: unreadable file, no spec or another one, or weights that do not fit it.
    """
    checkpoint = read_checkpoint(path)
    if spec and checkpoint.spec and spec != checkpoint.spec:
        raise CheckpointError(f"{path}: holds a model of spec {checkpoint.spec}, wanted {spec}.")
    spec = spec or checkpoint.spec
    if spec is None:
        raise CheckpointError(f"{path}: holds no spec; say which model it is, e.g. spec=graysam.models.spec.L0.")
    model = build_network(spec)
    try:
        load_weights(model, checkpoint.state)
    except CheckpointError as cause:
        raise CheckpointError(f"{path}: {cause}") from cause
    return model.eval()


def save_checkpoint(
    path: Path,
    model: nn.Module,
    spec: ModelSpec,
    extra: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write weights with their spec; a reader sees the old file or the whole new one, never a part.

    Args:
        path: the file; its folder must exist.
        model: whose weights; those of a compiled or DataParallel model are written under the plain keys.
        spec: travels within as plain values.
        extra: tensors and plain values (None, bool, int, float, str, list, tuple, dict) only, as reading
            allows no more.
        half: store kernels and matrices as float16; vectors (norms, biases) are small and stay as they are.

    Raises:
        CheckpointError: `extra` holds something else, a weight exceeds float16, or the file cannot be
            written.
    """
    extra = dict(extra or {})
    _require_plain(extra, where="extra")
    state = _strip_prefixes({key: value.detach().cpu() for key, value in model.state_dict().items()})
    if half:
        state = halved(state)
    # A stream, as torch writes the name of a path into the file, and a full disk is then an OSError.
    with written_whole(path, CheckpointError) as temporary, temporary.open("xb") as stream:
        torch.save({"model": state, "spec": spec.to_dict(), "extra": extra}, stream)


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round weights to half precision, as they are kept on disk: the only rule for it.

    Kernels and matrices become float16. Vectors (norms, biases) are small, and a running variance may exceed what
    float16 can hold; they stay as they are, as do counters.

    Raises:
        CheckpointError: a weight is too large for float16.
    """
    return {key: _halve(key, value) for key, value in state.items()}


def used_weights(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the published weights that a model's parts say they have no use for (`unread_weights`)."""
    unread = [name for part in model.modules() for name in getattr(part, "unread_weights", ())]
    return {key: value for key, value in state.items() if not any(name in key for name in unread)}


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state under the names of a `Network`, whatever wrapper or public model it comes from."""
    plain = _strip_prefixes(dict(state))
    return {_own_name(key): value for key, value in plain.items()}


def _own_name(key: str) -> str:
    for official, own in OFFICIAL_PARTS.items():
        if key.startswith(official):
            return own + key.removeprefix(official)
    return key


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """Descend through wrappers to the dictionary whose values are all tensors."""
    while isinstance(content, dict) and content:
        if all(isinstance(value, Tensor) for value in content.values()):
            return content
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            raise CheckpointError(
                f"{path}: no weights found. Wanted keys naming tensors, or those under one of {WRAPPERS}; "
                f"found {sorted(map(str, content))[:NAMES_SHOWN]}."
            )
        content = inner[0]
    raise CheckpointError(
        f"{path}: wanted a dictionary of tensors, found {'an empty' if content == {} else 'a'} "
        f"{type(content).__name__}."
    )


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop, as long as there is one, a known prefix that every key has."""
    while prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _halve(key: str, value: Tensor) -> Tensor:
    if value.ndim < 2 or not value.is_floating_point():
        return value
    halved = value.half()
    if not torch.isfinite(halved).all():
        raise CheckpointError(
            f"{key}: largest value {value.abs().max():.3g} does not fit float16; has the training diverged?"
        )
    return halved


def _require_plain(value: object, *, where: str) -> None:
    """Refuse what `read_checkpoint` would refuse, at the time when it can still be mended."""
    children: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    elif type(value) not in (type(None), bool, int, float, str, Tensor):
        raise CheckpointError(f"{where}: {type(value).__name__} cannot be stored; convert it to a plain value.")
    for key, child in children:
        _require_plain(child, where=f"{where}[{key!r}]")


def _numpy_scalars() -> list[Any]:
    """Give the constructors of numpy scalars, under both names that pickles use; they run no foreign code."""
    scalar = np.float64(0).__reduce__()[0]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)),
    ]
