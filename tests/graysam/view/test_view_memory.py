"""Memory on 512 x 512 x 400: the volume, one label map, and what the masks need; no array for each step."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
from bright_engine import BrightEngine

from graysam.api import Segmenter
from graysam.cases import VolumeCase
from graysam.view.document import Document
from graysam.view.editor import Editor
from graysam.view.journal import Journal
from graysam.view.prompting import SLICES_KEPT

SHAPE = (400, 512, 512)
MIB = 1024**2


def resident_bytes():
    """Give the memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_following_a_large_object_twice_with_its_history_stays_within_bounds(tmp_path):
    """An object of 100 x 100 on 400 slices, of which each following keeps a packed copy."""
    volume = np.zeros(SHAPE, np.uint8)
    volume[:, 150:250, 160:260] = 200
    volume += np.random.default_rng(0).integers(0, 40, (1, 512, 512)).astype(np.uint8)
    document = Document(history_bytes=8 * MIB)
    journal = Journal(tmp_path / "large.session", {"case": "large", "fingerprint": "", "shape": SHAPE}, document)
    editor = Editor(Segmenter(BrightEngine()), VolumeCase("large", None, volume, ()), document, journal)
    editor.add_object("large", "")
    editor.set_range(1, 0, 399)
    editor.box(1, 200, (160, 150, 259, 249), "loose", is_final=True)
    editor.labels.whole()
    before = resident_bytes()
    for _ in range(2):
        editor.follow(1, 200)
        while editor.following:
            editor.step()
        editor.labels.whole()
    grown = resident_bytes() - before
    assert (editor.labels.on_slice(250)[190:210, 200:220] == 1).all()
    assert len(document.on_slices(1, "mask")) == 400
    masks = sum(mask.nbytes for mask in document.on_slices(1, "mask").values())
    pixels = int(np.count_nonzero(editor.labels.whole()))
    assert masks < 4 * pixels + 400 * 4096  # kept without loss, in four bytes a pixel at most
    assert document.kept_bytes < 2 * masks + 8 * MIB  # the last step is kept, however large
    # Booleans for the whole volume would take 100 MiB for each following.
    assert grown < 2 * masks + 8 * MIB + SLICES_KEPT * 2 * MIB + 30 * MIB
    journal.close()
    assert (tmp_path / "large.session").stat().st_size < 4 * masks + MIB
