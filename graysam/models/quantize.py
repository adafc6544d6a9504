"""The paper's quantization: int8 weights in every linear layer, activations quantized as they come.

It reaches the 47 linear layers of SAM's mask decoder and none of the EfficientViT encoder, which has no
linear layer (benchmarks measure what that is worth); the quantized encoders of this project are OpenVINO's.
"""

from __future__ import annotations

import copy
import warnings
from typing import TypeVar

import torch
from torch import nn

from graysam.errors import EngineError

Module = TypeVar("Module", bound=nn.Module)


def quantize_dynamic(model: Module) -> Module:
    """Give an int8 copy of a model, for prediction on the CPU; the model itself is unchanged.

    Raises:
        EngineError: this build of PyTorch cannot quantize.
    """
    try:
        from torch.ao.quantization import quantize_dynamic as convert
    except ImportError as cause:
        raise EngineError(
            f"PyTorch {torch.__version__} has no torch.ao.quantization; use fp32 or engine openvino."
        ) from cause
    if torch.backends.quantized.engine == "none":
        raise EngineError(f"PyTorch {torch.__version__} has no int8 backend on this CPU; use precision fp32.")
    # Deprecated in favour of torchao, a further dependency; still there and exact in the pinned version.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.ao\.")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r"torch\.ao\.")
        warnings.filterwarnings("ignore", category=UserWarning, message=r"torch\.quantize_per")
        quantized: Module = convert(  # type: ignore[no-untyped-call]
            copy.deepcopy(model).eval(), {nn.Linear}, dtype=torch.qint8
        )
    return quantized


def count_quantized_layers(model: nn.Module) -> int:
    """Tell how many linear layers of a model are int8."""
    return sum(isinstance(module, torch.ao.nn.quantized.dynamic.Linear) for module in model.modules())
