"""Make the files that prediction loads: `python -m graysam.export --checkpoint runs/x/best.pt --out weights/graysam`.

From a checkpoint come, in the output folder,

    model.pt                     the weights (float16 kernels) and the spec, for the torch engine
    spec.json                    the spec, for engines that read no checkpoint
    openvino/encoder, decoder    OpenVINO networks (.xml, .bin), weights stored as float16
    openvino-int8/...            the same, quantized: made with --calibration only
    calibration.json             which slices and boxes the quantization looked at
    checksums.sha256             of all of these, as `sha256sum -c` reads them

The same checkpoint, calibration and versions give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from graysam.boxes import Box, VolumeBox, box_around
from graysam.engines.select import OPENVINO_FOLDERS, SPEC_FILE, TORCH_FILE
from graysam.errors import EngineError, GraySamError
from graysam.formats.npz import find_cases, read_case
from graysam.image.channels import stack_neighbours
from graysam.image.preprocessing import prepare_slice
from graysam.inference.baselines import BaselineSegmenter
from graysam.inference.volumes import walk_from_middle
from graysam.models.checkpoint import load_model, save_checkpoint
from graysam.models.frames import DecoderInputs, Neighbour, frame_prompts
from graysam.models.spec import SPECS, ModelSpec
from graysam.noisy_boxes import LARGEST_SHIFT_PX, reference_pixel, shifted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from openvino import Model, Node

    from graysam.store import PackedStore, StoreEntry

logger = logging.getLogger(__name__)

CALIBRATION_SLICES: Final = 300
CALIBRATION_FILE: Final = "calibration.json"
CHECKSUM_FILE: Final = "checksums.sha256"
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
GATE: Final = "ellipse_gate"  # in the names of all operations of `box_decoder.EllipseGate`


@dataclass(frozen=True)
class CalibrationSlice:
    """One slice and a box in it that quantization looks at.

    Attributes:
        name: where it comes from.
        image: (H, W) or (H, W, 3), as `prepare_slice` takes it.
        box: in original pixels.
        neighbour: of a volume, the slice beside with the object there; shown to models with memory.
    """

    name: str
    image: NDArray[np.generic]
    box: Box
    neighbour: Neighbour | None = None


# --- calibration ------------------------------------------------------------------------------------------------------


def calibration_slices(source: Path, spec: ModelSpec, count: int) -> list[CalibrationSlice]:
    """Draw slices from a packed store (its training split, modalities in turn) or a folder of cases (in turn).

    The draw is a pure function of the source and the count.

    Raises:
        EngineError: no slice with a box in it.
        CaseError, StoreError: the source cannot be read.
    """
    drawn = _from_cases(source, spec, count) if source.is_dir() else _from_store(source, count)
    if not drawn:
        raise EngineError(f"calibration {source}: holds no slice with a box; int8 needs real cases.")
    return drawn


def _from_store(path: Path, count: int) -> list[CalibrationSlice]:
    """Draw one object of `count` slices; boxes are tight, or up to 5 canvas pixels off on each side, in turn."""
    from graysam.store import open_store

    store = open_store(path)
    rng = np.random.default_rng(0)
    queues: dict[str, list[StoreEntry]] = {}
    by_place = {(entry.dataset, entry.case, entry.z): entry for entry in store.entries if entry.z >= 0}
    for number in rng.permutation(len(store.entries)):
        entry = store.entries[number]
        if entry.split == "train" and entry.objects:
            queues.setdefault(entry.modality, []).append(entry)
    drawn: list[CalibrationSlice] = []
    while len(drawn) < count and any(queues.values()):
        for modality in sorted(queues):
            if not queues[modality] or len(drawn) >= count:
                continue
            entry = queues[modality].pop()
            masks = store.masks(entry)
            mask = masks[int(rng.integers(len(masks)))]
            box = box_around(mask)
            if box is None:
                continue
            beside = by_place.get((entry.dataset, entry.case, entry.z + 1))
            neighbour = None if beside is None else _neighbour(store, beside, mask)
            largest_px = len(drawn) % 2 * LARGEST_SHIFT_PX * reference_pixel(entry.size_hw)
            box = _off_both_ways(box, largest_px, entry.size_hw, rng)
            drawn.append(CalibrationSlice(f"{entry.case}/z{entry.z}", store.image(entry), box, neighbour))
    return drawn


def _neighbour(store: PackedStore, entry: StoreEntry, mask: NDArray[np.bool_]) -> Neighbour | None:
    """Give the slice beside with the object there that a mask overlaps most; None where it overlaps none."""
    if entry.size_hw != mask.shape:
        return None
    most = max(store.masks(entry), key=lambda each: int((each & mask).sum()))
    return Neighbour(store.image(entry), most) if (most & mask).any() else None


def _off_both_ways(box: Box, largest_px: float, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    """Shift each side by up to `largest_px`, within the slice and without turning the box inside out."""
    moved = shifted(box, rng.uniform(-1, 1, 4).astype(np.float32) * np.float32(largest_px), size_hw)
    return moved if moved.x_max > moved.x_min and moved.y_max > moved.y_min else box


def _from_cases(folder: Path, spec: ModelSpec, count: int) -> list[CalibrationSlice]:
    """Draw boxes of the cases in turn; in a volume also slices off the middle, with the box a little enlarged."""
    per_case: list[list[CalibrationSlice]] = []
    for path in find_cases(folder):
        case = read_case(path)
        slices = []
        for box in case.boxes:
            if isinstance(box, Box):
                slices.append(CalibrationSlice(case.name, case.image, box))
                continue
            slices += _of_volume(case.name, case.image, box, spec)
        per_case.append(slices)
    drawn: list[CalibrationSlice] = []
    while len(drawn) < count and any(per_case):
        drawn += [slices.pop(0) for slices in per_case if slices]
    return drawn[:count]


def _of_volume(name: str, volume: NDArray[np.generic], box: VolumeBox, spec: ModelSpec) -> list[CalibrationSlice]:
    """Give the middle slice of an object and those half way to its ends."""
    middle = next(walk_from_middle(box.z_min, box.z_max))[0]
    chosen = {middle, (box.z_min + middle) // 2, (box.z_max + middle + 1) // 2}
    slices = []
    for z in sorted(chosen, key=lambda z: (abs(z - middle), z)):
        image = stack_neighbours(volume, z) if spec.channels == "adjacent" else volume[z]
        if z == middle:
            slices.append(CalibrationSlice(name=f"{name}/z{z}", image=image, box=box.box))
            continue
        box_there = box.cross_section(z).within((volume.shape[1], volume.shape[2]))
        beside = volume[z - 1 if z > middle else z + 1]
        # No mask is at hand to be shown: the ellipse stands in for it.
        known = Neighbour(beside, BaselineSegmenter("ellipse").segment_image(beside, [box_there]) > 0)
        slices.append(CalibrationSlice(f"{name}/z{z}", image, box_there, known))
    return slices


# --- networks ---------------------------------------------------------------------------------------------------------


class _Encoder(nn.Module):
    """The first half of a model, under the name that the exported network's input gets."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, canvas: Tensor) -> Tensor:
        """Embed (1, 3, S, S)."""
        return self.model.encode(canvas)  # type: ignore[operator, no-any-return]


class _CanvasDecoder(nn.Module):
    """The second half of a SAM model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embedding: Tensor, boxes_canvas: Tensor) -> tuple[Tensor, Tensor]:
        """Segment boxes; see `SamSegmenter.decode`."""
        return self.model.decode(embedding, boxes_canvas=boxes_canvas)  # type: ignore[operator, no-any-return]


@torch.no_grad()
def convert(model: nn.Module, spec: ModelSpec) -> tuple[Model, Model]:
    """Give encoder and decoder as OpenVINO networks in float32.

    A box-frame decoder takes one box: its work per box is the same in any batch, the smaller arrays stay in the CPU's
    cache, and only one shape has to be compiled. Fastest of 20 runs on two Zen 5 cores, per box: 1.7 ms for one and 2.9
    for eight in int8, 3.5 and 4.0 in bf16, 6.4 and 13 in fp32. SAM's decoder takes any number,
    because boxes share the first layer's work on the image.
    """
    canvas = torch.zeros(1, 3, spec.canvas, spec.canvas)
    embedding = model.encode(canvas)  # type: ignore[operator]
    encoder = _trace(_Encoder(model).eval(), canvas)
    encoder.reshape({"canvas": list(canvas.shape)})
    # Two boxes in the example: with one, tracing could take the batch for a constant.
    if spec.decoder == "box_frame":
        inputs = {
            "embedding": embedding,
            "detail": torch.rand(2, 3, spec.view_size, spec.view_size),
            "box_in_view": torch.tensor([[0.2, 0.2, 0.8, 0.8]]).repeat(2, 1),
            "view_in_canvas": torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(2, 1),
        }
        if spec.memory:
            inputs["memory"] = torch.rand(2, 2, spec.view_size, spec.view_size)
        decoder_module = cast(nn.Module, model.decoder).eval()  # its inputs have the names that the export wants
        batch = 1
    else:
        inputs = {"embedding": embedding, "boxes_canvas": torch.tensor([[8.0, 8.0, 99.0, 99.0]]).repeat(2, 1)}
        decoder_module = _CanvasDecoder(model).eval()
        batch = -1
    decoder = _trace(decoder_module, inputs)
    shapes = {name: [batch, *value.shape[1:]] for name, value in inputs.items()}
    decoder.reshape({**shapes, "embedding": list(embedding.shape)})
    for network in (encoder, decoder):
        _simplify(network)
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
    encoder: Model, decoder: Model, slices: Sequence[CalibrationSlice], spec: ModelSpec
) -> tuple[Model, Model]:
    """Give int8 versions of both networks, with ranges from real slices and boxes.

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
    prepared = [prepare_slice(each.image, spec) for each in slices]
    small_encoder = nncf.quantize(
        encoder,
        nncf.Dataset([{"canvas": each.canvas[None]} for each in prepared]),
        subset_size=len(slices),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
    )
    compiled = openvino.Core().compile_model(small_encoder, "CPU")
    inputs: list[DecoderInputs] = []
    for each, given in zip(prepared, slices, strict=True):
        embedding = np.array(compiled({"canvas": each.canvas[None]})[0])
        frame = frame_prompts(each, [given.box], spec, [given.neighbour])
        inputs.append({"embedding": embedding, **frame.inputs()})
    small_decoder = nncf.quantize(
        decoder,
        nncf.Dataset(inputs),
        subset_size=len(slices),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=float_nodes(decoder)),
    )
    return small_encoder, small_decoder


def float_nodes(network: Model) -> list[str]:
    """Name the operations that stay in float.

    They are those of FLOAT_OPERATIONS; products that no convolution feeds, which are the hat functions of the box-frame
    decoder and SAM's code of positions; the ellipse gate; and what follows the last product. There logits are added to
    ellipses that span a hundred: one of 256 levels is as wide as what decides on which side of a contour a pixel lies.
    """
    fed: set[str] = set()
    names = []
    finishing = _after_all_products(network)
    for node in network.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        is_source = kind == "Convolution" or (kind == "Parameter" and name == "embedding")
        if is_source or any(each.get_friendly_name() in fed for each in _sources(node)):
            fed.add(name)
        is_on_coordinates = kind in FLOAT_OPERATIONS or (kind in ("MatMul", "Add") and name not in fed)
        is_of_gate = GATE in name and kind != "Constant"
        if is_on_coordinates or is_of_gate or (kind == "Add" and name in finishing):
            names.append(name)
    return names


def _after_all_products(network: Model) -> set[str]:
    """Name the operations whose results reach no product of a large layer any more."""
    leading: set[str] = set()
    for node in reversed(network.get_ordered_ops()):
        name, kind = node.get_friendly_name(), node.get_type_name()
        if name in leading or (kind in LARGE_PRODUCTS and GATE not in name):
            leading.update(source.get_friendly_name() for source in _sources(node))
    return {node.get_friendly_name() for node in network.get_ordered_ops()} - leading


def _sources(node: Node) -> list[Node]:
    return [node.input_value(index).get_node() for index in range(node.get_input_size())]


# --- files ------------------------------------------------------------------------------------------------------------


def export(
    checkpoint: Path,
    out: Path,
    *,
    calibration: Path | None = None,
    count: int = CALIBRATION_SLICES,
    spec: ModelSpec | None = None,
) -> None:
    """Write all files of a model; int8 ones only with a source of calibration slices.

    Args:
        checkpoint: a file that `train.run` or `save_checkpoint` made, with its spec; or one of others' making.
        out: the folder, made if missing; files of an earlier export are replaced.
        spec: what the checkpoint is, needed where it does not say so itself.
        calibration: a packed store or a folder of cases.
        count: how many slices to calibrate with.

    Raises:
        GraySamError: something cannot be read, or openvino or nncf is not installed.
    """
    try:
        import openvino
    except ImportError as cause:
        raise EngineError("export needs openvino: pip install openvino.") from cause
    model = load_model(checkpoint, spec=spec).requires_grad_(False)
    spec = cast(ModelSpec, model.spec)
    for folder in sorted({"", *OPENVINO_FOLDERS.values()}):
        if calibration is not None or folder != OPENVINO_FOLDERS["int8"]:
            (out / folder).mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / TORCH_FILE, model, spec, half=True)
    # What is exported to OpenVINO are the rounded weights, so that all engines run the same model.
    model = load_model(out / TORCH_FILE).requires_grad_(False)
    (out / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    networks = convert(model, spec)
    for name, network in zip(("encoder", "decoder"), networks, strict=True):
        openvino.save_model(network, out / OPENVINO_FOLDERS["fp32"] / f"{name}.xml", compress_to_fp16=True)
    logger.info("float networks in %s", out / OPENVINO_FOLDERS["fp32"])
    if calibration is not None:
        slices = calibration_slices(calibration, spec, count)
        for name, network in zip(("encoder", "decoder"), quantize(*networks, slices, spec), strict=True):
            openvino.save_model(network, out / OPENVINO_FOLDERS["int8"] / f"{name}.xml", compress_to_fp16=True)
        record = {"source": calibration.name, "count": len(slices), "slices": [each.name for each in slices]}
        (out / CALIBRATION_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        logger.info("int8 networks in %s, from %d slices", out / OPENVINO_FOLDERS["int8"], len(slices))
    write_checksums(out)


def write_checksums(folder: Path) -> None:
    """Write checksums.sha256 over the files of an exported folder, in order of name."""
    names = sorted([TORCH_FILE, SPEC_FILE, CALIBRATION_FILE])
    paths = [folder / name for name in names if (folder / name).is_file()]
    for sub_folder in sorted(set(OPENVINO_FOLDERS.values())):
        paths += sorted((folder / sub_folder).glob("*coder.*"))
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in paths
    ]
    (folder / CHECKSUM_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Export a checkpoint, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m graysam.export", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="trained weights with their spec"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the exported files")
    parser.add_argument(
        "--spec",
        choices=sorted(SPECS),
        help="what a checkpoint is that does not say so itself: l0 for the official EfficientViT-SAM-L0's",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="packed store or folder of cases; makes the int8 files"
    )
    parser.add_argument(
        "--calibration-slices", type=int, default=CALIBRATION_SLICES, metavar="N", help="default: %(default)s"
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        export(
            options.checkpoint,
            options.out,
            calibration=options.calibration,
            count=options.calibration_slices,
            spec=SPECS[options.spec] if options.spec else None,
        )
    except GraySamError as error:
        logger.error("error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
