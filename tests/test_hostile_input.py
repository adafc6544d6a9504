"""Malformed, hostile and odd cases: each gets its named error or its decided behaviour, and harms no other.

All of them lie in one folder that is predicted once, by the baseline that fills boxes; then each has its say.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predict
from graysam.boxes import Box
from graysam.errors import CaseError
from graysam.files import _temporary_prefix
from graysam.formats.npz import read_case, read_labels, write_case, write_labels
from graysam.inference.baselines import BaselineSegmenter  # noqa: F401  imported before rights are given up
from graysam.runner.run import Runner  # noqa: F401  likewise

ROOT = Path(__file__).resolve().parent.parent
GRAY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)  # height 6, width 8
VOLUME = np.arange(4 * 6 * 8, dtype=np.uint8).reshape(4, 6, 8)
BOX = np.array([[1, 1, 3, 3]])
BOX_3D = np.array([[1, 1, 0, 3, 3, 2]])
OBJECTS = np.array([{"z_min": 0, "z_max": 1}], dtype=object)  # what the 2025 challenge stores as boxes


# --- how to make bad files


def save(path: Path, **arrays: Any) -> None:
    """Save honestly; objects are pickled by numpy."""
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def npy(header: str | bytes, data: bytes = b"", *, version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """Give the bytes of an .npy file with any header."""
    raw = header if isinstance(header, bytes) else header.encode()
    size = len(raw) if length is None else length
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\x00" else "<I", size) + raw + data


def described(shape: object, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n", data)


def good_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def pack(path: Path, imgs: bytes | None, boxes: bytes | None = None, **patch: int) -> None:
    """Zip raw members; `patch` overwrites what the zip's directory says of imgs.npy."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if imgs is not None:
            archive.writestr("imgs.npy", imgs)
            for name, value in patch.items():
                setattr(archive.getinfo("imgs.npy"), name, value)
        archive.writestr("boxes.npy", good_npy(BOX) if boxes is None else boxes)


def good_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, imgs=np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8), boxes=BOX)
    return stream.getvalue()


def corrupted(path: Path) -> None:
    """Flip a byte in the middle of the pixels' compressed data; header and directory stay whole."""
    raw = bytearray(good_bytes())
    raw[2500] ^= 0xFF
    path.write_bytes(raw)


class Bomb:
    """Unpickling this makes a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(SENTINEL),)


SENTINEL = Path(tempfile.gettempdir()) / f"graysam-unpickled-{os.getpid()}"
EVIL_CODE = f"__import__('os').mkdir({str(SENTINEL)!r})"


GIBIBYTE = described((1024, 1024, 1024))


@dataclass(frozen=True)
class Bad:
    """A case that must fail: how it is made, what its error says, and the shape of the all-zero map, if any."""

    make: Callable[[Path], object]
    error: str
    zeros: tuple[int, ...] | None = None


BAD: dict[str, Bad] = {
    # not a zip file at all
    "empty_file": Bad(lambda p: p.write_bytes(b""), "not a whole .npz"),
    "text_file": Bad(lambda p: p.write_text("Dear sir,"), "not a whole .npz"),
    "plain_npy": Bad(lambda p: p.write_bytes(good_npy(GRAY)), "not a whole .npz"),
    "gzip_file": Bad(lambda p: p.write_bytes(gzip.compress(good_bytes())), "not a whole .npz"),
    "pickle_file": Bad(lambda p: p.write_bytes(pickle.dumps(Bomb())), "not a whole .npz"),
    "truncated_half": Bad(lambda p: p.write_bytes(good_bytes()[: len(good_bytes()) // 2]), "not a whole .npz"),
    "truncated_end": Bad(lambda p: p.write_bytes(good_bytes()[:-30]), "not a whole .npz"),
    "beginning_lost": Bad(lambda p: p.write_bytes(good_bytes()[40:]), "not a whole .npz|damaged|cannot be read"),
    # damaged inside
    "flipped_byte": Bad(corrupted, "'imgs' cannot be read", zeros=(60, 80)),
    "encrypted": Bad(lambda p: pack(p, good_npy(GRAY), flag_bits=1), "encrypted"),
    "unknown_compression": Bad(lambda p: pack(p, good_npy(GRAY), compress_type=77), "not supported"),
    "directory_lies_short": Bad(lambda p: pack(p, good_npy(GRAY), file_size=100), "'imgs'"),
    # wrong keys
    "no_arrays": Bad(lambda p: zipfile.ZipFile(p, "w").close(), r"no array 'boxes'; found \[\]"),
    "no_imgs": Bad(lambda p: save(p, boxes=BOX), r"no array 'imgs'; found \['boxes'\]"),
    "no_boxes": Bad(lambda p: save(p, imgs=GRAY, gts=GRAY), r"no array 'boxes'; found \['gts', 'imgs'\]", zeros=(6, 8)),
    "capital_keys": Bad(lambda p: save(p, Imgs=GRAY, Boxes=BOX), r"found \['Boxes', 'Imgs'\]"),
    # what would have to be unpickled
    "object_imgs": Bad(lambda p: save(p, imgs=np.array([Bomb()], object), boxes=BOX), "unpickled"),
    "object_boxes": Bad(lambda p: save(p, imgs=GRAY, boxes=np.array([Bomb()], object)), "unpickled", zeros=(6, 8)),
    "cut_boxes_of_2025": Bad(
        lambda p: save(p, imgs=VOLUME, boxes=OBJECTS), r"box 0: 'z_mid_x_min' is None, wanted a number", zeros=(4, 6, 8)
    ),
    "clicks_that_run": Bad(
        lambda p: save(p, imgs=VOLUME, boxes=BOX_3D, clicks=np.array([{"fg": [Bomb()]}], object)),
        r"'clicks' holds Python objects that are not plain data: a call of posix\.mkdir.*unpickled",
        zeros=(4, 6, 8),
    ),
    "clicks_in_an_image": Bad(
        lambda p: save(p, imgs=GRAY, boxes=BOX, clicks=np.array([{"fg": [[0, 1, 1]]}], object)),
        "'clicks' are points z, y, x of volumes, and this is an image",
        zeros=(6, 8),
    ),
    "raw_pickle": Bad(lambda p: pack(p, pickle.dumps(Bomb())), "'imgs' is damaged"),
    "object_field": Bad(lambda p: pack(p, described((1,), "[('a', '|O')]")), "unpickled|structured"),
    # headers
    "code_for_header": Bad(lambda p: pack(p, npy(EVIL_CODE)), "'imgs' is damaged"),
    "code_for_dtype": Bad(lambda p: pack(p, described((6, 8), EVIL_CODE)), "'imgs' is damaged"),
    "deep_header": Bad(lambda p: pack(p, npy("(" * 9000)), "'imgs' is damaged"),
    "deep_lists": Bad(lambda p: pack(p, npy("[" * 4000 + "]" * 4000)), "'imgs' is damaged"),
    "long_header": Bad(lambda p: pack(p, npy("{" + " " * 60000 + "}")), "'imgs' is damaged"),
    "endless_header": Bad(lambda p: pack(p, npy("{}", version=b"\x02\x00", length=2**32 - 1)), "'imgs' is damaged"),
    "binary_header": Bad(lambda p: pack(p, npy(bytes(range(256)))), "'imgs' is damaged"),
    "no_header": Bad(lambda p: pack(p, b"\x93NUMPY"), "'imgs' is damaged"),
    "format_3": Bad(lambda p: pack(p, npy("{}", version=b"\x03\x00")), r"npy format \(3, 0\)"),
    "no_shape": Bad(lambda p: pack(p, npy("{'descr': '|u1', 'fortran_order': False}\n")), "'imgs' is damaged"),
    "fractional_shape": Bad(lambda p: pack(p, described((6.0, 8.0))), "'imgs' is damaged"),
    "nonsense_dtype": Bad(lambda p: pack(p, described((6, 8), "'|z9'")), "'imgs' is damaged"),
    "negative_size": Bad(lambda p: pack(p, described((-6, 8))), r"negative size, shape \(-6, 8\)"),
    "negative_sizes": Bad(lambda p: pack(p, described((-6, -8), data=GRAY.tobytes())), "negative size"),
    # sizes
    "astronomical": Bad(lambda p: pack(p, described((10**30, 10**30))), "the limit is 4,294,967,296"),
    "terabytes": Bad(lambda p: pack(p, described((10**8, 1000, 1000)), good_npy(BOX_3D)), "the limit is 4,294,967,296"),
    "wide": Bad(lambda p: pack(p, good_npy(np.zeros((1, 40000), np.uint8))), "sides of 32,767"),
    "size_without_data": Bad(lambda p: pack(p, described((20000, 20000))), "400,000,000 bytes, but 0 are stored"),
    "data_missing": Bad(lambda p: pack(p, described((6, 8), data=b"1234")), "48 bytes, but 4 are stored"),
    "data_too_long": Bad(lambda p: pack(p, described((6, 8), data=b"1" * 99)), "48 bytes, but 99 are stored"),
    "zip_bomb": Bad(  # a directory that promises 1 GiB from a hundred bytes
        lambda p: pack(p, GIBIBYTE, good_npy(BOX_3D), file_size=2**30 + len(GIBIBYTE)),
        r"would grow from \d+ to 1,073,741,824 bytes, more than 500 times; taken for a zip bomb",
    ),
    "boxes_bomb": Bad(lambda p: pack(p, good_npy(GRAY), described((2**40, 4))), "the limit is", zeros=(6, 8)),
    "flat_boxes_bomb": Bad(
        lambda p: pack(p, good_npy(GRAY), described((2**50, 2**20, 4))), "the limit is", zeros=(6, 8)
    ),
    "zero_height": Bad(lambda p: save(p, imgs=np.zeros((0, 8, 3), np.uint8), boxes=BOX), "'imgs' is empty"),
    "zero_width": Bad(lambda p: save(p, imgs=np.zeros((6, 0), np.uint8), boxes=BOX), "'imgs' is empty"),
    "zero_depth": Bad(lambda p: save(p, imgs=np.zeros((0, 6, 8), np.uint8), boxes=BOX_3D), "'imgs' is empty"),
    # pixels
    "scalar": Bad(lambda p: save(p, imgs=np.uint8(3), boxes=BOX), r"'imgs' has shape \(\)"),
    "one_axis": Bad(lambda p: save(p, imgs=GRAY.ravel(), boxes=BOX), r"'imgs' has shape \(48,\)"),
    "four_axes": Bad(lambda p: save(p, imgs=VOLUME[..., None], boxes=BOX_3D), r"'imgs' has shape \(4, 6, 8, 1\)"),
    "flat_boxes_for_volume": Bad(lambda p: save(p, imgs=VOLUME, boxes=BOX), "'boxes' 4 numbers each"),
    "all_nan": Bad(lambda p: save(p, imgs=np.full((6, 8), np.nan), boxes=BOX), "no finite value", zeros=(6, 8)),
    "complex": Bad(lambda p: save(p, imgs=GRAY * 1j, boxes=BOX), "'imgs' has dtype complex128", zeros=(6, 8)),
    "strings": Bad(lambda p: save(p, imgs=GRAY.astype(str), boxes=BOX), "'imgs' has dtype <U", zeros=(6, 8)),
    "dates": Bad(lambda p: save(p, imgs=GRAY.astype("M8[s]"), boxes=BOX), "has dtype datetime64", zeros=(6, 8)),
    # boxes
    "five_numbers": Bad(
        lambda p: save(p, imgs=GRAY, boxes=np.ones((2, 5), int)), r"'boxes' has shape \(2, 5\)", zeros=(6, 8)
    ),
    "box_of_boxes": Bad(lambda p: save(p, imgs=GRAY, boxes=BOX[None]), r"shape \(1, 1, 4\)", zeros=(6, 8)),
    "box_strings": Bad(lambda p: save(p, imgs=GRAY, boxes=BOX.astype(str)), "'boxes' has dtype <U", zeros=(6, 8)),
    "box_bools": Bad(lambda p: save(p, imgs=GRAY, boxes=BOX > 1), "'boxes' has dtype bool", zeros=(6, 8)),
    "box_complex": Bad(lambda p: save(p, imgs=GRAY, boxes=BOX * 1j), "'boxes' has dtype complex", zeros=(6, 8)),
    "box_right_of_image": Bad(
        lambda p: save(p, imgs=GRAY, boxes=np.array([[1, 1, 3, 3], [8, 0, 9, 3]])),
        r"box 1 \[8, 0, 9, 3\] lies wholly outside the image; the image has width 8, height 6,",
        zeros=(6, 8),
    ),
    "box_negative": Bad(lambda p: save(p, imgs=GRAY, boxes=-BOX), r"box 0 \[-1, -1, -3, -3\]", zeros=(6, 8)),
    "box_above_volume": Bad(
        lambda p: save(p, imgs=VOLUME, boxes=np.array([[1, 1, 4, 3, 3, 9]])), r"box 0.*depth 4", zeros=(4, 6, 8)
    ),
    "box_nan": Bad(lambda p: save(p, imgs=GRAY, boxes=BOX * np.nan), "box 0 .* is not a number", zeros=(6, 8)),
    "70000_boxes": Bad(
        lambda p: save(p, imgs=GRAY, boxes=np.tile(BOX, (70_000, 1))),
        "70,000 boxes, but a 16-bit label map holds at most 65,535",
        zeros=(6, 8),
    ),
    # no regular files of this folder
    "link_out": Bad(lambda p: p.symlink_to(ROOT / "pyproject.toml"), "a link that leads out of the input folder"),
    "link_nowhere": Bad(lambda p: p.symlink_to("nowhere.npz"), "cannot be looked at"),
    "link_loop": Bad(lambda p: p.symlink_to(p.name), "cannot be looked at"),
    "pipe": Bad(lambda p: os.mkfifo(p), "not a regular file"),
}

# Odd, but decided: these come out. Name, how it is made, labelled pixels as (rows, columns) of box 0, warning.
ODD: dict[str, tuple[Callable[[Path], object], tuple[slice, ...], str | None]] = {
    "some_nan": (
        lambda p: save(p, imgs=np.where(GRAY > 40, np.nan, GRAY), boxes=BOX),
        np.s_[1:4, 1:4],
        "7 pixels are NaN or infinite",
    ),
    "infinite": (lambda p: save(p, imgs=np.where(GRAY > 40, np.inf, GRAY), boxes=BOX), np.s_[1:4, 1:4], "infinite"),
    "beyond_float32": (lambda p: save(p, imgs=GRAY * 1e300, boxes=BOX), np.s_[1:4, 1:4], "infinite"),
    "constant": (lambda p: save(p, imgs=GRAY * 0, boxes=BOX), np.s_[1:4, 1:4], None),
    "one_pixel": (lambda p: save(p, imgs=GRAY[:1, :1], boxes=BOX * 0), np.s_[:1, :1], None),
    "int64_hounsfield": (lambda p: save(p, imgs=GRAY.astype(int) - 1000, boxes=BOX), np.s_[1:4, 1:4], "0 to 255"),
    "swapped": (lambda p: save(p, imgs=GRAY, boxes=BOX[:, [2, 3, 0, 1]]), np.s_[1:4, 1:4], "swapped"),
    "too_large_box": (lambda p: save(p, imgs=GRAY, boxes=np.array([[-9, -9, 99, 99]])), np.s_[:, :], "clipped"),
    "uint64_box": (
        lambda p: save(p, imgs=GRAY, boxes=np.array([[0, 0, 2**64 - 1, 2**64 - 1]], np.uint64)),
        np.s_[:, :],
        "clipped",
    ),
    "infinite_box": (lambda p: save(p, imgs=GRAY, boxes=np.array([[0, 0, np.inf, 2]])), np.s_[:3, :], "clipped"),
    "single_box": (lambda p: save(p, imgs=GRAY, boxes=BOX[0]), np.s_[1:4, 1:4], None),
    "object_spacing": (
        lambda p: save(p, imgs=VOLUME, boxes=BOX_3D, spacing=np.array([Bomb()], object)),
        np.s_[0:3, 1:4, 1:4],
        "spacing is ignored",
    ),
    "3D_that_is_2D": (lambda p: save(p, imgs=GRAY, boxes=BOX), np.s_[1:4, 1:4], "the name says 3D"),
    "evil_extra_array": (lambda p: save(p, imgs=GRAY, boxes=BOX, x=np.array([Bomb()], object)), np.s_[1:4, 1:4], None),
    "name with 'quotes' & ümlaut \u2603": (lambda p: save(p, imgs=GRAY, boxes=BOX), np.s_[1:4, 1:4], None),
    "n" * 251: (lambda p: save(p, imgs=GRAY, boxes=BOX), np.s_[1:4, 1:4], None),
    "-o": (lambda p: save(p, imgs=GRAY, boxes=BOX), np.s_[1:4, 1:4], None),
    "good_a": (lambda p: save(p, imgs=GRAY, boxes=BOX), np.s_[1:4, 1:4], None),
    "zz_good": (lambda p: save(p, imgs=VOLUME, boxes=BOX_3D), np.s_[0:3, 1:4, 1:4], None),
}


@dataclass(frozen=True)
class Outcome:
    status: int
    stderr: str
    output: Path
    accounts: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Predict the whole zoo once, in a process of its own that may take 3 GiB, so that a bomb would burst."""
    folder = tmp_path_factory.mktemp("zoo")
    inputs, output = folder / "in", folder / "out"
    inputs.mkdir()
    for name, bad in BAD.items():
        bad.make(inputs / f"{name}.npz")
    for name, (make, _, _) in ODD.items():
        make(inputs / f"{name}.npz")
    (inputs / "folder.npz").mkdir()
    (inputs / "readme.txt").write_text("no case")
    output.mkdir()
    write_labels(output / "text_file.npz", GRAY)  # of an earlier run; must not pass for this run's result
    command = [sys.executable, ROOT / "predict.py", "-i", inputs, "-o", output, "--engine", "box", "--num-parts", "1"]
    result = subprocess.run(
        [*command, "--report", folder / "run.json"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30)),
    )
    report = json.loads((folder / "run.json").read_text())
    yield Outcome(result.returncode, result.stderr, output, {case["name"]: case for case in report["cases"]})
    shutil.rmtree(folder)


def test_there_are_at_least_forty_malformed_cases():
    assert len(BAD) >= 40


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_case_fails_with_its_named_cause(outcome, name):
    account = outcome.accounts[name]
    assert account["status"] == "failed"
    assert re.search(BAD[name].error, account["error"]), account["error"]
    assert account["error"].startswith(f"{name}.npz: ")
    assert f"{name}: FAILED: {account['error']}" in outcome.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_case_gets_an_all_zero_map_where_its_shape_is_known_and_nothing_otherwise(outcome, name):
    path, shape = outcome.output / f"{name}.npz", BAD[name].zeros
    assert path.exists() == (shape is not None)
    if shape is not None:
        labels = read_labels(path, "segs")
        assert (labels.shape, labels.dtype, labels.any()) == (shape, np.uint8, False)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_case_comes_out_with_a_warning(outcome, name):
    _, inside, warning = ODD[name]
    account = outcome.accounts[name]
    assert account["status"] == "done", account["error"]
    labels = read_labels(outcome.output / f"{name}.npz", "segs")
    wanted = np.zeros(labels.shape, int)
    wanted[inside] = 1
    assert np.array_equal(labels, wanted)
    assert (warning is None) == (account["warnings"] == [])
    assert warning is None or any(warning in text for text in account["warnings"])


def test_the_exit_status_is_1_and_every_case_is_accounted_for(outcome):
    assert outcome.status == 1
    assert set(outcome.accounts) == {*BAD, *ODD}


def test_nothing_but_results_is_left(outcome):
    wanted = {f"{name}.npz" for name in ODD} | {f"{name}.npz" for name, bad in BAD.items() if bad.zeros}
    assert {path.name for path in outcome.output.iterdir()} == wanted


def test_nothing_was_unpickled_or_evaluated(outcome):
    assert not SENTINEL.exists()


def test_no_error_is_a_traceback(outcome):
    assert "Traceback" not in outcome.stderr
    assert not [account["error"] for account in outcome.accounts.values() if "internal" in str(account["error"])]


def test_random_damage_is_an_error_or_harmless_and_nothing_else(tmp_path):
    path, good, rng = tmp_path / "case.npz", good_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        raw = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            # beginning and end hold headers and the directory, which are worth most of the shots
            zone = int(rng.integers(0, 3))
            place = (int(rng.integers(0, 250)), int(rng.integers(0, len(raw))), -int(rng.integers(1, 250)))[zone]
            raw[place] = int(rng.integers(0, 256))
        path.write_bytes(raw[: int(rng.integers(0, len(raw)))] if rng.random() < 0.1 else raw)
        try:
            read_case(path)
        except CaseError:
            refused += 1
    assert 200 < refused < 400  # some damage hits bytes that nobody reads


# --- folders that do not play along


def two_cases(folder: Path) -> Path:
    """Make a folder of a small case and one whose map (600 objects, two bytes each) needs more than 4 kB."""
    folder.mkdir()
    places = np.random.default_rng(0).integers(0, 500, (600, 2))
    boxes = tuple(Box(float(x), float(y), float(x) + 11, float(y) + 11) for y, x in places)
    write_case(folder / "large.npz", image=np.zeros((512, 512), np.uint8), boxes=boxes)
    write_case(folder / "small.npz", image=GRAY, boxes=(Box(1, 1, 3, 3),))
    return folder


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "predict.py", "--engine", "box", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def assert_large_failed_for_want_of_room(output: Path, result: subprocess.CompletedProcess[str], cause: str) -> None:
    assert result.returncode == 1
    assert re.search(rf"large: FAILED: large\.npz: cannot be written to .*{cause}", result.stderr), result.stderr
    assert read_labels(output / "small.npz", "segs").sum() == 9
    # no partial file: what is there of the other is its all-zero stand-in, which is small enough
    assert {path.name for path in output.iterdir()} <= {"large.npz", "small.npz"}
    if (output / "large.npz").exists():
        assert not read_labels(output / "large.npz", "segs").any()


def test_a_file_too_large_for_its_quota_fails_alone_and_leaves_no_part_of_it(tmp_path):
    inputs, output = two_cases(tmp_path / "in"), tmp_path / "out"
    result = run(
        *("-i", inputs, "-o", output),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert_large_failed_for_want_of_room(output, result, "File too large")


def test_a_full_disk_fails_the_case_and_leaves_no_part_of_it(tmp_path):
    inputs, output = two_cases(tmp_path / "in"), tmp_path / "out"
    output.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", output], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs more rights than this user has")
    try:
        result = run("-i", inputs, "-o", output)
        assert_large_failed_for_want_of_room(output, result, "No space left on device")
    finally:
        subprocess.run(["umount", output], check=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Give a folder which a user without rights can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_as_nobody(folder: Path, *arguments: object) -> tuple[int, str]:
    """Run in a forked process that gave up root's rights (root may write anywhere), and give status and stderr.

    Forked and not started afresh, because the interpreter may lie where only root can reach.
    """
    log = folder / "stderr.txt"
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            status = predict.main(["--engine", "box", *map(str, arguments)])
            sys.stderr.flush()
        except BaseException:
            status = 99
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), log.read_text()


def test_a_case_that_may_not_be_read_fails_alone(public_folder):
    inputs, output = two_cases(public_folder / "in"), public_folder / "out"
    (inputs / "large.npz").chmod(0)
    output.mkdir()
    output.chmod(0o777)
    status, stderr = run_as_nobody(public_folder, "-i", inputs, "-o", output)
    assert status == 1
    assert "large: FAILED: large.npz: may not be read (Permission denied)" in stderr
    assert [path.name for path in output.iterdir()] == ["small.npz"]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_an_output_folder_that_may_not_be_written_stops_the_run_before_any_work(public_folder, below):
    inputs, output = two_cases(public_folder / "in"), public_folder / "out"
    output.mkdir()
    output.chmod(0o555)
    status, stderr = run_as_nobody(public_folder, "-i", inputs, "-o", output / below)
    assert status == 2
    assert f"error: folder {output / below}: cannot be made or written to: Permission denied" in stderr


def test_an_output_folder_that_is_a_file_stops_the_run(tmp_path, capsys):
    inputs = two_cases(tmp_path / "in")
    (tmp_path / "out").write_text("")
    assert predict.main(["-i", str(inputs), "-o", str(tmp_path / "out"), "--engine", "box"]) == 2
    assert "cannot be made or written to: File exists" in capsys.readouterr().err


def test_results_never_replace_their_cases(tmp_path, capsys):
    inputs = two_cases(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")
    assert predict.main(["-i", str(inputs), "-o", str(tmp_path / "link"), "--engine", "box"]) == 2
    assert "is the input folder too" in capsys.readouterr().err
    assert len(read_case(inputs / "small.npz").boxes) == 1


WRITER = """
import sys, numpy as np
from pathlib import Path
from graysam.formats.npz import write_labels
labels = np.random.default_rng(0).integers(0, 65535, (64, 512, 512), np.uint16)
write_labels(Path(sys.argv[1]), labels)
"""


@pytest.mark.parametrize("older", [False, True])
def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file_or_none_and_the_next_start_clears_up(tmp_path, older):
    inputs, output = two_cases(tmp_path / "in"), tmp_path / "out"
    output.mkdir()
    target = output / "small.npz"
    if older:
        write_labels(target, GRAY)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, target], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 10_000 for path in output.glob(".*.part")):
        assert writer.poll() is None, "it wrote too fast to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert target.exists() == older
    if older:
        assert np.array_equal(read_labels(target, "segs"), GRAY)
    assert len(list(output.glob(".*.part"))) == 1
    assert list(output.glob("*.npz")) == ([target] if older else [])  # the part never matches *.npz
    assert run("-i", inputs, "-o", output).returncode == 0
    assert sorted(path.name for path in output.iterdir()) == ["large.npz", "small.npz"]
    assert read_labels(target, "segs").sum() == 9


def test_parts_do_not_clear_up_after_each_other(tmp_path):
    inputs, output = two_cases(tmp_path / "in"), tmp_path / "out"
    output.mkdir()
    busy = output / f"{_temporary_prefix('small.npz')}1-2.part"  # the other part is just writing it
    busy.write_bytes(b"half")
    assert run("-i", inputs, "-o", output, "--num-parts", "2", "--part-id", "0").returncode == 0
    assert sorted(path.name for path in output.iterdir()) == sorted([busy.name, "large.npz"])
    assert run("-i", inputs, "-o", output, "--num-parts", "2", "--part-id", "1").returncode == 0
    assert sorted(path.name for path in output.iterdir()) == ["large.npz", "small.npz"]
