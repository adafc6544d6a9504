"""Bottleneck adapters: small trained additions to the layers of any network, exported as part of its graph.

A spec names them in `adapters`, `build_network` puts them in, and training moves
them even in parts that its config freezes (`tuning.frozen`). Low-rank additions, which can be merged into the weights
and so need no place in a spec, are those of `train.tuning`.

"serial" and "parallel" are the two arrangements that SimAda (later called SU-SAM, Song et al. 2024) compares: the
bottleneck works on what a layer gave, or next to the layer on what that was given. "prompted" has serial ones in the
encoder and, in the decoder, ones whose bottleneck is turned by a matrix made of the prompt, as the hyper-prompting
adapter of Medical SAM Adapter (Wu et al. 2023) does. The encoder sees no prompt, so that one embedding still serves all
boxes.

The last layer of an adapter starts at zero: a fresh one changes no answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from graysam.models.options import AdapterOptions
from graysam.models.spec import ModelSpec

PIXEL_INPUTS: Final = frozenset({"boxes_canvas"})
"""Inputs of a decoder that count pixels of the canvas; the other boxes are shares."""
NUMBERS_OF_A_BOX: Final = 4
ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {"gelu": nn.GELU, "relu": nn.ReLU}

Layer = nn.Conv2d | nn.Linear


class DecodedPrompts:
    """The prompts that the decoder is at work on: their numbers, (N, K); None between two calls."""

    def __init__(self) -> None:
        self.code: Tensor | None = None


class Adapter(nn.Module):
    """Down to a few channels, an activation, and up again; made for one layer, 1x1 convolutions for a convolution."""

    def __init__(self, layer: Layer, options: AdapterOptions, *, parallel: bool = False) -> None:
        """Fit the layer's outputs, or, in parallel, stand between its inputs and its outputs."""
        super().__init__()
        self.parallel = parallel
        self.width = width = options.width
        self.down: Layer
        self.up: Layer
        if isinstance(layer, nn.Conv2d):
            self.stride = layer.stride if parallel else (1, 1)
            self.down = nn.Conv2d(layer.in_channels if parallel else layer.out_channels, width, 1)
            self.up = nn.Conv2d(width, layer.out_channels, 1)
        else:
            self.down = nn.Linear(layer.in_features if parallel else layer.out_features, width)
            self.up = nn.Linear(width, layer.out_features)
        self.activation = ACTIVATIONS[options.activation]()
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Give what is added to the layer's output."""
        added: Tensor = self.up(self.activation(self.narrowed(features)))
        return added

    def narrowed(self, features: Tensor) -> Tensor:
        """Give the bottleneck before the activation."""
        if isinstance(self.down, nn.Conv2d) and self.stride != (1, 1):
            # Not the stride of a 1x1 convolution: PyTorch 2.13 frees memory twice in its gradient (channels last, CPU).
            features = features[:, :, :: self.stride[0], :: self.stride[1]]
        narrow: Tensor = self.down(features)
        return narrow


class PromptedAdapter(Adapter):
    """An adapter whose bottleneck is multiplied by the identity plus a matrix that is made of the prompt."""

    def __init__(self, layer: Layer, options: AdapterOptions, prompts: DecodedPrompts, numbers: int) -> None:
        """Read prompts of so many numbers from `prompts`."""
        super().__init__(layer, options)
        width = options.width
        self.prompts = prompts
        self.to_matrix = nn.Sequential(nn.Linear(numbers, width), nn.GELU(), nn.Linear(width, width * width))

    def narrowed(self, features: Tensor) -> Tensor:
        """Turn the bottleneck; features of one image are repeated for each prompt."""
        assert self.prompts.code is not None, "an adapter of a decoder works while the decoder does"
        narrow = self.down(features)
        matrix = self.to_matrix(self.prompts.code).reshape(-1, self.width, self.width)
        matrix = matrix + torch.eye(self.width, device=matrix.device, dtype=matrix.dtype)
        if isinstance(self.down, nn.Conv2d):
            turned = torch.matmul(matrix, narrow.flatten(2))  # (N, width, H * W)
            return turned.reshape(-1, *narrow.shape[1:])
        rows = narrow.reshape(narrow.shape[0], -1, self.width)
        return torch.matmul(rows, matrix.transpose(1, 2)).reshape(-1, *narrow.shape[1:])


class AddToOutput:
    """A hook on a layer: adds what its adapter gives. An object, so that a copy of a network has its own."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Give the sum."""
        added: Tensor = self.adapter(given[0] if self.adapter.parallel else output)
        return output + added


class NotePrompts:
    """A hook before a decoder: puts the numbers of its prompts where adapters find them."""

    def __init__(self, prompts: DecodedPrompts, names: tuple[str, ...], canvas: int) -> None:
        self.prompts, self.names, self.canvas = prompts, names, canvas

    def __call__(self, decoder: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Read the boxes among a call's arguments."""
        arguments = inspect.signature(decoder.forward).bind(*given, **named).arguments
        self.prompts.code = prompt_code(arguments, self.names, self.canvas)


class ForgetPrompts:
    """A hook after a decoder: its prompts are over."""

    def __init__(self, prompts: DecodedPrompts) -> None:
        self.prompts = prompts

    def __call__(self, decoder: nn.Module, given: object, output: object) -> None:
        """Forget."""
        self.prompts.code = None


def box_inputs(inputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name the boxes among a decoder's inputs: the arrays of shape (N, 4)."""
    return tuple(name for name, value in sorted(inputs.items()) if value.shape[1:] == (NUMBERS_OF_A_BOX,))


def prompt_code(inputs: Mapping[str, Tensor], names: Sequence[str], canvas: int) -> Tensor:
    """Give the named boxes of a decoder's inputs next to each other, (N, 4 x boxes), all of them as shares."""
    return torch.cat([inputs[name] / canvas if name in PIXEL_INPUTS else inputs[name] for name in names], dim=1)


def add_adapters(encoder: nn.Module, decoder: nn.Module, spec: ModelSpec, inputs: Mapping[str, Tensor]) -> None:
    """Put the adapters of a spec that has some into a fresh network.

    Args:
        encoder: the network's encoder.
        decoder: the network's decoder, which has adapters of its own with "prompted" alone.
        spec: names kind, width and activation.
        inputs: an example of what the decoder is given besides the embedding.
    """
    options = spec.adapter_options
    assert options is not None
    for layer in adapted_layers(encoder):
        _attach(layer, Adapter(layer, options, parallel=options.kind == "parallel"))
    if options.kind == "prompted":
        prompts = DecodedPrompts()
        names = box_inputs(inputs)
        for layer in adapted_layers(decoder):
            _attach(layer, PromptedAdapter(layer, options, prompts, NUMBERS_OF_A_BOX * len(names)))
        decoder.register_forward_pre_hook(NotePrompts(prompts, names, spec.canvas), with_kwargs=True)
        decoder.register_forward_hook(ForgetPrompts(prompts))


def adapted_layers(part: nn.Module) -> list[Layer]:
    """Give the layers that get an adapter: linear ones, and convolutions over all channels that keep the grid.

    Those that the network keeps still by itself, as no prompt reaches them, get none.
    A convolution keeps the grid, but for its stride, when its kernel is odd and padded by half of it; the strided 1x1
    convolution of a parallel adapter then meets the same cells.
    """
    layers = [each for each in part.modules() if isinstance(each, nn.Conv2d | nn.Linear) and each.weight.requires_grad]
    return [each for each in layers if isinstance(each, nn.Linear) or (each.groups == 1 and _keeps_grid(each))]


def adapter_parameters(network: nn.Module) -> int:
    """Count the parameters of a network's adapters."""
    return sum(value.numel() for each in network.modules() if isinstance(each, Adapter) for value in each.parameters())


def _attach(layer: Layer, adapter: Adapter) -> None:
    layer.adapter = adapter
    layer.register_forward_hook(AddToOutput(adapter))


def _keeps_grid(layer: nn.Conv2d) -> bool:
    halves = tuple(size // 2 for size in layer.kernel_size)
    is_odd = all(size % 2 for size in layer.kernel_size)
    return is_odd and layer.padding == halves and set(layer.dilation) == {1}
