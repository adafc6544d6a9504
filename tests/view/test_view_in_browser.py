"""`graysam view` as a person has it: the real server and page in headless Chromium, with mouse, keys and what is seen.

The model calls an object what is bright in the box (tests/bright_engine.py), or is tiny and random where clicks count.
What is saved is compared with what the Python API gives for the same boxes and clicks.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from bright_engine import PLAIN_TINY, BrightEngine
from browsers import chromium, network_events, set_width
from driven_page import DrivenPage, brightness
from live_view import running
from source_files import write_dicom
from tiny_spec import TINY

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox
from graysam.formats.npz import read_labels, write_case
from graysam.prompts import USUAL_FIT, Click, Prompt, box_rows

pytestmark = pytest.mark.slow

STARTS_WITHIN = 240  # seconds for the program with torch, on a machine that has much else to do
IMAGE_WH, VOLUME_WH, DEPTH = (64, 48), (48, 40), 14
BLOCKS = (Box(8, 10, 23, 25), Box(36, 14, 55, 37))


def drawn_image():
    """(48, 64): dark and noisy, with bright blocks of 16 x 16 at (8, 10) (x, y) and of 20 x 24 at (36, 14)."""
    image = np.random.default_rng(0).integers(20, 60, (48, 64)).astype(np.uint8)
    for box in BLOCKS:
        image[int(box.y_min) : int(box.y_max) + 1, int(box.x_min) : int(box.x_max) + 1] += 150
    return image


def drawn_volume():
    """(14, 40, 48): dark and noisy, with a bright ball around (24, 20, 7) (x, y, z), of radius 12 and 6 slices up."""
    volume = np.random.default_rng(1).integers(20, 60, (DEPTH, 40, 48)).astype(np.uint8)
    z, y, x = np.ogrid[:DEPTH, :40, :48]
    volume[((z - 7) / 6.5) ** 2 + ((y - 20) / 12.5) ** 2 + ((x - 24) / 12.5) ** 2 <= 1] += 150
    return volume


def write_volumes(folder):
    """The volume as NIfTI, NRRD and MetaImage with a place of its own, and as a DICOM series."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(drawn_volume().astype(np.int16))
    image.SetSpacing((0.8, 0.8, 2.5))
    image.SetOrigin((-12.0, 7.0, 31.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    for name in ("brain_MR.nii.gz", "knee_MR.nrrd", "heart_MR.mha"):
        sitk.WriteImage(image, str(folder / name))
    for z, picture in enumerate(drawn_volume()):
        place = [0, 0, 2.5 * z]
        write_dicom(folder / "chest_MR", z, picture, ImagePositionPatient=place, PixelSpacing=[0.8, 0.8], Modality="MR")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import cv2

    folder = tmp_path_factory.mktemp("cases") / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "cells.png"), drawn_image())
    cv2.imwrite(str(folder / "skin.jpg"), np.repeat(drawn_image()[:, :, None], 3, axis=2))
    write_case(folder / "2DBox_US_1.npz", image=drawn_image(), boxes=())
    write_case(folder / "3DBox_MR_1.npz", image=drawn_volume(), boxes=(), spacing_mm=(2.5, 0.8, 0.8))
    write_volumes(folder)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        set_width(driver, 1440)
        yield driver


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory):
    with running(folder, tmp_path_factory.mktemp("answers") / "out", BrightEngine()) as served:
        yield served


@pytest.fixture
def page(driver, served):
    set_width(driver, 1200, height=700)
    driver.get(served.address)
    page = DrivenPage(driver)
    page.wait("return document.querySelectorAll('#case-list button').length >= 8")
    return page


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny random model that is shown clicks, with a head strong enough that image and clicks change the mask."""
    torch = pytest.importorskip("torch")
    from graysam.models.checkpoint import save_checkpoint
    from graysam.models.network import build_network

    torch.manual_seed(4)
    spec = replace(TINY, memory=True, hints=True)
    model = build_network(spec)
    torch.nn.init.normal_(model.decoder.to_logits.weight, std=0.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.05, 0.3)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_checkpoint(path, model, spec)
    return path


@dataclass
class SlowEngine(BrightEngine):
    """Takes its time for each answer, as a laptop does that has much else to do."""

    seconds: float = 0.15

    def decode(self, embedding, inputs):
        time.sleep(self.seconds)
        return super().decode(embedding, inputs)


def labels_of(served, plane="axial", index=0):
    return served.pixels(f"api/labels?plane={plane}&index={index}")


def save(page, served, name):
    """Press Save, wait for the word of it, and give the path."""
    page.press_button("#save")
    page.wait_text("#notices", name)
    return served.out / name


def api_labels_of_image(boxes, image=None):
    return Segmenter(BrightEngine()).segment_image(drawn_image() if image is None else image, list(boxes))


# --- opening ---


def test_every_format_opens_by_a_click_and_shows_its_own_pixels(page):
    for name in ("2DBox_US_1", "cells", "skin"):
        page.open(name, IMAGE_WH)
        assert brightness(page.colour_at(16, 18)) > brightness(page.colour_at(29, 30)) + 60, name
    for name in ("3DBox_MR_1", "brain_MR", "knee_MR", "heart_MR", "chest_MR"):
        page.open(name, VOLUME_WH)
        assert brightness(page.colour_at(30, 28)) > brightness(page.colour_at(4, 4)) + 60, name
        assert page.text("#slice-text").startswith("Slice 6 of 0 to 13"), name
        shown = page.run("return [...document.querySelectorAll('.plane')].map(e => e.clientWidth > 0)")
        assert shown == [True, True, True]


def test_the_search_finds_a_case_and_enter_opens_it(page):
    page.run("document.querySelector('#search').focus()")
    for letter in "heart":
        page.key(letter)
    page.wait("return document.querySelectorAll('#case-list button').length === 1")
    page.key("Enter")
    page.wait_text("#case-name", "heart_MR")


def test_a_drawn_case_and_a_dropped_file_open_too(page, tmp_path):
    page.open("demo_Microscopy", (400, 400))
    write_case(tmp_path / "dropped.npz", image=drawn_image(), boxes=())
    drop = """
        const bytes = Uint8Array.from(atob(arguments[0]), (each) => each.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], 'dropped.npz'));
        for (const type of ['dragenter', 'drop']) {
          document.dispatchEvent(new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }
    """
    page.run(drop, base64.b64encode((tmp_path / "dropped.npz").read_bytes()).decode())
    page.wait_text("#case-name", "dropped")
    page.wait_text("#case-facts", "64 \u00d7 48")


# --- images ---


def test_a_mask_shows_while_the_box_is_drawn_and_the_saved_map_is_that_of_the_python_api(page, served):
    import cv2

    page.open("cells", IMAGE_WH)
    before = page.colour_at(20, 16)
    page.draw(5, 7, 26, 29, release=False)
    script = "return document.querySelector('#object-list li') !== null"
    page.wait(script)
    deadline = time.monotonic() + 60
    while page.colour_at(20, 16) == before:
        assert time.monotonic() < deadline, "no mask while the button is down"
    assert labels_of(served).max() == 0  # nothing is decided before the button is let go
    page.mouse("mouseReleased", page.css(26, 29))
    page.settled()
    page.draw(33, 12, 58, 40)
    page.settled()
    assert page.objects() == ["object 1", "object 2"]
    boxes = [Box(5, 7, 26, 29), Box(33, 12, 58, 40)]
    wanted = api_labels_of_image(boxes)
    assert np.array_equal(labels_of(served), wanted)
    saved = cv2.imread(str(save(page, served, "cells.png")), cv2.IMREAD_UNCHANGED)
    stored = read_picture_labels(served.out / "cells.png")
    assert saved.shape[:2] == (48, 64)
    assert np.array_equal(stored, wanted)
    assert set(np.unique(wanted)) == {0, 1, 2}


def read_picture_labels(path):
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)


def test_brush_eraser_undo_and_redo_change_the_map_and_change_it_back(page, served):
    page.open("2DBox_US_1", IMAGE_WH)
    page.draw(5, 7, 26, 29)
    page.settled()
    boxed = labels_of(served)
    page.key("p")
    page.drag([page.css(40, 5), page.css(50, 5)])
    page.settled()
    painted = labels_of(served)
    assert painted[5, 45] == 1
    assert painted[5, 30] == 0
    page.key("e")
    page.drag([page.css(45, 5), page.css(45, 5)])
    page.settled()
    erased = labels_of(served)
    assert erased[5, 45] == 0
    assert erased[5, 36] == 1
    for wanted in (painted, boxed):
        page.key("z", ctrl=True)
        wait_for_labels(page, served, wanted)
    page.key("z", ctrl=True, shift=True)
    wait_for_labels(page, served, painted)
    page.run("document.querySelector('#undo').click()")
    wait_for_labels(page, served, boxed)


def wait_for_labels(page, served, wanted, seconds=60):
    deadline = time.monotonic() + seconds
    while not np.array_equal(labels_of(served), wanted):
        assert time.monotonic() < deadline, page.texts()
        time.sleep(0.02)


def test_names_colours_visibility_and_deletion_reach_the_picture_and_the_table(page, served):
    page.open("skin", IMAGE_WH)
    page.draw(5, 7, 26, 29)
    page.settled()
    page.draw(33, 12, 58, 40)
    page.settled()
    with_masks = page.colour_at(16, 18)
    page.press_button("#object-list li:first-child .eye")
    page.wait("return document.querySelector('#object-list .eye').getAttribute('aria-pressed') === 'true'")
    deadline = time.monotonic() + 60
    while page.colour_at(16, 18) == with_masks:
        assert time.monotonic() < deadline, "the mask is still drawn"
    page.run("const e = document.querySelector('#object-list input[type=text]'); e.focus(); e.select()")
    for letter in "mole":
        page.key(letter)
    page.key("Enter")
    page.run(
        "const e = document.querySelectorAll('#object-list input[type=color]')[1]; e.value = '#ff0000'; "
        "e.dispatchEvent(new Event('change'))"
    )
    page.settled()
    assert page.objects()[0] == "mole"
    page.wait("return document.querySelectorAll('#object-list input[type=color]')[1].value === '#ff0000'")
    page.press_button("#object-list li:nth-child(2) .bin")
    page.wait("return document.querySelectorAll('#object-list li').length === 1")
    page.settled()
    save(page, served, "skin.png")
    with (served.out / "boxes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == "skin"]
    assert [row["name"] for row in rows] == ["mole"]


def test_twenty_quick_boxes_leave_no_queue_and_no_two_previews_at_once(page, served, driver):
    page.open("demo_Dermoscopy", (48, 36))  # pointed at on a grid of 10 pixels
    page.settled()
    network_events(driver)
    count = len(page.objects())
    for number in range(20):
        x, y = 2 + 6 * (number % 8), 2 + 12 * (number // 8)  # so far apart that no side of a box is dragged
        page.draw(x, y, x + 3, y + 9, steps=3)
    page.settled()
    assert len(page.objects()) == count + 20
    frames = [e for e in network_events(driver) if e["method"].startswith("Network.webSocketFrame")]
    said = [(e["method"].endswith("Sent"), json.loads(e["params"]["response"]["payloadData"])) for e in frames]
    under_way, most, finals = set(), 0, 0
    for is_sent, message in said:
        if is_sent and message["type"] == "box" and not message["is_final"]:
            under_way.add(message["seq"])
        elif not is_sent and message["type"] == "mask" and message["is_final"] is False:
            under_way.discard(message["seq"])
        if is_sent and message["type"] == "box" and message["is_final"]:
            finals += 1
            under_way.clear()  # the server drops a preview that still waits when its final box comes
        most = max(most, len(under_way))
    assert finals == 20
    assert most == 1


def test_a_box_drawn_while_the_one_before_waits_for_its_mask_is_an_object_of_its_own(driver, folder, tmp_path):
    with running(folder, tmp_path / "out", SlowEngine(seconds=1.0)) as served:
        driver.get(served.address)
        page = DrivenPage(driver)
        page.open("cells", IMAGE_WH)
        page.draw(5, 7, 26, 29, steps=1)
        page.draw(33, 12, 58, 40, steps=1)
        named = "return document.querySelectorAll('#object-list input[type=text]')[1]?.value === 'object 2'"
        page.wait(named)  # the server has made the second object; its mask takes a second more
        page.draw(28, 1, 31, 6, steps=1)
        page.settled()
        assert page.objects() == ["object 1", "object 2", "object 3"]
        save(page, served, "cells.png")
        with (served.out / "boxes.csv").open() as file:
            boxes = [(row["x_min"], row["y_max"]) for row in csv.DictReader(file)]
        assert boxes == [("5", "29"), ("33", "40"), ("28", "6")]


def test_a_right_drag_changes_the_contrast_and_the_wheel_zooms_to_the_pointer(page):
    page.open("cells", IMAGE_WH)
    dark = brightness(page.colour_at(2, 2))
    page.drag([page.css(30, 30), page.css(30, 10)], button="right")
    page.wait("return document.querySelector('#level-text').textContent !== '128'")
    assert brightness(page.colour_at(2, 2)) != dark
    page.run("[...document.querySelectorAll('#presets button')].at(0).click()")
    place = page.css(40, 20)
    page.mouse("mouseWheel", place, deltaX=0, deltaY=-400)
    page.mouse("mouseMoved", place)
    page.wait("return document.querySelector('#readout').textContent.includes('x 40, y 20')")
    page.key("0")


# --- clicks ---


def page_with_a_box(driver, served):
    driver.get(served.address)
    page = DrivenPage(driver)
    page.open("2DBox_US_1", IMAGE_WH)
    page.draw(5, 7, 26, 29)
    page.settled()
    return page


def test_clicks_add_and_remove_as_the_python_api_does_for_the_same_prompts(driver, folder, checkpoint, tmp_path):
    from graysam.engines.torch_engine import TorchEngine

    engine = TorchEngine.load(checkpoint)
    with running(folder, tmp_path / "out", engine) as served:
        page = page_with_a_box(driver, served)
        page.wait("return !document.querySelector('#tool-add').hidden")
        page.key("c")
        for x, y, modifiers in ((20, 20, 0), (9, 12, 1)):  # 1: Alt
            page.mouse("mousePressed", page.css(x, y), held="left", modifiers=modifiers)
            page.mouse("mouseReleased", page.css(x, y), modifiers=modifiers)
            page.settled()
        prepared = Segmenter(engine, mirror="never").prepare_slice(drawn_image())
        box, clicks, masks = Box(5, 7, 26, 29), (Click(20, 20, True), Click(9, 12, False)), []
        for count in range(3):
            previous = masks[-1] if count else None
            prompt = Prompt(box, clicks=clicks[:count], previous=previous, others=box_rows([box]), fit=USUAL_FIT)
            masks.append(prepared.answer([prompt])[0].mask(prepared.size_hw))
        assert np.array_equal(labels_of(served) == 1, masks[2])
        assert not np.array_equal(masks[0], masks[1])
        save(page, served, "2DBox_US_1.npz")
        assert np.array_equal(read_labels(served.out / "2DBox_US_1.npz", "segs") == 1, masks[2])


def test_a_person_says_how_a_box_fits_and_removes_without_a_keyboard(driver, folder, checkpoint, tmp_path):
    from graysam.engines.torch_engine import TorchEngine

    engine = TorchEngine.load(checkpoint)
    prepared = Segmenter(engine, mirror="never").prepare_slice(drawn_image())
    box = Box(5, 7, 26, 29)

    def answer(fit, **more):
        return prepared.answer([Prompt(box, fit=fit, **more)])[0].mask(prepared.size_hw)

    loose, tight = answer("loose"), answer("tight")
    assert not np.array_equal(loose, tight)
    with running(folder, tmp_path / "out", engine) as served:
        page = page_with_a_box(driver, served)
        wait_for_labels(page, served, loose)
        page.run(
            "const e = document.querySelector('#box-fit'); e.value = 'tight'; e.dispatchEvent(new Event('change'))"
        )
        page.settled()
        wait_for_labels(page, served, tight)
        page.key("z", ctrl=True)
        wait_for_labels(page, served, loose)
        page.wait("return document.querySelector('#box-fit').value === 'loose'")
        page.key("z", ctrl=True, shift=True)
        wait_for_labels(page, served, tight)
        page.press_button("#tool-remove")
        page.mouse("mousePressed", page.css(20, 20), held="left")
        page.mouse("mouseReleased", page.css(20, 20))
        page.settled()
        wait_for_labels(page, served, answer("tight", clicks=(Click(20, 20, False),), previous=tight))


def test_the_page_says_so_where_the_model_does_not_follow_a_click(driver, folder, tmp_path):
    """The engine looks at brightness alone: a click inside on what is bright is heeded, one that removes it is not."""
    with running(folder, tmp_path / "out", BrightEngine(spec=replace(PLAIN_TINY, hints=True))) as served:
        page = page_with_a_box(driver, served)
        for tool, is_heeded in (("#tool-add", True), ("#tool-remove", False)):
            page.press_button(tool)
            page.mouse("mousePressed", page.css(16, 18), held="left")
            page.mouse("mouseReleased", page.css(16, 18))
            page.settled()
            assert ("did not follow" in page.text("#notices")) != is_heeded


def test_a_model_that_takes_no_clicks_is_offered_none(page):
    page.open("cells", IMAGE_WH)
    page.draw(5, 7, 26, 29)
    page.settled()
    for element in ("tool-add", "tool-remove", "fit-of-box"):
        assert page.run("return document.getElementById(arguments[0]).hidden", element), element
    for key in "cr":
        page.key(key)
        assert page.run("return document.querySelector('#tool-box').getAttribute('aria-checked')") == "true"
    page.key("?")
    page.wait("return document.querySelector('#help-card').open")
    assert "click" not in page.text("#help-keys").replace("Drag, click", "").lower()
    assert "clicks" not in page.text("#hint-text")
    page.key("Escape")


# --- volumes ---


def box_the_ball(page):
    """Draw the ball's box on its middle slice, and set its first and last slice by keys."""
    page.key("PageUp")
    page.wait_text("#slice-text", "Slice 7 of")
    page.draw(9, 5, 39, 35)
    page.settled()
    page.run("document.activeElement.blur()")
    page.key("PageDown", times=6)
    page.key("[")
    page.key("PageUp", times=12)
    page.key("]")
    page.settled()
    page.wait_text("#object-list small", "slices 1 to 13")
    page.key("PageDown", times=6)
    page.wait_text("#slice-text", "Slice 7 of")


def follow(page):
    page.run("document.querySelector('#spoken').textContent = ''")
    page.key("f")
    page.wait_text("#spoken", "to both ends")
    page.settled()


def test_a_followed_object_is_that_of_the_python_api_in_the_inputs_geometry(page, served, folder):
    sitk = pytest.importorskip("SimpleITK")
    page.open("brain_MR", VOLUME_WH)
    box_the_ball(page)
    follow(page)
    wanted = Segmenter(BrightEngine()).segment_volume(drawn_volume(), [VolumeBox(Box(9, 5, 39, 35), 1, 13)])
    saved = sitk.ReadImage(str(save(page, served, "brain_MR.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(saved), wanted)
    assert wanted.any(axis=(1, 2)).sum() > 8
    source = sitk.ReadImage(str(folder / "brain_MR.nii.gz"))
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(saved, fact)() == pytest.approx(getattr(source, fact)()), fact


def test_a_slice_that_is_done_stays_when_a_corrected_slice_is_followed_again(page, served):
    page.open("knee_MR", VOLUME_WH)
    box_the_ball(page)
    follow(page)
    page.key("PageUp", times=2)
    page.wait_text("#slice-text", "Slice 9 of")
    page.key("p")
    page.drag([page.css(3, 3), page.css(3, 4)])  # outside any box: only a hand puts something there
    page.settled()
    page.key("d")
    page.wait_text("#slice-text", "done")
    page.settled()
    kept = labels_of(served, index=9)
    assert kept[3, 3] == 1
    page.key("PageDown", times=4)
    page.wait_text("#slice-text", "Slice 5 of")
    page.key("e")
    page.drag([page.css(24, 12), page.css(24, 28)])
    page.settled()
    corrected = labels_of(served, index=5)
    before = labels_of(served, index=4)
    follow(page)
    assert np.array_equal(labels_of(served, index=9), kept)
    assert np.array_equal(labels_of(served, index=5), corrected)
    assert labels_of(served, index=4).shape == before.shape
    assert save(page, served, "knee_MR.seg.nrrd").is_file()


def test_following_stops_on_demand_and_keeps_what_it_found(driver, folder, tmp_path):
    with running(folder, tmp_path / "out", SlowEngine()) as served:
        driver.get(served.address)
        page = DrivenPage(driver)
        page.open("3DBox_MR_1", VOLUME_WH)
        box_the_ball(page)
        page.key("f")
        page.wait("return Number(document.querySelector('#progress').getAttribute('aria-valuenow')) > 10")
        page.key("Escape")
        page.wait_text("#follow-text", "Follow")
        page.settled()
        found = [bool(labels_of(served, index=z).any()) for z in range(DEPTH)]
        assert found[8]  # the first slice that following comes to
        assert not found[1]  # the last one
        page.wait("return document.querySelector('#progress').hidden")


def test_a_click_on_the_strip_goes_to_the_slice_and_its_ends_can_be_dragged(page):
    page.open("heart_MR", VOLUME_WH)
    page.draw(9, 5, 39, 35)
    page.settled()
    rect = page.run("return document.getElementById('strip').getBoundingClientRect().toJSON()")
    step = (rect["width"] - 20) / DEPTH

    def at(slice_edge):
        return (rect["x"] + 10 + slice_edge * step, rect["y"] + 30)

    page.drag([at(7), at(8), at(10.5)])  # the last slice, from 6 to 10
    page.wait_text("#object-list small", "slices 6 to 10")
    page.drag([at(6), at(5), at(3.5)])
    page.wait_text("#object-list small", "slices 3 to 10")
    page.drag([at(12.5), at(12.5)])
    page.wait_text("#slice-text", "Slice 12 of")
    assert page.run("return document.getElementById('strip').getAttribute('aria-valuenow')") == "12"


# --- without a mouse ---


def test_everything_goes_by_keys_alone(page, served):
    for _ in range(40):
        page.key("Tab")
        if page.run("return document.activeElement.id") == "search":
            break
    for letter in "chest":
        page.key(letter)
    page.key("Enter")
    page.wait_text("#case-name", "chest_MR")
    page.size_wh = VOLUME_WH
    page.shown()
    for _ in range(40):
        page.key("Tab")
        if page.run("return document.activeElement.id") == "axial":
            break
    assert page.run("return document.activeElement.id") == "axial"
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.key("PageUp")
    page.wait_text("#slice-text", "Slice 7 of")
    # the cross begins in the middle of the volume, (24, 20)
    page.key("ArrowLeft", times=15)
    page.key("ArrowUp", times=15)
    page.key("Enter")
    page.key("ArrowRight", times=3, shift=True)
    page.key("ArrowDown", times=3, shift=True)
    page.wait_text("#hint-text", "Enter finishes")
    page.key("Enter")
    page.settled()
    page.key("PageDown", times=6)
    page.key("[")
    page.key("PageUp", times=12)
    page.key("]")
    page.key("PageDown", times=6)
    page.settled()
    follow(page)
    page.key("s", ctrl=True)
    page.wait_text("#notices", "Saved")
    wanted = Segmenter(BrightEngine()).segment_volume(drawn_volume(), [VolumeBox(Box(9, 5, 39, 35), 1, 13)])
    for z in (1, 5, 7, 13):
        assert np.array_equal(labels_of(served, index=z), wanted[z]), z
    page.key("?")
    page.wait("return document.querySelector('#help-card').open")
    page.key("Escape")
    page.wait("return !document.querySelector('#help-card').open")


def test_escape_gives_up_a_box_and_the_object_that_was_made_for_it(page, served):
    page.open("demo_Microscopy", (400, 400))
    assert page.objects() == []
    page.draw(100, 100, 200, 200, release=False)
    page.wait("return document.querySelectorAll('#object-list li').length === 1")
    page.key("Escape")
    page.mouse("mouseReleased", page.css(200, 200))
    page.wait("return document.querySelectorAll('#object-list li').length === 0")
    page.settled()
    assert labels_of(served).max() == 0


# --- what is seen ---

CONTRASTS = """
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
const over = (front, back) => {
  const share = front[3] ?? 1;
  return [0, 1, 2].map((each) => front[each] * share + back[each] * (1 - share));
};
const ground = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const colour = numbers(getComputedStyle(each).backgroundColor);
    if ((colour[3] ?? 1) > 0) layers.push(colour);
    if ((colour[3] ?? 1) === 1) break;
  }
  return layers.reverse().reduce((back, front) => over(front, back), [0, 0, 0]);
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const isField = element.matches('input[type=text], input[type=search]');
  if (!(own || isField) || element.closest('noscript, :disabled')) continue;
  if (!element.checkVisibility({visibilityProperty: true})) continue;
  const back = ground(element);
  const [a, b] = [light(over(numbers(getComputedStyle(element).color), back)), light(back)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  found.push([ratio, element.id || element.className || element.tagName, element.textContent.trim().slice(0, 30)]);
}
return found;
"""
NAMELESS = """
return [...document.querySelectorAll('button, input, canvas, [role=toolbar], [role=radiogroup], [role=progressbar]')]
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && each.type !== 'file')
  .filter((each) => !(each.getAttribute('aria-label') || each.innerText?.trim() || each.closest('label')))
  .map((each) => each.outerHTML.slice(0, 90));
"""


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_every_state_fits_the_screen_is_named_and_readable(page, driver, width):
    set_width(driver, width, mobile=width < 700)

    def check(state):
        assert page.run("return document.documentElement.scrollWidth") <= width, state
        beyond = page.run(
            "return [...document.querySelectorAll('button, input, p, canvas')].filter(e => e.checkVisibility() && "
            "!e.closest('nav, #case-list, .unseen, .skip') && e.getBoundingClientRect().right > innerWidth + 1)"
            ".map(e => e.outerHTML.slice(0, 90))"
        )
        assert beyond == [], state
        assert page.run(NAMELESS) == [], state
        found = page.run(CONTRASTS)
        assert len(found) > 5
        assert [each for each in found if each[0] < 4.5] == [], state

    page.open("heart_MR", VOLUME_WH)
    check("volume")
    page.key("n")
    page.settled()
    check("object")
    page.key("p")
    page.wait("return !document.querySelector('#size').hidden")
    check("brush")
    page.key("?")
    page.wait("return document.querySelector('#help-card').open")
    check("help")
    page.key("Escape")
    page.run("document.querySelector('#save').click()")
    page.wait("return document.querySelector('.notice') !== null")
    check("notice")
    page.open("cells", IMAGE_WH)
    check("image")


def test_a_finger_draws_two_fingers_zoom(page, driver):
    set_width(driver, 390, mobile=True)
    page.open("cells", IMAGE_WH)
    count = len(page.objects())

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    # below and between the two blocks: no box is near
    touch("touchStart", page.css(26, 41))
    for x, y in ((28, 42), (31, 44), (33, 45)):
        touch("touchMove", page.css(x, y))
    touch("touchEnd")
    page.settled()
    assert len(page.objects()) == count + 1
    before = page.colour_at(45, 30)
    middle = page.css(45, 30)
    touch("touchStart", (middle[0] - 20, middle[1]), (middle[0] + 20, middle[1]))
    touch("touchMove", (middle[0] - 60, middle[1]), (middle[0] + 60, middle[1]))
    touch("touchEnd")
    page.settled()
    assert len(page.objects()) == count + 1
    assert brightness(before) > 0


# --- killed and started again ---


def start_server(folder, out, checkpoint):
    """Start the program itself, and give it with the address that it says."""
    command = [sys.executable, "-m", "graysam", "view", str(folder), "-o", str(out), "--no-browser"]
    environment = {**os.environ, "GRAYSAM_CACHE": "", "OMP_NUM_THREADS": "1"}
    command += ["--weights", str(checkpoint), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise AssertionError(f"no address; exit status {process.wait()}")


def test_nothing_is_lost_when_server_and_tab_are_killed(driver, folder, checkpoint, tmp_path):
    process, address = start_server(folder, tmp_path / "out", checkpoint)
    try:
        driver.get(address)
        page = DrivenPage(driver, patience=STARTS_WITHIN)
        page.open("2DBox_US_1", IMAGE_WH)
        page.draw(5, 7, 26, 29)
        page.settled()
        process.send_signal(signal.SIGKILL)
        process.wait()
        page.wait("return document.querySelector('#kept').dataset.mood === 'lost'")
        page.key("p")
        page.drag([page.css(40, 5), page.css(50, 5)])  # painted while nobody listens
        page.wait_text("#kept-text", "1 change waits")
        process, again = start_server(folder, tmp_path / "out", checkpoint)
        assert again == address
        page.wait_text("#notices", "Nothing was lost")  # good news leaves by itself after some seconds
        page.settled()
        painted = page.colour_at(45, 5)
        driver.get("about:blank")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, again = start_server(folder, tmp_path / "out", checkpoint)
        driver.get(again)
        page.open("2DBox_US_1", IMAGE_WH)
        page.settled()
        assert page.objects() == ["object 1"]
        page.wait("return !document.querySelector('#undo').disabled")
        deadline = time.monotonic() + 60
        while page.colour_at(45, 5) != painted:
            assert time.monotonic() < deadline
        page.press_button("#save")
        page.wait_text("#notices", "2DBox_US_1.npz")
        assert read_labels(tmp_path / "out" / "2DBox_US_1.npz", "segs")[5, 45] == 1
    finally:
        process.kill()
        process.wait()


# --- last ---


def test_the_page_asked_nobody_else_and_complained_of_nothing(page, driver, served):
    """Looks at a page from its start to a mask."""
    driver.get_log("browser")
    network_events(driver)
    page.driver.get(served.address)
    page.open("3DBox_MR_1", VOLUME_WH)
    page.draw(9, 5, 39, 35)
    page.settled()
    addresses = {
        event["params"]["request"]["url"]
        for event in network_events(driver)
        if event["method"] == "Network.requestWillBeSent"
    }
    assert len(addresses) > 10
    assert [each for each in addresses if not each.startswith((served.origin, "data:"))] == []
    complaints = [entry for entry in driver.get_log("browser") if entry["source"] != "rendering"]
    assert complaints == []
