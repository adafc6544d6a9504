"""Write files that are whole or absent, and clear up what killed writers left.

The content goes to a temporary name in the same folder, and a rename, which is atomic on POSIX file systems, gives
it its own. So a reader sees the old content, the new content, or no file, whatever happens to the writer:

- an error in the middle removes the temporary file and leaves the old one;
- a kill leaves both; the temporary name is hidden, ends with ".part", and is cleared by `remove_stale_temporaries`;
- of two writers at once, in one process or in several, each has a temporary name of its own, and who ends last wins.

Nothing is promised of a power cut, as nothing waits for the disk.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graysam.errors import GraySamError

TEMPORARY_SUFFIX = ".part"


@contextmanager
def written_whole(path: Path, error: type[GraySamError] = GraySamError) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` when the block ends without error.

    Raises:
        GraySamError: of the class `error`; the block or the rename failed with an OSError: folder missing or
            read-only, disk full, quota.
    """
    tag = f"{os.getpid()}-{os.urandom(4).hex()}"
    temporary = path.with_name(f"{_temporary_prefix(path.name)}{tag}{TEMPORARY_SUFFIX}")
    try:
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as cause:
        raise error(
            f"{path.name}: cannot be written to {path.parent}: {cause.strerror or cause}. "
            "Check that the folder exists, is writable and has room."
        ) from cause


def remove_stale_temporaries(folder: Path, names: Iterable[str]) -> list[Path]:
    """Delete what killed writers of one of the file `names` left in `folder`, and list it.

    Temporaries of other names stay, so that the parts of a folder can run side by side. A missing folder has none.
    """
    if not folder.is_dir():
        return []
    ours = {_temporary_prefix(name) for name in names}
    stale = [
        entry
        for entry in sorted(folder.glob(f".graysam-*{TEMPORARY_SUFFIX}"))
        if entry.name[: len(_temporary_prefix(""))] in ours
    ]
    for entry in stale:
        entry.unlink(missing_ok=True)
    return stale


def _temporary_prefix(name: str) -> str:
    """Give how temporary names for `name` begin: short, as `name` itself may fill the 255 bytes allowed."""
    return f".graysam-{zlib.crc32(os.fsencode(name)):08x}-"
