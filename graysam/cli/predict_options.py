"""The options of `graysam predict`: owns their words, their defaults, and which of them do not go together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

FolderPairs: TypeAlias = Sequence[tuple[Path, Path]]

EPILOGUE = """\
A case is an .npz file with the arrays
  imgs     (H, W) or (H, W, 3) for an image, (D, H, W) for a volume; values 0 to 255
  boxes    (N, 4) x_min y_min x_max y_max, or (N, 6) x_min y_min z_min x_max y_max z_max;
           in pixels counted from 0, maxima belong to the box
A result has the case's file name and the array
  segs     labels of the image's shape: i + 1 inside the object of box i, 0 elsewhere
Cases are also NIfTI, MetaImage, NRRD, DICOM series and pictures, with boxes from --boxes,
--boxes-from, or NAME.boxes.csv next to them: a line of x_min,y_min,x_max,y_max for each object of a
picture (skin.jpg, skin.boxes.csv), x_min,y_min,z_min,x_max,y_max,z_max for one of a volume. The
result has the format and the geometry of the image: skin.png, whose pixel values are the labels;
scan.nii.gz; scan.mha; scan.seg.nrrd; scan.seg.dcm. docs/files.md tells all about it.

A case that fails is named on stderr with its cause, and gets an all-zero map where its shape is
known; the others still run. A result replaces an older one unless --resume is given.

Big folders: --num-parts and --part-id, or the variables of a scheduler, which are used when these
options are missing: SLURM_ARRAY_TASK_ID with _COUNT, _MIN and _STEP (sbatch --array=0-9), or
JOB_COMPLETION_INDEX (Kubernetes indexed job) with GRAYSAM_NUM_PARTS set to its completions.
--num-parts 1 runs the whole folder in any case.

exit status: 0 every case came out; 1 some case failed, the others are there;
             2 nothing could be run: wrong options, folders or weights
"""


def parse_options(argv: Sequence[str] | None, *, prog: str, mounted: FolderPairs) -> argparse.Namespace:
    """Read the command line; wrong options end the program with exit status 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Segment medical images on the CPU: each case (an image or volume with one box for each\n"
        "object) in the input folder becomes a label map of the same name in the output folder.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_folder_options(parser, mounted)
    _add_file_options(parser)
    _add_model_options(parser)
    _add_account_options(parser)
    options = parser.parse_args(argv)
    _check_options(parser, options, mounted)
    return options


def _add_folder_options(parser: argparse.ArgumentParser, mounted: FolderPairs) -> None:
    def default(side: int) -> str:
        return f" (default: {', else '.join(str(pair[side]) for pair in mounted)})" if mounted else ""

    folders = parser.add_argument_group("folders")
    folders.add_argument(
        "-i",
        "--input",
        type=Path,
        metavar="PATH",
        help=f"folder of cases, or one file{default(0)}",
    )
    folders.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder of results, made if missing{default(1)}",
    )
    again = folders.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="leave cases alone whose whole result is there; retry failed"
    )
    again.add_argument(
        "--overwrite",
        action="store_true",
        help="make every result anew; this is the default, spelled out for scripts",
    )
    folders.add_argument("--strict", action="store_true", help="fail cases about which there is a warning")
    folders.add_argument("--num-parts", type=int, metavar="N", help="split the cases into N parts and run only one")
    folders.add_argument("--part-id", type=int, metavar="I", help="which part to run, 0 to N - 1")


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("images that are no .npz")
    boxes = files.add_mutually_exclusive_group()
    boxes.add_argument(
        "--boxes",
        type=Path,
        metavar="PATH",
        help="boxes: a table (.csv, .json), 3D Slicer's .mrk.json, labelme, COCO, or a folder with one for each image",
    )
    boxes.add_argument(
        "--boxes-from", type=Path, metavar="DIR", help="draw boxes round the labels of rough masks in this folder"
    )
    files.add_argument(
        "--box-margin", type=int, metavar="N", help="with --boxes-from: N pixels wider on each side (default: 0)"
    )
    files.add_argument(
        "--modality", metavar="NAME", help="CT, MR, PET, ... where neither the file nor its name tells it"
    )
    files.add_argument(
        "--window",
        default="",
        metavar="W",
        help="intensities that become 0 to 255: soft_tissue, lung, brain, bone, LEVEL/WIDTH, percentiles, suv, range "
        "or as_is (default: by modality)",
    )


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument(
        "--engine",
        choices=("auto", "torch", "openvino", "ellipse", "box"),
        default="auto",
        help="back end (default: the fastest that is here); ellipse and box only fill the boxes",
    )
    model.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "int8"),
        default="auto",
        help="number format (default: the fastest on this CPU for these cases)",
    )
    model.add_argument(
        "--mirror",
        choices=("auto", "always", "never"),
        default="auto",
        help="look at an image twice, the second time mirrored, and average: auto (default), with up to 7 boxes and a "
        "quick model. Volumes are looked at once",
    )
    model.add_argument("--weights", type=Path, metavar="PATH", help="folder or checkpoint of another model")
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: what this process may use)")
    model.add_argument(
        "--overlap",
        choices=("auto", "last", "confident"),
        default="auto",
        help="where objects meet: auto (default), an object inside another one wins, else the surer one; last, the "
        "later box, as in the challenge's baseline; confident, the surer one",
    )
    model.add_argument(
        "--box-fit",
        choices=("loose", "tight", "unknown"),
        default="loose",
        help="how boxes fit their objects: loose (default), drawn a little outside, as people do; tight, touching the "
        "object on all four sides; unknown, they may also cut in. Only weights with hints take what is unusual "
        "(`graysam doctor` tells)",
    )


def _add_account_options(parser: argparse.ArgumentParser) -> None:
    about = parser.add_argument_group("account")
    about.add_argument(
        "--overlay",
        type=Path,
        metavar="DIR",
        help="also draw a PNG for each case there; not in the reported seconds",
    )
    about.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a JSON account: seconds by phase, warnings, errors of each case",
    )
    loudness = about.add_mutually_exclusive_group()
    loudness.add_argument(
        "-q",
        "--quiet",
        dest="verbosity",
        action="store_const",
        const=-1,
        default=0,
        help="only warnings and errors",
    )
    loudness.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="store_const",
        const=1,
        help="also tracebacks of failed cases",
    )


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace, mounted: FolderPairs) -> None:
    """Fill in the folders, and end the program where options do not go together."""
    if (options.input is None) != (options.output is None):
        parser.error("give both -i and -o, or neither" if mounted else "give both -i and -o")
    if options.input is None:
        if not mounted:
            parser.error("give -i, the folder of cases, and -o, the folder of results")
        options.input, options.output = choose_mounted(mounted)
    if options.box_margin is not None and (options.boxes_from is None or options.box_margin < 0):
        parser.error("--box-margin wants --boxes-from, and a number of pixels from 0 on")
    if options.modality is not None:
        from graysam.cases import modality_of

        options.modality = modality_of(options.modality) or parser.error(f"--modality {options.modality}: not known")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads {options.threads}: wanted at least 1")
    if options.engine in ("box", "ellipse") and (options.precision != "auto" or options.weights is not None):
        parser.error(f"--engine {options.engine} has no model, so that --precision and --weights mean nothing")


def choose_mounted(mounted: FolderPairs) -> tuple[Path, Path]:
    """Give the first of the pairs whose input folder holds something, else the first that exists, else the first."""
    present = [pair for pair in mounted if pair[0].is_dir()]
    filled = [pair for pair in present if any(pair[0].iterdir())]
    return (filled or present or list(mounted))[0]
