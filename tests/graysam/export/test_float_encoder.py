"""An encoder says which of its operations stay in floats in int8 files; those of the default model say none."""

from dataclasses import replace

import pytest
from tiny_spec import TINY

from graysam.export.networks import convert, float_encoder_nodes
from graysam.models.encoders.conv import ConvEncoder
from graysam.models.encoders.tiny_vit import TinyViTEncoder
from graysam.models.network import build_network
from graysam.models.spec import LITEMEDSAM


@pytest.mark.parametrize(
    ("operation", "shape", "stays"),
    [
        ("GroupConvolution", (1, 160, 64, 64), True),
        ("Convolution", (1, 64, 256, 256), True),  # on every pixel of the canvas
        ("Convolution", (1, 160, 128, 128), False),
        ("MatMul", (1, 4096, 480), False),
    ],
)
def test_depthwise_convolutions_and_those_on_the_whole_canvas_stay_floats_in_litemedsam(operation, shape, stays):
    assert TinyViTEncoder.stays_float(operation, shape, LITEMEDSAM) == stays
    assert not ConvEncoder.stays_float(operation, shape, TINY)


@pytest.mark.slow
def test_they_are_found_by_name_in_the_exported_network():
    network = build_network(replace(LITEMEDSAM, canvas=64)).eval().requires_grad_(False)
    encoder, _ = convert(network)
    names = set(float_encoder_nodes(encoder, network))
    kinds = {node.get_friendly_name(): node.get_type_name() for node in encoder.get_ordered_ops()}
    assert {kinds[name] for name in names} == {"GroupConvolution", "Convolution"}
    assert {name for name, kind in kinds.items() if kind == "GroupConvolution"} <= names
    assert {name for name, kind in kinds.items() if kind == "Convolution"} - names  # the others are quantized
