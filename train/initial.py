"""Reads weights to start a run from: those of earlier runs, their mean, or those of a model that was shown less.

They come from what `--init` names, and go into the fresh network of `train.trainer`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from graysam.engines.select import checkpoint_of
from graysam.models.checkpoint import own_names, read_checkpoint, used_weights
from train.config import ConfigError

logger = logging.getLogger("train")

NAMES_SHOWN = 20


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a model folder, a best.pt, a last.pt or an official checkpoint, the averaged weights first."""
    path = checkpoint_of(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    weights = own_names(state["average"]) if "average" in state else read_checkpoint(path).state
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def mean_weights(paths: Sequence[Path], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Read the mean of several runs' weights: a model soup (Wortsman et al. 2022).

    Meant for runs that went on from one another. Counters, which have no mean, are those of the first. Of inputs that
    only some models were shown, the mean is that of those models: with zeros of the others, half of what was learned of
    a click would be gone.

    Args:
        paths: files of the same model, the one that is shown most first.
        shares: one for each file, relative to their sum; None for the plain mean.

    Raises:
        ConfigError: they are not weights of the same model, or the shares do not fit them.
    """
    shares = [1.0] * len(paths) if shares is None else shares
    if len(shares) != len(paths) or min(shares) < 0 or sum(shares) == 0:
        raise ConfigError(
            f"shares of weights: wanted {len(paths)} numbers from 0 on, one of them more, got {list(shares)}."
        )
    first, *others = (read_weights(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        _check_alike(first, other, f"{path} and {paths[0]}")
    return {
        name: _mean([weights[name] for weights in (first, *others)], shares) if value.is_floating_point() else value
        for name, value in first.items()
    }


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Give the weighted mean of tensors, the first of which has the most inputs (dimension 1)."""
    first = values[0]
    summed = sum((share * _widened(value, first) for share, value in zip(shares, values, strict=True)), first * 0)
    if first.ndim < 2:
        return summed / sum(shares)
    shown = torch.zeros(first.shape[1])
    for share, value in zip(shares, values, strict=True):
        shown[: value.shape[1]] += share
    shown[shown == 0] = 1  # inputs of a model without a share stay zero
    return summed / shown.reshape(-1, *(1,) * (first.ndim - 2))


def _check_alike(first: Mapping[str, Tensor], other: Mapping[str, Tensor], files: str) -> None:
    """Refuse weights of different models; `other` may have fewer inputs."""
    if first.keys() != other.keys() or not all(_sees_no_more(other[name], value) for name, value in first.items()):
        raise ConfigError(f"initial weights: {files} are of different models, and have no mean; give one of them.")


def fitted_weights(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give weights that a model can load: what it has over the earlier model is filled in.

    Convolutions and linear layers that look at more than before get zeros for that, so that the model answers as the
    earlier one did, whatever the new inputs hold, and learns to use them. Parts that are new start as the model has
    them; a warning names them.

    Raises:
        ConfigError: the weights have names that the model lacks, or sizes differ otherwise.
    """
    wanted, weights = model.state_dict(), used_weights(model, weights)
    if odd := sorted(set(weights) - set(wanted)):
        raise ConfigError(f"initial weights: the model has no {odd[0]!r}, of {len(odd)} such; is the config theirs?")
    if fresh := sorted(set(wanted) - set(weights)):
        named = ", ".join(fresh[:NAMES_SHOWN]) + (f" and {len(fresh) - NAMES_SHOWN} more" * (len(fresh) > NAMES_SHOWN))
        logger.warning("initial weights: %s are not among them and start anew", named)
    fitted = {name: _fitted(name, value, wanted[name]) for name, value in weights.items()}
    return {**{name: wanted[name] for name in fresh}, **fitted}


def _fitted(name: str, value: Tensor, wanted: Tensor) -> Tensor:
    if not _sees_no_more(value, wanted):
        raise ConfigError(
            f"initial weights: {name} is {tuple(value.shape)}, the model wants {tuple(wanted.shape)}; take the config "
            "that they were trained with, or start without --init."
        )
    return _widened(value, wanted)


def _sees_no_more(value: Tensor, wanted: Tensor) -> bool:
    """Tell whether a tensor is of the wanted shape, or a layer that has fewer inputs and is alike otherwise."""
    if value.shape == wanted.shape:
        return True
    sees_less = value.ndim == wanted.ndim and value.ndim in (2, 4) and value.shape[1] < wanted.shape[1]
    return sees_less and (value.shape[0], *value.shape[2:]) == (wanted.shape[0], *wanted.shape[2:])


def _widened(value: Tensor, wanted: Tensor) -> Tensor:
    """Give a tensor with zeros for the inputs that only `wanted` has."""
    if value.shape == wanted.shape:
        return value
    beyond_inputs = (0, 0) * (value.ndim - 2)  # a kernel's height and width
    return functional.pad(value, (*beyond_inputs, 0, wanted.shape[1] - value.shape[1]))
