"""Makes the label maps whose scores by the challenge's own script are recorded in official_scores.json.

Everything comes from one seeded generator. A checksum beside each recorded number shows whether these are
still the arrays that were scored.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SEED = 20240514


@dataclass(frozen=True)
class Pair:
    """A reference and a prediction; spacing as a challenge file stores it (x, y, z), None in 2D."""

    name: str
    reference: np.ndarray
    prediction: np.ndarray
    spacing: np.ndarray | None

    @property
    def checksum(self) -> str:
        digest = hashlib.sha256()
        for array in (self.reference, self.prediction, self.spacing):
            if array is not None:
                digest.update(f"{array.shape}{array.dtype.name}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def make_pairs() -> list[Pair]:
    """Give 234 pairs, 117 in 2D and 117 in 3D."""
    rng = np.random.default_rng(SEED)
    return [*_pairs_of(rng, "2D", _flat_shape), *_pairs_of(rng, "3D", _deep_shape)]


def _flat_shape(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(size) for size in rng.integers(20, 90, 2))


def _deep_shape(rng: np.random.Generator) -> tuple[int, ...]:
    return int(rng.integers(3, 14)), *(int(size) for size in rng.integers(14, 40, 2))


def _pairs_of(
    rng: np.random.Generator, kind: str, shape_of: Callable[[np.random.Generator], tuple[int, ...]]
) -> Iterator[Pair]:
    recipes = {
        "close": (40, _close),
        "poor": (12, _poor),
        "noise": (12, _noise),
        "border": (8, _border),
        "empty-prediction": (5, _empty_prediction),
        "empty-reference": (5, _empty_reference),
        "both-empty": (3, _both_empty),
        "gap": (6, _gap),
        "gap-predicted": (6, _gap_predicted),
        "extra-label": (6, _extra_label),
        "specks": (6, _specks),
        "identical": (4, _identical),
        "label-255-only": (2, _label_255_only),
        "labels-1-to-255": (2, _labels_1_to_255),
    }
    for recipe, (count, make) in recipes.items():
        for number in range(count):
            dtype = np.uint16 if number % 3 == 2 and "255" not in recipe else np.uint8
            reference, prediction = make(rng, shape_of(rng))
            yield Pair(
                name=f"{kind}Box_{recipe}_{number:02d}.npz",
                reference=reference.astype(dtype),
                prediction=prediction.astype(np.uint16 if number % 2 else np.uint8),
                spacing=_spacing(rng, number) if kind == "3D" else None,
            )


def _spacing(rng: np.random.Generator, number: int) -> np.ndarray:
    common = [(1, 1, 1), (0.8, 0.8, 5), (0.4, 0.4, 2), (1.5, 1.5, 1), (0.2, 0.2, 0.2)]
    if number % 2 == 0:
        return np.array(common[number // 2 % len(common)], np.float64)
    drawn = np.round(rng.uniform(0.3, 4.0, 3), 3)
    return drawn.astype(np.float32) if number % 4 == 1 else drawn


def _ellipsoid(shape: tuple[int, ...], centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    grids = np.ogrid[tuple(slice(0, size) for size in shape)]
    total = sum(((grid - c) / r) ** 2 for grid, c, r in zip(grids, centre, radii, strict=True))
    return np.asarray(total) <= 1.0


def _blob(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Give a centre and radii whose ellipsoid is not empty and mostly inside."""
    sizes = np.array(shape, float)
    return rng.uniform(0.25, 0.75, len(shape)) * sizes, rng.uniform(0.12, 0.35, len(shape)) * sizes + 1.0


def _close(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One to five labels, predicted a little off and with some wrong voxels."""
    reference, prediction = np.zeros(shape, int), np.zeros(shape, int)
    for label in range(1, int(rng.integers(1, 6)) + 1):
        centre, radii = _blob(rng, shape)
        reference[_ellipsoid(shape, centre, radii)] = label
        moved = centre + rng.normal(0, 1.0, len(shape))
        prediction[_ellipsoid(shape, moved, radii * rng.uniform(0.85, 1.2, len(shape)))] = label
    largest = int(reference.max())
    if rng.random() < 0.5:
        wrong = rng.random(shape) < 0.02
        prediction[wrong] = rng.integers(0, largest + 1, int(wrong.sum()))
    for label in range(1, largest + 1):  # an object hidden by later ones would be a gap, which has its own recipe
        if not (reference == label).any():
            reference.flat[label] = label
    return reference, prediction


def _poor(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps that lie around the DSC of 0.2, below which NSD is not computed."""
    reference = _ellipsoid(shape, *_blob(rng, shape)).astype(int)
    extent = int(reference.any(axis=tuple(range(1, len(shape)))).sum())
    return reference, np.roll(reference, int(extent * rng.uniform(0.6, 0.95)), axis=0)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random voxels of two labels: every neighbourhood occurs."""
    reference = rng.integers(0, 3, shape)
    keep = rng.random(shape) < 0.9
    return reference, np.where(keep, reference, rng.integers(0, 3, shape))


def _border(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Objects cut by the image's border, up to the whole image."""
    reference, prediction = np.zeros(shape, int), np.zeros(shape, int)
    reference[tuple(slice(0, int(size * rng.uniform(0.3, 1.2))) for size in shape)] = 1
    prediction[tuple(slice(0, int(size * rng.uniform(0.3, 1.2))) for size in shape)] = 1
    return reference, prediction


def _empty_prediction(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    reference, _ = _close(rng, shape)
    return reference, np.zeros(shape, int)


def _empty_reference(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return _empty_prediction(rng, shape)[::-1]


def _both_empty(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(shape, int), np.zeros(shape, int)


def _gap(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1 and 3, and nobody has a 2."""
    reference, prediction = _close(rng, shape)
    renumber = np.array([0, 1, 3, 4, 5, 6])
    return np.where(reference == 2, 3, renumber[reference]), renumber[prediction]


def _gap_predicted(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1 and 3; the prediction has a 2 as well."""
    reference, prediction = _gap(rng, shape)
    reference.flat[-1] = 3
    prediction.flat[rng.integers(0, prediction.size, 5)] = 2
    return reference, prediction


def _extra_label(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The prediction has a label above the reference's largest."""
    reference, prediction = _close(rng, shape)
    prediction.flat[rng.integers(0, prediction.size, 9)] = 9
    return reference, prediction


def _specks(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Single voxels, some of them at exactly 2 voxels' distance."""
    reference, prediction = np.zeros(shape, int), np.zeros(shape, int)
    for _ in range(4):
        place = tuple(int(rng.integers(0, size - 2)) for size in shape)
        reference[place] = 1
        prediction[tuple(p + 2 * int(rng.random() < 0.4) for p in place)] = 1
    prediction[tuple(int(place) for place in np.argwhere(reference)[0])] = 1
    return reference, prediction


def _identical(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    reference, _ = _close(rng, shape)
    return reference, reference.copy()


def _label_255_only(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A mask saved as 0 and 255: 254 labels that nobody has."""
    reference, prediction = _close(rng, shape)
    return (reference > 0) * 255, (prediction > 0) * 255


def _labels_1_to_255(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """All labels that uint8 holds, 3 x 3 pixels each, predicted with noise."""
    side = 48
    label_of_block = np.zeros((side // 3, side // 3), int)
    label_of_block.flat[1:256] = np.arange(1, 256)
    reference = np.kron(label_of_block, np.ones((3, 3), int))
    if len(shape) == 3:
        reference = np.stack([reference] * 3)
    noisy = rng.random(reference.shape) < 0.15
    return reference, np.where(noisy, 0, reference)
