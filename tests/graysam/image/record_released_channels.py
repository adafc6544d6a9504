"""Record what the released code makes of small images, for test_channels.py; needs a checkout of that code.

    python tests/graysam/image/record_released_channels.py --graysanatomy DIR

DIR: Ninebell/GraysAnatomySAM at a8f6ddc.  Writes data/released_channels.npz: per image its input and its output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def drawn_images() -> dict[str, np.ndarray]:
    """Draw the inputs, each (H, W, 3): where the released code has an oddity, there is one that shows it."""
    random = np.random.default_rng(20240601)
    y, x = np.mgrid[0:24, 0:20]
    ramp = (7 * x + 4 * y) % 256
    step = np.where(x < 10, 0, 255)
    white_top_row = np.where(y == 0, 255, 0)
    ct = random.integers(-1000, 1500, (16, 18))
    gray = {
        "ramp": ramp.astype(np.uint8),
        "step": step.astype(np.uint8),
        "white_top_row": white_top_row.astype(np.uint8),
        "low_contrast": (100 + ramp % 23).astype(np.uint8),
        "noise": random.integers(0, 256, (33, 17)).astype(np.uint8),
        "wide_range": (ct + 1000).astype(np.uint16),
        "float": random.random((15, 21)).astype(np.float32),
        "one_row": random.integers(0, 256, (1, 30)).astype(np.uint8),
    }
    images = {name: np.repeat(image[..., None], 3, axis=2) for name, image in gray.items()}
    images["colour_noise"] = random.integers(0, 256, (19, 23, 3)).astype(np.uint8)
    images["colour_ramp"] = np.stack([ramp, ramp[::-1], (ramp * 3) % 256], axis=-1).astype(np.uint8)
    return images


def main(argv: Sequence[str] | None = None) -> int:
    """Run the released code on every image and store both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graysanatomy", type=Path, required=True)
    options = parser.parse_args(argv)
    sys.path.insert(0, str(options.graysanatomy))
    from module.preprocess import preprocess

    stored = {}
    for name, image in drawn_images().items():
        stored[f"{name}.input"] = image
        stored[f"{name}.output"] = preprocess(image)
    np.savez_compressed(Path(__file__).parent / "data" / "released_channels.npz", **stored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
