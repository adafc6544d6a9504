"""A trained network as OpenVINO networks: converted in float32, and quantized to int8."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from graysam.errors import EngineError
from graysam.export.calibration import CalibrationSlice
from graysam.image.preprocessing import prepare_slice
from graysam.models.frames import DecoderInputs
from graysam.models.network import Network

if TYPE_CHECKING:
    from openvino import Model, Node

# Arithmetic on coordinates and statistics: a grid of 256 levels would move boxes by whole cells, and there is no time
# to be won. Convolutions, and the sums that join them, are what is quantized.
FLOAT_OPERATIONS: Final = frozenset(
    [
        "Abs",
        "Clamp",
        "Cos",
        "Divide",
        "Gather",
        "Interpolate",
        "Log",
        "MVN",
        "Maximum",
        "Minimum",
        "Multiply",
        "ReduceMean",
        "Sigmoid",
        "Sin",
        "Sqrt",
        "Subtract",
    ]
)
LARGE_PRODUCTS: Final = ("Convolution", "ConvolutionBackpropData", "MatMul")


def send_nothing() -> None:
    """Keep OpenVINO's converter and NNCF from telling their makers over the network that they are used.

    To be called before either is imported. Both go without where the package that sends is not installed, as it then
    seems. It would also fork this process, with the images that it holds, and kill the child when there is no network.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail


@torch.no_grad()
def convert(network: Network) -> tuple[Model, Model]:
    """Give encoder and decoder as OpenVINO networks in float32.

    The decoder takes as many boxes in one call as it says itself (`Decoder.boxes_at_once`).
    """
    inputs = network.example_inputs()
    canvas = inputs.pop("canvas")
    embedding = network.encode(canvas)
    encoder = _trace(network.encoder.eval(), canvas)
    encoder.reshape({"canvas": list(canvas.shape)})
    decoder = _trace(network.decoder.eval(), {"embedding": embedding, **inputs})
    boxes = network.decoder.boxes_at_once or -1
    shapes = {name: [boxes, *value.shape[1:]] for name, value in inputs.items()}
    decoder.reshape({**shapes, "embedding": list(embedding.shape)})
    for part in (encoder, decoder):
        _simplify(part)
    return encoder, decoder


def _trace(module: nn.Module, example: Tensor | dict[str, Tensor]) -> Model:
    from openvino.tools.ovc import convert_model

    with warnings.catch_warnings():  # tracing is deprecated in favour of torch.export, which costs more operations here
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.jit")
        return convert_model(module, example_input=example)


def _simplify(network: Model) -> None:
    """Fold constants and fuse operations now, so that no start-up has to do it again."""
    from openvino._offline_transformations import apply_moc_transformations

    apply_moc_transformations(network, True)


def quantize(
    encoder: Model, decoder: Model, slices: Sequence[CalibrationSlice], network: Network
) -> tuple[Model, Model]:
    """Give int8 versions of the two networks that `convert` made, with ranges from real slices and prompts.

    The decoder is calibrated with embeddings of the quantized encoder, which are what it will be given.

    Raises:
        EngineError: nncf is not installed.
    """
    try:
        import nncf
    except ImportError as cause:
        raise EngineError("int8 export needs nncf: pip install nncf.") from cause
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    prepared = [prepare_slice(each.image, network.spec) for each in slices]
    small_encoder = nncf.quantize(
        encoder,
        nncf.Dataset([{"canvas": each.canvas[None]} for each in prepared]),
        subset_size=len(slices),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=float_encoder_nodes(encoder, network)),
    )
    compiled = openvino.Core().compile_model(small_encoder, "CPU")
    inputs: list[DecoderInputs] = []
    for each, given in zip(prepared, slices, strict=True):
        embedding = np.array(compiled({"canvas": each.canvas[None]})[0])
        inputs.append({"embedding": embedding, **network.frame(each, [given.prompt]).inputs()})
    small_decoder = nncf.quantize(
        decoder,
        nncf.Dataset(inputs),
        subset_size=len(slices),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=float_nodes(decoder, network.decoder.float_parts)),
    )
    return small_encoder, small_decoder


def float_encoder_nodes(encoder: Model, network: Network) -> list[str]:
    """Name the operations of an encoder that stay in float, as the encoder itself says (`Encoder.stays_float`)."""

    def stays(node: Node) -> bool:
        shape = node.output(0).get_partial_shape()
        return shape.is_static and network.encoder.stays_float(
            node.get_type_name(), list(shape.to_shape()), network.spec
        )

    return [node.get_friendly_name() for node in encoder.get_ordered_ops() if node.get_output_size() and stays(node)]


def float_nodes(network: Model, float_parts: Sequence[str]) -> list[str]:
    """Name the operations of a decoder that stay in float.

    They are those of FLOAT_OPERATIONS; products that no convolution feeds, which are the hat functions of the box-frame
    decoder and SAM's code of positions; the parts that the decoder names; and what follows the last product. There
    logits are added to ellipses that span a hundred: one of 256 levels is as wide as what decides on which side of a
    contour a pixel lies.
    """
    fed: set[str] = set()
    names = []
    finishing = _after_all_products(network, float_parts)
    for node in network.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        is_source = kind == "Convolution" or (kind == "Parameter" and name == "embedding")
        if is_source or any(each.get_friendly_name() in fed for each in _sources(node)):
            fed.add(name)
        is_on_coordinates = kind in FLOAT_OPERATIONS or (kind in ("MatMul", "Add") and name not in fed)
        is_of_part = _is_within(name, float_parts) and kind != "Constant"
        if is_on_coordinates or is_of_part or (kind == "Add" and name in finishing):
            names.append(name)
    return names


def _after_all_products(network: Model, float_parts: Sequence[str]) -> set[str]:
    """Name the operations whose results reach no product of a large layer any more."""
    leading: set[str] = set()
    for node in reversed(network.get_ordered_ops()):
        name, kind = node.get_friendly_name(), node.get_type_name()
        if name in leading or (kind in LARGE_PRODUCTS and not _is_within(name, float_parts)):
            leading.update(source.get_friendly_name() for source in _sources(node))
    return {node.get_friendly_name() for node in network.get_ordered_ops()} - leading


def _is_within(name: str, parts: Sequence[str]) -> bool:
    """Tell whether an operation belongs to one of some submodules; all its operations have its name in theirs."""
    return any(part in name for part in parts)


def _sources(node: Node) -> list[Node]:
    return [node.input_value(index).get_node() for index in range(node.get_input_size())]
