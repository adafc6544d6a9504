"""The document, its history and the session file: everything can be undone, and nothing that was answered is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graysam.errors import CaseError
from graysam.inference.images import BoxAnswer
from graysam.view import document as documents
from graysam.view.document import WHOLE, Document
from graysam.view.journal import Journal
from graysam.view.masks import BRUSHED_LOGIT, SliceMask, empty_mask, stroke

SIZE = (6, 8)
HEADER = {"case": "scan", "fingerprint": "00", "shape": [3, *SIZE]}


def drawn_mask(*rows, confidence=0.75):
    """A mask of the rows given as texts, # in the object, whose logits are 1, 2, 3, ... in order."""
    mask = np.array([[letter == "#" for letter in row.ljust(SIZE[1], ".")] for row in rows], bool)
    whole = np.full(SIZE, -2, np.float32)
    whole[: len(rows)][mask] = np.arange(1, mask.sum() + 1)
    window = slice(0, SIZE[0]), slice(0, SIZE[1])
    return SliceMask.of_answer(BoxAnswer(0, window, whole, confidence), SIZE, "box")


def shown(document):
    """Give everything that a document holds as plain values."""
    return {
        address: value.to_json() if isinstance(value, SliceMask) else value for address, value in document.everything()
    }


# --- masks ------------------------------------------------------------------------------------------------------------


def test_a_mask_is_packed_as_runs_and_comes_back_with_its_logits():
    mask = drawn_mask("..##", ".#.#")
    assert mask.runs.tolist() == [2, 2, 9, 1, 11, 1]
    logits = mask.logits()
    assert logits[0, 2:4].tolist() == [1, 2]
    assert logits[1].tolist() == [-1, 3, -1, 4, -1, -1, -1, -1]
    again = SliceMask.from_json(json.loads(json.dumps(mask.to_json())), SIZE)
    assert np.array_equal(again.logits(), logits)
    assert (again.confidence, again.origin) == (0.75, "box")


def test_a_mask_that_fills_the_slice_and_an_empty_one_are_masks():
    full = drawn_mask(*["########"] * 6)
    assert full.to_mask().all()
    assert full.runs.tolist() == [number for row in range(6) for number in (row * 8, 8)]
    assert not empty_mask(SIZE).to_mask().any()
    assert empty_mask(SIZE).is_empty


def test_a_brushed_pixel_is_surer_than_any_model_and_old_ones_stay_as_sure_as_they_were():
    mask = drawn_mask("##")
    wanted = mask.to_mask()
    wanted[0, 1], wanted[3, 3] = False, True
    edited = mask.edited(wanted)
    assert edited.logits()[0, :2].tolist() == [1, -1]
    assert edited.logits()[3, 3] == BRUSHED_LOGIT
    assert edited.origin == "brush"


def test_a_damaged_mask_is_refused():
    whole = drawn_mask("##").to_json()
    for damage in ({"runs": "AAAA"}, {"logits": drawn_mask("###").to_json()["logits"]}, {"runs": None}):
        with pytest.raises(ValueError, match=r"damaged|fit"):
            SliceMask.from_json({**whole, **damage}, SIZE)


def test_a_stroke_touches_what_lies_within_its_radius_of_the_line():
    touched = stroke(SIZE, [(1.0, 1.0), (4.0, 1.0)], 1.0)
    assert ["".join("#" if each else "." for each in row) for row in touched] == [
        ".####...",
        "######..",
        ".####...",
        "........",
        "........",
        "........",
    ]


# --- history ----------------------------------------------------------------------------------------------------------


def each_operation():
    """Every kind of change, in an order in which each changes something."""
    return [
        ("add object", [((1, "name", WHOLE), "liver"), ((1, "colour", WHOLE), "#ff0000")]),
        ("rename", [((1, "name", WHOLE), "spleen")]),
        ("colour", [((1, "colour", WHOLE), "#00ff00")]),
        ("range", [((1, "range", WHOLE), (0, 2))]),
        ("box", [((1, "box", 1), (1.0, 1.0, 4.0, 4.0)), ((1, "key", WHOLE), 1), ((1, "mask", 1), drawn_mask("###"))]),
        ("click", [((1, "clicks", 1), ((2.0, 2.0, True),)), ((1, "mask", 1), drawn_mask("####"))]),
        ("brush", [((1, "mask", 1), drawn_mask("####").edited(drawn_mask("#####").to_mask()))]),
        ("follow", [((1, "mask", 2), drawn_mask("#"))]),
        ("done", [((1, "done", 1), True)]),
        ("not done", [((1, "done", 1), None)]),
        ("clear slice", [((1, "mask", 1), None), ((1, "box", 1), None), ((1, "clicks", 1), None)]),
        (
            "delete object",
            [((1, name, z), None) for name, z in (("name", -1), ("mask", 2), ("range", -1), ("key", -1))],
        ),
    ]


def test_every_operation_is_undone_and_done_again_exactly():
    document, states = Document(), [{}]
    for what, values in each_operation():
        document.do(what, values)
        states.append(shown(document))
    assert document.objects == []
    for state in states[-2::-1]:
        document.turn("undo")
        assert shown(document) == state
    assert document.turn("undo") is None
    for state in states[1:]:
        document.turn("redo")
        assert shown(document) == state
    assert document.turn("redo") is None


def test_a_new_operation_forgets_what_was_undone():
    document = Document()
    document.do("one", [((1, "name", WHOLE), "a")])
    document.do("two", [((1, "name", WHOLE), "b")])
    document.turn("undo")
    document.do("three", [((1, "name", WHOLE), "c")])
    assert document.turn("redo") is None
    document.turn("undo")
    assert document.get(1, "name") == "a"


def test_what_changes_nothing_is_no_operation():
    document = Document()
    document.do("one", [((1, "name", WHOLE), "a")])
    assert document.do("again", [((1, "name", WHOLE), "a"), ((1, "done", 4), None)]) is None
    assert len(document.done) == 1


def test_parts_of_an_operation_are_one_step_until_something_else_comes_between():
    document = Document()
    first = document.do("follow", [((1, "mask", 0), drawn_mask("#"))])
    document.do("follow", [((1, "mask", 1), drawn_mask("##"))], join=first.number)
    assert len(document.done) == 1
    document.do("rename", [((1, "name", WHOLE), "a")])
    document.do("follow", [((1, "mask", 2), drawn_mask("###"))], join=first.number)
    assert [each.what for each in document.done] == ["follow", "rename", "follow"]
    document.turn("undo")
    assert sorted(document.on_slices(1, "mask")) == [0, 1]


def test_the_history_is_bounded_in_bytes_and_steps(monkeypatch):
    document = Document(history_bytes=20_000)
    for number in range(200):
        document.do("box", [((1, "mask", 0), drawn_mask("#" * (1 + number % 8)))])
    assert document.kept_bytes <= 20_000
    assert 2 < len(document.done) < 200
    assert document.get(1, "mask", 0).runs.tolist() == [0, 8]
    monkeypatch.setattr(documents, "HISTORY_STEPS", 5)
    document.do("rename", [((1, "name", WHOLE), "a")])
    assert len(document.done) == 5
    while document.turn("undo"):
        pass
    assert document.get(1, "mask", 0) is not None  # the steps that went cannot be taken back


def test_a_whole_volume_followed_takes_kilobytes_a_slice_and_not_an_array():
    """On 512 x 512 x 400: a round object of 60 pixels' radius on each slice, with its history."""
    y, x = np.ogrid[:512, :512]
    logits = np.where((y - 256) ** 2 + (x - 256) ** 2 < 60**2, 2.0, -2.0).astype(np.float32)
    logits += np.random.default_rng(0).normal(0, 0.3, logits.shape).astype(np.float32)
    window = slice(180, 332), slice(180, 332)
    answer = BoxAnswer(0, window, logits[window], 0.9)
    mask = SliceMask.of_answer(answer, (512, 512), "follow")
    assert mask.nbytes < 512 * 512 / 5  # kept exactly, logits and all
    assert 400 * mask.nbytes < documents.HISTORY_BYTES


# --- the file ---------------------------------------------------------------------------------------------------------


def written(folder, operations, *, undos=0, redos=0):
    """Do operations with a session file, and give the document."""
    document = Document()
    journal = Journal(folder / "scan.session", HEADER, document)
    for what, values in operations:
        journal.write(document.do(what, values))
    for _ in range(undos):
        journal.write_turn("undo", document.turn("undo"))
    for _ in range(redos):
        journal.write_turn("redo", document.turn("redo"))
    journal.close()
    return document


def read(folder):
    document = Document()
    journal = Journal(folder / "scan.session", HEADER, document)
    journal.close()
    return document


def test_a_session_comes_back_with_its_history(tmp_path):
    before = written(tmp_path, each_operation(), undos=4, redos=1)
    after = read(tmp_path)
    assert shown(after) == shown(before)
    assert [each.what for each in after.done] == [each.what for each in before.done]
    assert [each.what for each in after.undone] == ["delete object", "clear slice", "not done"]
    while before.turn("undo"):
        after.turn("undo")
        assert shown(after) == shown(before)


def test_a_file_written_anew_holds_the_same_and_goes_on(tmp_path):
    document = Document()
    journal = Journal(tmp_path / "scan.session", HEADER, document)
    for what, values in each_operation():
        journal.write(document.do(what, values))
    journal.write_turn("undo", document.turn("undo"))
    journal.rewrite()
    journal.write(document.do("rename", [((1, "name", WHOLE), "kidney")]))
    journal.close()
    after = read(tmp_path)
    assert shown(after) == shown(document)
    assert after.next_object == 2
    assert len((tmp_path / "scan.session").read_text().splitlines()) == 3
    after.turn("undo")
    document.turn("undo")
    assert shown(after) == shown(document)


def test_a_number_of_a_deleted_object_is_not_used_again_after_reopening(tmp_path):
    document = Document()
    journal = Journal(tmp_path / "scan.session", HEADER, document)
    journal.write(document.do("add", [((5, "name", WHOLE), "a")]))
    journal.write(document.do("delete", [((5, "name", WHOLE), None)]))
    document.load([], [], [])
    journal.rewrite()
    journal.close()
    assert read(tmp_path).next_object == 6


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_that_was_cut_off_is_dropped_and_the_next_one_is_whole(tmp_path, cut):
    written(tmp_path, each_operation()[:3])
    path = tmp_path / "scan.session"
    path.write_bytes(path.read_bytes()[:-cut])
    assert read(tmp_path).get(1, "colour") == "#ff0000"
    document = Document()
    journal = Journal(path, HEADER, document)
    journal.write(document.do("rename", [((1, "name", WHOLE), "whole")]))
    journal.close()
    assert read(tmp_path).get(1, "name") == "whole"


def test_damage_in_the_middle_is_named_and_the_file_stays(tmp_path):
    written(tmp_path, each_operation()[:3])
    path = tmp_path / "scan.session"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    content = path.read_bytes()
    with pytest.raises(CaseError, match="damaged"):
        read(tmp_path)
    assert path.read_bytes() == content


def test_the_session_of_another_image_of_this_name_is_set_aside(tmp_path):
    written(tmp_path, each_operation()[:2])
    document = Document()
    journal = Journal(tmp_path / "scan.session", {**HEADER, "fingerprint": "11"}, document)
    assert document.objects == []
    assert journal.was_set_aside.name == "scan.session.1"
    assert b"spleen" in journal.was_set_aside.read_bytes()
    journal.close()


def test_two_servers_do_not_write_one_session(tmp_path):
    journal = Journal(tmp_path / "scan.session", HEADER, Document())
    with pytest.raises(CaseError, match="another graysam view"):
        Journal(tmp_path / "scan.session", HEADER, Document())
    journal.close()
    Journal(tmp_path / "scan.session", HEADER, Document()).close()


def test_a_full_disk_is_told_and_what_stands_in_the_file_stays_whole(tmp_path, monkeypatch):
    document = Document()
    journal = Journal(tmp_path / "scan.session", HEADER, document)
    journal.write(document.do("add", [((1, "name", WHOLE), "kept")]))
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:20]))
    with pytest.raises(CaseError, match="Make room"):
        journal.write(document.do("rename", [((1, "name", WHOLE), "lost")]))
    monkeypatch.undo()
    journal.close()
    assert read(tmp_path).get(1, "name") == "kept"


# --- killed -----------------------------------------------------------------------------------------------------------

SERVE = """
import sys, threading
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from live_view import running
from bright_engine import BrightEngine
folder = Path({folder!r})
with running(folder / "in", folder / "out", BrightEngine()) as page:
    print(page.port, flush=True)
    threading.Event().wait()
"""


def test_a_server_that_is_killed_loses_nothing_that_it_had_answered(tmp_path):
    pytest.importorskip("starlette")
    from bright_engine import BrightEngine
    from live_view import Page, running

    from graysam.formats.npz import write_case

    image = np.full((20, 30), 10, np.uint8)
    image[5:11, 4:12] = 200
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "blocks.npz", image=image, boxes=())
    tests = Path(__file__).resolve().parents[2]
    script = SERVE.format(root=str(tests.parent), tests=str(tests), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        page = Page(None, int(process.stdout.readline()), tmp_path / "out")
        page.open("blocks")
        with page.live() as live:
            one = live.ask("add_object", "object", name="kept", colour="#123456")["object"]["id"]
            live.ask("box", "mask", object=one, slice=0, box=[3, 4, 12, 11], is_final=True)
            live.ask("brush", "mask", object=one, slice=0, points=[[25, 15]], radius=2, is_adding=True)
            live.ask("done", "object", object=one, slice=0, is_done=True)
            live.ask("rename", "object", object=one, name="undone")
            live.ask("undo", "state")
            wanted = live.ask("masks", "masks", slice=0)["masks"]
            os.kill(process.pid, signal.SIGKILL)
    with running(tmp_path / "in", tmp_path / "out", BrightEngine()) as page:
        page.open("blocks")
        with page.live() as live:
            (known,) = live.state["objects"]
            assert (known["name"], known["colour"], known["done"]) == ("kept", "#123456", [0])
            assert known["boxes"] == {"0": [3, 4, 12, 11]}
            assert live.ask("masks", "masks", slice=0)["masks"] == wanted
            assert live.state["history"]["redo"] == "rename"
            assert live.ask("undo", "state")["objects"][0]["done"] == []
