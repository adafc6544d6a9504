"""Which weights a run moves: frozen parts, norms at rest, and low-rank additions to frozen layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from graysam.models.adapters import Adapter
from train.config import ConfigError, TuningConfig

ORIGINAL = "parametrizations.weight.original"
"""Where PyTorch keeps the own weight of a layer that has an addition."""


class LowRankAddition(nn.Module):
    """A layer's weight plus the product of two thin matrices (Hu et al. 2021); at first the product is zero."""

    def __init__(self, weight: Tensor, *, rank: int, scale: float) -> None:
        """Fit the matrices to a weight of shape (outputs, inputs) or (outputs, inputs / groups, k, k)."""
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(torch.empty(rank, inputs, device=weight.device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.share = scale / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Give the weight that the layer works with."""
        addition = (self.up @ self.down).view(weight.shape).to(weight.dtype)
        return weight + self.share * addition


class AddingConvolution(nn.Conv2d):
    """A convolution with an addition: its own answer, and that of two thin convolutions, a kernel and then 1 x 1.

    The sum of the weights would answer the same, but its gradient costs as much as that of the whole layer.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Answer as `nn.Conv2d` does with the summed weight, but for rounding."""
        parts = self.get_submodule("parametrizations.weight")
        own, addition = parts.get_parameter("original"), cast(LowRankAddition, parts.get_submodule("0"))
        kernels = addition.down.view(-1, *own.shape[1:])
        thin = functional.conv2d(image, kernels, None, self.stride, self.padding, self.dilation)
        added = functional.conv2d(thin, addition.share * addition.up[:, :, None, None])
        answer: Tensor = self._conv_forward(image, own, self.bias) + added
        return answer


def apply_tuning(model: nn.Module, tuning: TuningConfig) -> None:
    """Freeze what a config says, and add low-rank additions; with the default config, nothing changes.

    Layers that the network keeps still by itself, as no prompt reaches them, get no additions. Bottleneck adapters are
    never frozen: they are what is left to train in a frozen part.

    Raises:
        ConfigError: a name is the start of no module's name.
    """
    moved = {each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear) and each.weight.requires_grad}
    for part in _parts(model, tuning.frozen, "frozen"):
        _freeze(part)
    if tuning.lora_rank == 0:
        return
    present = tuple(part for part in tuning.lora_parts if _has_part(model, part))
    if not present:
        raise ConfigError(f"tuning.lora_parts: the model has none of the modules {tuning.lora_parts}.")
    for part in _parts(model, present, "lora_parts"):
        _freeze(part)
        of_adapters = {layer for adapter in _adapters(part) for layer in adapter.modules()}
        for layer in [each for each in part.modules() if each in moved - of_adapters]:
            addition = LowRankAddition(layer.weight, rank=tuning.lora_rank, scale=tuning.lora_scale)
            if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
                layer.__class__ = AddingConvolution
            parametrize.register_parametrization(layer, "weight", addition)


def moved_parameters(model: nn.Module) -> tuple[int, int]:
    """Count the parameters that training moves, and all of them."""
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    return sum(size for size, moved in sizes if moved), sum(size for size, _ in sizes)


def _freeze(part: nn.Module) -> None:
    part.requires_grad_(False)
    for adapter in _adapters(part):
        adapter.requires_grad_(True)


def _adapters(part: nn.Module) -> list[Adapter]:
    return [each for each in part.modules() if isinstance(each, Adapter)]


def train_mode(model: nn.Module, tuning: TuningConfig) -> None:
    """Put a model in training mode, but leave the norms of frozen parts at their running statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and (tuning.freeze_norm or _is_frozen(module)):
            module.eval()


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Give a model's weights under plain names, additions included: the same answers but for rounding.

    (PyTorch's own removal of parametrizations cannot be used on a copy: it takes them from the original's class too.)
    """
    layers = {name: each for name, each in model.named_modules() if parametrize.is_parametrized(each, "weight")}
    state = {}
    for name, value in model.state_dict().items():
        layer = name.split(".parametrizations.")[0]
        if name == f"{layer}.{ORIGINAL}":
            state[f"{layer}.weight"] = layers[layer].weight.detach()
        elif layer == name:
            state[name] = value
    return state


def under_additions(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename plain weights to what they are called in a model with additions; the additions stay as they are."""
    own = model.state_dict()
    renamed = {}
    for name, value in weights.items():
        inner = f"{name.removesuffix('weight')}{ORIGINAL}"
        renamed[inner if inner in own else name] = value
    additions = {name: value for name, value in own.items() if ".weight.0." in name}
    return {**additions, **renamed}


def _is_frozen(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(each.requires_grad for each in own)


def _has_part(model: nn.Module, part: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for name, _ in model.named_modules())


def _parts(model: nn.Module, names: tuple[str, ...], field: str) -> Iterator[nn.Module]:
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            top = sorted({each.split(".")[0] for each in known if each})
            raise ConfigError(f"tuning.{field}: the model has no module {name!r}; it has {top} and theirs.")
        yield known[name]
