"""What a person does on the page of `graysam view`, against the real server and an engine worked out by hand."""

import numpy as np
import pytest

pytest.importorskip("starlette")
from bright_engine import BrightEngine
from live_view import mask_of, running

from graysam.api import Segmenter
from graysam.boxes import Box
from graysam.formats.npz import read_labels, write_case


def drawn_image():
    """A dark slice of 20 x 30 with bright blocks of 6 x 8 at (4, 5) (x, y) and of 5 x 6 at (18, 10)."""
    image = np.full((20, 30), 10, np.uint8)
    image[5:11, 4:12] = 200
    image[10:15, 18:24] = 200
    return image


@pytest.fixture
def page(tmp_path):
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "blocks.npz", image=drawn_image(), boxes=())
    with running(tmp_path / "in", tmp_path / "out", BrightEngine()) as page:
        yield page


def test_a_box_is_answered_as_the_python_api_answers_it_and_saved_as_predict_would(page):
    case = page.open("blocks")
    assert (case["kind"], case["shape"], case["result"]) == ("2D", [1, 20, 30], "blocks.npz")
    assert np.array_equal(page.pixels("api/slice?plane=axial&index=0"), drawn_image())
    with page.live() as live:
        one = live.ask("add_object", "object", name="left", colour="#ff0000")["object"]["id"]
        mask = live.ask("box", "mask", object=one, slice=0, box=[3, 4, 12, 11], is_final=True)
        assert np.array_equal(mask_of(mask["runs"], (20, 30))[5:11, 4:12], np.ones((6, 8), bool))
        two = live.ask("add_object", "object", name="", colour="")["object"]
        assert two["name"] == "object 2"
        live.ask("box", "mask", object=two["id"], slice=0, box=[18, 10, 23, 14], is_final=True)
        wanted = Segmenter(BrightEngine()).segment_image(drawn_image(), [Box(3, 4, 12, 11), Box(18, 10, 23, 14)])
        assert np.array_equal(page.pixels("api/labels?plane=axial&index=0"), wanted)
        assert live.ask("save", "saved")["files"] == ["blocks.npz", "boxes.csv"]
    assert np.array_equal(read_labels(page.out / "blocks.npz", "segs"), wanted)
