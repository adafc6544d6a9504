"""Train on a borrowed machine that takes little at a time, keeps nothing, and stops every command after ten minutes.

Here:   python -m train.gpu_session cut --store S --folder .gpu --run runs/x
There:  python3 -m train.gpu_session receive .gpu/piece-000 --into /tmp/graysam          (once for each piece)
There:  python3 -m train.gpu_session train --into /tmp/graysam --config C --minutes 24 --out "$OUT"   (repeatedly)
Here:   python -m train.gpu_session collect FOLDER --out runs/x

`cut` lays every piece into a folder of its own, since each call carries one, and prints the calls to make. `train`
works for at most `--limit-minutes` (9), all told, and goes on where the call before it stopped; it hands the run back
as pieces that the way back takes. `collect` joins those to a run folder, which `cut` can send out again next time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from graysam.errors import GraySamError
from graysam.store import join_files, split_file

logger = logging.getLogger("train")

MIB = 1 << 20
# Limits of the borrowed machine (its README): what travels in one call, and the files that come back.
CALL_BYTES = 64 * MIB
LARGEST_PIECE_BYTES = 60 * 10**6
SPARE_BYTES = 2 * MIB
RETURNED_PIECE_BYTES = 15 * MIB
RETURNED_BYTES = 63 * MIB
# Kept back from a call's minutes for the last validation, the pictures and the way home.
RESERVED_MINUTES = 1.0
STORE_NAME, RUN_NAME, PLAN_NAME = "packed.store", "run.tar", "plan.json"
REPOSITORY = Path(__file__).resolve().parent.parent


class GpuSessionError(GraySamError):
    """Pieces are missing or damaged, or what is to travel is too large."""


def cut(store: Path, folder: Path, *, run: Path | None, piece_bytes: int) -> list[Path]:
    """Cut a store, and a run to go on with, into folders of one piece each; give those folders.

    Raises:
        GpuSessionError: the folder holds pieces already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise GpuSessionError(f"{folder}: is not empty; remove it, or cut into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    whole = {STORE_NAME: store}
    if run is not None and (run / "last.pt").is_file():
        whole[RUN_NAME] = pack_run(run, folder / RUN_NAME, most_bytes=None)
    plan = {name: hash_of(path) for name, path in whole.items()}
    places: list[Path] = []
    for name, path in whole.items():
        loose = folder / "loose"
        for piece in split_file(path, loose, piece_bytes=piece_bytes):
            place = folder / f"piece-{len(places):03d}"
            place.mkdir()
            piece.replace(place / f"{name}{piece.suffix}")
            (place / PLAN_NAME).write_text(json.dumps(plan))
            places.append(place)
        loose.rmdir()
    (folder / RUN_NAME).unlink(missing_ok=True)
    return places


def room_for_a_piece(repository: Path) -> int:
    """Count the bytes that a call can carry beside the repository's own files.

    Raises:
        GpuSessionError: the repository alone is too large.
    """
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-co", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [repository / name for name in listed.stdout.split("\0") if name]
    tree = sum(path.stat().st_size for path in paths if path.is_file())
    room = CALL_BYTES - SPARE_BYTES - tree
    if room < MIB:
        raise GpuSessionError(f"{repository}: its files take {tree} bytes, and a call at most {CALL_BYTES}.")
    return min(room, LARGEST_PIECE_BYTES)


def receive(piece: Path, into: Path) -> None:
    """Keep a piece on the borrowed machine."""
    pieces = into / "pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    for path in piece.iterdir():
        shutil.copyfile(path, pieces / path.name)


def assemble(into: Path) -> None:
    """Join what was received, once; a run is unpacked where none is under way.

    Raises:
        GpuSessionError: a piece is missing or damaged.
    """
    if (into / STORE_NAME).exists():
        return
    plan_path = into / "pieces" / PLAN_NAME
    if not plan_path.exists():
        raise GpuSessionError(f"{into}: nothing was received; the machine starts bare, so send every piece again.")
    for name, wanted in json.loads(plan_path.read_text()).items():
        joined = into / f"{name}.joined"
        join_files([path for path in (into / "pieces").iterdir() if path.name.startswith(f"{name}.")], joined)
        if hash_of(joined) != wanted:
            raise GpuSessionError(f"{name}: a piece is missing or damaged; send every piece again.")
        joined.replace(into / name)
    if (into / RUN_NAME).exists() and not (into / "run").exists():
        unpack_run(into / RUN_NAME, into / "run")


def pack_run(run: Path, archive: Path, *, most_bytes: int | None) -> Path:
    """Put a run's files into one archive; where they are too large for it, last.pt stays behind."""
    files = sorted(path for path in run.iterdir() if path.is_file() and path.suffix != ".part")
    total = sum(path.stat().st_size + 2048 for path in files)
    if most_bytes is not None and total > most_bytes:
        logger.warning("last.pt stays behind: %d bytes are more than %d; go on with --init best.pt", total, most_bytes)
        files = [path for path in files if path.name != "last.pt"]
    with tarfile.open(archive, "w") as out:
        for path in files:
            out.add(path, path.name)
    return archive


def unpack_run(archive: Path, run: Path) -> None:
    """Unpack what `pack_run` made; names that lead out of the folder are refused."""
    run.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as source:
        source.extractall(run, filter="data")


def train(options: argparse.Namespace) -> None:
    """Train for what is left of this call's minutes, and hand the run back."""
    started = time.monotonic()
    from train.run import main as run_training  # PyTorch is imported where it is needed: the other verbs are quick

    assemble(options.into)
    run = options.into / "run"
    arguments = ["--config", str(options.config), "--store", str(options.into / STORE_NAME), "--out", str(run)]
    arguments += ["--minutes", str(options.minutes)]
    if options.init:
        arguments += ["--init", str(options.init)]
    if options.device:
        arguments += ["--device", options.device]
    spent = (time.monotonic() - started) / 60
    left = max(0.0, options.limit_minutes - spent - min(RESERVED_MINUTES, options.limit_minutes / 4))
    run_training([*arguments, "--session-minutes", str(left), "--deadline"])
    hand_back(run, options.out)


def hand_back(run: Path, out: Path) -> list[Path]:
    """Lay a run out as pieces that the way back takes."""
    out.mkdir(parents=True, exist_ok=True)
    archive = pack_run(run, run.parent / "returned.tar", most_bytes=RETURNED_BYTES)
    archive.replace(run.parent / RUN_NAME)
    return split_file(run.parent / RUN_NAME, out, piece_bytes=RETURNED_PIECE_BYTES)


def collect(folder: Path, run: Path) -> None:
    """Join what came back to a run folder.

    Raises:
        GpuSessionError: nothing came back.
    """
    pieces = sorted(folder.glob(f"{RUN_NAME}.*"))
    if not pieces:
        raise GpuSessionError(f"{folder}: no {RUN_NAME}.000 and so on.")
    run.mkdir(parents=True, exist_ok=True)
    archive = run.parent / f".{run.name}.{RUN_NAME}"
    join_files(pieces, archive)
    unpack_run(archive, run)
    archive.unlink()


def hash_of(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def calls_to_make(places: Sequence[Path], *, config: str) -> str:
    """Describe the calls that bring the pieces over and train."""
    lines = [f"{len(places)} pieces. The machine keeps them for seconds only, so make these calls without a pause:"]
    for place in places:
        lines.append(f"  carry {place}: python3 -m train.gpu_session receive {place} --into /tmp/graysam")
    lines.append(
        "  then, as often as there is time: "
        f'python3 -m train.gpu_session train --into /tmp/graysam --config {config} --minutes 24 --out "$OUT"'
    )
    return "\n".join(lines)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    cutting = verbs.add_parser("cut", help="here: cut a store and a run into pieces, and print the calls to make")
    cutting.add_argument("--store", type=Path, required=True, help="best packed with --codec jpeg")
    cutting.add_argument("--folder", type=Path, default=Path(".gpu"), help="name it in .git/info/exclude")
    cutting.add_argument("--run", type=Path, help="run folder to go on with")
    cutting.add_argument("--piece-mb", type=float, help="default: what a call takes beside the repository, at most 60")
    receiving = verbs.add_parser("receive", help="there: keep a piece")
    receiving.add_argument("piece", type=Path)
    receiving.add_argument("--into", type=Path, required=True)
    training = verbs.add_parser("train", help="there: train within one call, and hand the run back")
    training.add_argument("--into", type=Path, required=True)
    training.add_argument("--config", type=Path, required=True)
    training.add_argument("--minutes", type=float, required=True, help="of the whole run, over all calls")
    training.add_argument("--limit-minutes", type=float, default=9.0, help="of this call (default: 9)")
    training.add_argument("--init", type=Path, help="weights to start a fresh run from")
    training.add_argument("--device", help="default: the GPU where there is one")
    training.add_argument("--out", type=Path, required=True, help="folder for the pieces that come back")
    collecting = verbs.add_parser("collect", help="here: join what came back to a run folder")
    collecting.add_argument("folder", type=Path)
    collecting.add_argument("--out", type=Path, required=True, help="run folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Do one verb; exit status 1 when it cannot be done."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        if options.verb == "cut":
            piece_bytes = int(options.piece_mb * 1e6) if options.piece_mb else room_for_a_piece(REPOSITORY)
            places = cut(options.store, options.folder, run=options.run, piece_bytes=piece_bytes)
            print(calls_to_make(places, config="train/configs/graysam-gpu.toml"))
        elif options.verb == "receive":
            receive(options.piece, options.into)
        elif options.verb == "train":
            train(options)
        else:
            collect(options.folder, options.out)
    except GraySamError as error:
        logger.error("gpu_session: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
