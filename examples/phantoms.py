"""Draw test cases with known truth: one or more for each of the challenge's eleven modalities, 2D and 3D.

    python examples/phantoms.py -o demo

makes demo/inputs (what predict.py takes: image and boxes) and demo/gts (what evaluation takes: reference
labels), so that a demonstration needs no download. The pictures are caricatures: they show whether the
machinery works, not how good a model is on patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if __package__ in (None, ""):  # run as a script: the package lies beside this folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graysam.boxes import Box, VolumeBox, box_around
from graysam.formats.npz import write_case, write_reference

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Phantom:
    """A drawn case.

    Attributes:
        name: file name without .npz, with the challenge's prefix and modality.
        image: (H, W), (H, W, 3) or (D, H, W) uint8.
        labels: (H, W) or (D, H, W) uint8, objects 1 to N without a gap, 0 elsewhere.
        spacing_mm: z, y, x in 3D, None in 2D.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Write the phantoms, and give the exit status."""
    parser = argparse.ArgumentParser(description="Draw cases with known truth: DIR/inputs and DIR/gts.")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    parser.add_argument("--seed", type=int, default=0, help="other numbers draw other pictures (default: 0)")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="cases of each modality (default: 1)")
    options = parser.parse_args(argv)
    phantoms = make_phantoms(seed=options.seed, count=options.count)
    write_phantoms(options.output, phantoms)
    print(f"{len(phantoms)} cases in {options.output / 'inputs'}, their truth in {options.output / 'gts'}")
    return 0


def make_phantoms(*, seed: int = 0, count: int = 1) -> list[Phantom]:
    """Draw `count` phantoms of each modality; the same seed draws the same, whatever the count."""
    phantoms = []
    for kind, drawers in (("2DBox", _IMAGES), ("3DBox", _VOLUMES)):
        for modality, draw in drawers.items():
            for number in range(count):
                rng = np.random.default_rng([seed, number, *modality.encode()])
                image, labels = draw(rng)
                spacing = _SPACING_MM[modality] if kind == "3DBox" else None
                phantoms.append(Phantom(f"{kind}_{modality}_{number + 1:04d}", image, labels, spacing))
    return phantoms


def write_phantoms(folder: Path, phantoms: Sequence[Phantom]) -> None:
    """Write inputs/NAME.npz (image and boxes) and gts/NAME.npz (reference labels), replacing older ones."""
    inputs, references = folder / "inputs", folder / "gts"
    inputs.mkdir(parents=True, exist_ok=True)
    references.mkdir(parents=True, exist_ok=True)
    for phantom in phantoms:
        boxes = boxes_of(phantom.labels)
        write_case(inputs / f"{phantom.name}.npz", image=phantom.image, boxes=boxes, spacing_mm=phantom.spacing_mm)
        write_reference(references / f"{phantom.name}.npz", phantom.labels, spacing_mm=phantom.spacing_mm)


def boxes_of(labels: NDArray[np.uint8]) -> list[Box] | list[VolumeBox]:
    """Give the tight box of each label 1 to N; in 3D that of the middle slice, with first and last slice."""
    numbers = range(1, int(labels.max(initial=0)) + 1)
    if labels.ndim == 2:
        return [box for number in numbers if (box := box_around(labels == number)) is not None]
    boxes = []
    for number in numbers:
        slices = np.flatnonzero((labels == number).any(axis=(1, 2)))
        box = box_around(labels[(slices[0] + slices[-1]) // 2] == number)
        if box is not None:
            boxes.append(VolumeBox(box, int(slices[0]), int(slices[-1])))
    return boxes


# --- tools --------------------------------------------------------------------------------------------------


def _ellipse(
    size_hw: tuple[int, int], centre_yx: Sequence[float], radii_yx: Sequence[float], turn: float = 0.0
) -> Mask:
    """Give (H, W) bool: the ellipse turned by `turn` radians."""
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    dy, dx = y - centre_yx[0], x - centre_yx[1]
    along = (dy * np.cos(turn) + dx * np.sin(turn)) / radii_yx[0]
    across = (dx * np.cos(turn) - dy * np.sin(turn)) / radii_yx[1]
    inside: Mask = along**2 + across**2 <= 1
    return inside


def _blob(rng: Generator, size_hw: tuple[int, int], centre_yx: Sequence[float], radius: float) -> Mask:
    """Give (H, W) bool: a disc whose radius wobbles by a sixth, as lesions' do; one piece, no holes."""
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    dy, dx = y - centre_yx[0], x - centre_yx[1]
    angle = np.arctan2(dy, dx)
    wobble = sum(rng.uniform(-0.08, 0.08) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 6))
    inside: Mask = np.hypot(dy, dx) <= radius * (1 + wobble)
    return inside


def _ellipsoid(shape: tuple[int, int, int], centre: Sequence[float], radii: Sequence[float]) -> Mask:
    """Give (D, H, W) bool."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside: Mask = (
        ((z - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((x - centre[2]) / radii[2]) ** 2
    ) <= 1
    return inside


def _smooth(image: NDArray[np.floating], sigma: float) -> Floats:
    """Blur (H, W) or (H, W, 3) by a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)


def _texture(rng: Generator, size_hw: tuple[int, int], sigma: float) -> Floats:
    """Give (H, W) smooth noise of mean 0 and standard deviation 1."""
    field = _smooth(rng.standard_normal(size_hw), sigma)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def _gray_to_rgb(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Give (H, W, 3): the challenge stores gray images with three equal channels."""
    return np.repeat(_to_uint8(image)[:, :, None], 3, axis=2)


def _painted(colour: Sequence[float], size_hw: tuple[int, int]) -> Floats:
    return np.broadcast_to(np.array(colour, np.float32), (*size_hw, 3)).copy()


# --- images: each gives (H, W, 3) or (H, W) uint8 and (H, W) uint8 labels -----------------------------------

Drawing = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _ultrasound(rng: Generator) -> Drawing:
    """A dark cyst in speckled tissue that fades with depth, in a fan."""
    size = (400, 512)
    cyst = _blob(rng, size, (rng.uniform(170, 230), rng.uniform(200, 310)), rng.uniform(45, 70))
    tissue = 95 + 18 * _texture(rng, size, 12) - 0.1 * np.arange(size[0])[:, None]
    echo = np.where(cyst, 22, tissue) * rng.rayleigh(0.8, size)
    fan = _ellipse(size, (-60, 256), (450, 330))
    return _gray_to_rgb(_smooth(echo * fan, 1.3)), (cyst & fan).astype(np.uint8)


def _x_ray(rng: Generator) -> Drawing:
    """Two dark lungs next to a bright heart, with ribs across; stored as one channel."""
    size = (512, 512)
    lungs = [
        _ellipse(size, (250, 165 + rng.uniform(-8, 8)), (165, 75), 0.12),
        _ellipse(size, (250, 350 + rng.uniform(-8, 8)), (165, 75), -0.12),
    ]
    body = 165 + 60 * _ellipse(size, (320, 280), (90, 75))
    image = np.where(lungs[0] | lungs[1], 75.0, body)
    image += 10 * np.sin(np.arange(size[0]) / 9)[:, None] + 6 * _texture(rng, size, 6)
    labels = np.zeros(size, np.uint8)
    for number, lung in enumerate(lungs, start=1):
        labels[lung] = number
    return _to_uint8(_smooth(image, 2) + rng.normal(0, 3, size)), labels


def _dermoscopy(rng: Generator) -> Drawing:
    """A brown mole with a ragged border on skin, in an image larger than the network's canvas."""
    size = (768, 1024)
    mole = _blob(rng, size, (rng.uniform(340, 430), rng.uniform(450, 570)), rng.uniform(170, 240))
    image = _painted((222, 178, 152), size)
    image[mole] = (112, 70, 52)
    image = _smooth(image, 5) + 9 * _texture(rng, size, 4)[:, :, None]
    return _to_uint8(image), mole.astype(np.uint8)


def _endoscopy(rng: Generator) -> Drawing:
    """A polyp in a pink tube, lit from the middle."""
    size = (480, 560)
    polyp = _blob(rng, size, (rng.uniform(200, 280), rng.uniform(210, 350)), rng.uniform(60, 90))
    image = _painted((178, 82, 70), size) + 12 * _texture(rng, size, 25)[:, :, None]
    image[polyp] = (214, 128, 108)
    y, x = np.ogrid[: size[0], : size[1]]
    light = np.exp(-((y - 240) ** 2 + (x - 280) ** 2) / (2 * 230.0**2))
    image = _smooth(image, 3) * light[:, :, None] + rng.normal(0, 3, (*size, 3))
    return _to_uint8(image), polyp.astype(np.uint8)


def _fundus(rng: Generator) -> Drawing:
    """The optic disc on a retina with vessels, and the cup within it: an object in another's box."""
    size = (512, 512)
    centre = (256 + rng.uniform(-20, 20), 190 + rng.uniform(-20, 20))
    disc, cup = _ellipse(size, centre, (52, 46)), _ellipse(size, centre, (24, 21))
    image = _painted((176, 84, 38), size) + 6 * _texture(rng, size, 30)[:, :, None]
    image[disc] = (236, 178, 104)
    image[cup] = (250, 226, 178)
    for _ in range(6):
        end = (centre[1] + rng.uniform(-30, 300), centre[0] + rng.choice([-1, 1]) * rng.uniform(120, 240))
        cv2.line(image, (round(centre[1]), round(centre[0])), (round(end[0]), round(end[1])), (128, 38, 26), 3)
    image = _smooth(image, 2) * _ellipse(size, (256, 256), (245, 245))[:, :, None]
    labels = disc.astype(np.uint8)
    labels[cup] = 2
    return _to_uint8(image), labels


def _microscopy(rng: Generator) -> Drawing:
    """Three dozen stained nuclei, none touching another."""
    size = (400, 400)
    image, labels = _painted((232, 208, 222), size), np.zeros(size, np.uint8)
    for place in range(36):
        row, column = divmod(place, 6)
        centre = (row * 66 + 35 + rng.uniform(-10, 10), column * 66 + 35 + rng.uniform(-10, 10))
        nucleus = _ellipse(size, centre, (rng.uniform(10, 21), rng.uniform(10, 21)), rng.uniform(0, 3.1))
        labels[nucleus] = place + 1
        image[nucleus] = (104, 62, 138)
    return _to_uint8(_smooth(image, 1.2) + 8 * _texture(rng, size, 2)[:, :, None]), labels


def _oct(rng: Generator) -> Drawing:
    """Two dark pockets of fluid in the bright layers of a retina."""
    size = (384, 512)
    x = np.arange(size[1])
    surface = 130 + 20 * np.cos((x - 256) / 90)
    depth = np.arange(size[0])[:, None] - surface[None, :]
    image = np.where((depth > 0) & (depth < 120), 120 + 45 * np.sin(depth / 9), 18.0)
    labels = np.zeros(size, np.uint8)
    for number, column in enumerate((rng.uniform(130, 190), rng.uniform(310, 380)), start=1):
        centre = (surface[round(column)] + 60, column)
        labels[_ellipse(size, centre, (rng.uniform(18, 28), rng.uniform(35, 55)))] = number
    image[labels > 0] = 20
    return _gray_to_rgb(_smooth(image * rng.gamma(6, 1 / 6, size), 0.9)), labels


def _mammography(rng: Generator) -> Drawing:
    """A dense mass in a breast at the image's left border."""
    size = (640, 480)
    breast = _ellipse(size, (320, 0), (290, 380))
    mass = _blob(rng, size, (rng.uniform(240, 400), rng.uniform(110, 210)), rng.uniform(35, 55))
    image = 70 + 22 * _texture(rng, size, 18) + 12 * _texture(rng, size, 5)
    image = np.where(mass, 185 + 8 * _texture(rng, size, 5), image) * breast
    return _gray_to_rgb(_smooth(image, 2.5)), (mass & breast).astype(np.uint8)


# --- volumes: each gives (D, H, W) uint8 and labels ---------------------------------------------------------


def _ct(rng: Generator) -> Drawing:
    """Liver, two kidneys and a spine in an abdomen, windowed; the spine is bright and no object."""
    shape = (36, 224, 256)
    organs = (
        (150.0, _ellipsoid(shape, (20, 100, 85 + rng.uniform(-5, 5)), (13, 48, 52))),
        (175.0, _ellipsoid(shape, (16, 150, 72), (11, 21, 15))),
        (175.0, _ellipsoid(shape, (14 + rng.uniform(-2, 2), 150, 186), (11, 21, 15))),
    )
    body = _ellipsoid(shape, (18, 112, 128), (200, 92, 118))
    volume = np.where(body, 118.0, 0.0)
    volume[_ellipsoid(shape, (18, 178, 128), (200, 16, 16)) & body] = 245
    labels = np.zeros(shape, np.uint8)
    for number, (brightness, organ) in enumerate(organs, start=1):
        free = organ & (labels == 0)
        volume[free], labels[free] = brightness, number
    return _stacked(rng, volume, sigma=0.8, noise=5), labels


def _mr(rng: Generator) -> Drawing:
    """Two ventricles and a tumour in a head, shaded by the coil; the tumour spans few slices."""
    shape = (28, 192, 160)
    head = _ellipsoid(shape, (14, 96, 80), (30, 84, 66))
    tumour = (14 + rng.uniform(-3, 3), 120 + rng.uniform(-8, 8), 108 + rng.uniform(-5, 5))
    objects = (
        (60.0, _ellipsoid(shape, (14, 88, 66), (8, 26, 9))),
        (60.0, _ellipsoid(shape, (14, 88, 94), (8, 26, 9))),
        (205.0, _ellipsoid(shape, tumour, (3.2, 13, 11))),
    )
    volume, labels = np.where(head, 130.0, 4.0), np.zeros(shape, np.uint8)
    for number, (brightness, part) in enumerate(objects, start=1):
        volume[part], labels[part] = brightness, number
    volume *= np.linspace(0.75, 1.15, shape[2])[None, None, :]
    return _stacked(rng, volume, sigma=0.9, noise=7), labels


def _pet(rng: Generator) -> Drawing:
    """A small hot lesion and a hot heart in blurred, dim surroundings; one voxel is 4 mm."""
    shape = (40, 128, 128)
    centre = (rng.uniform(12, 18), rng.uniform(48, 60), rng.uniform(40, 52))
    lesion = _ellipsoid(shape, centre, (4, 6, 6))
    heart = _ellipsoid(shape, (28, 62, 76), (8, 13, 13))
    volume = np.where(_ellipsoid(shape, (20, 64, 64), (80, 40, 54)), 38.0, 3.0)
    volume[heart], volume[lesion] = 190, 235
    labels = lesion.astype(np.uint8)
    labels[heart] = 2
    return _stacked(rng, volume, sigma=1.6, noise=4), labels


def _stacked(rng: Generator, volume: NDArray[np.float64], *, sigma: float, noise: float) -> NDArray[np.uint8]:
    """Blur and grain each slice of (D, H, W), and round to uint8."""
    return np.stack([_to_uint8(_smooth(plane, sigma) + rng.normal(0, noise, plane.shape)) for plane in volume])


_IMAGES: dict[str, Callable[[Generator], Drawing]] = {
    "US": _ultrasound,
    "X-Ray": _x_ray,
    "Dermoscopy": _dermoscopy,
    "Endoscopy": _endoscopy,
    "Fundus": _fundus,
    "Microscopy": _microscopy,
    "OCT": _oct,
    "Mammography": _mammography,
}
_VOLUMES: dict[str, Callable[[Generator], Drawing]] = {"CT": _ct, "MR": _mr, "PET": _pet}
_SPACING_MM = {"CT": (5.0, 1.4, 1.4), "MR": (4.0, 1.2, 1.2), "PET": (4.0, 4.0, 4.0)}


if __name__ == "__main__":
    sys.exit(main())
