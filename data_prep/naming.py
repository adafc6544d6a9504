"""Names cases as the challenge does, `2DBox_<Modality>_<identity>`, in letters that any system takes, no two alike."""

from __future__ import annotations

import os
import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_prep.loading import LoadedSource
from data_prep.sources import Source

# A file's name may have 255 bytes; dimension, modality, sum and suffix are added.
LONGEST_IDENTITY = 200

# The challenge's own word where it differs from the canonical one.
_NAME_IN_FILES = {"Microscopy": "Microscope"}


def case_name(source: Source, loaded: LoadedSource, identity: str = "") -> str:
    """Give the challenge's name: dimension, modality, and the identity (by default as `identity_of` gives it)."""
    token = _NAME_IN_FILES.get(loaded.modality, loaded.modality)
    return f"{'3D' if loaded.is_volume else '2D'}Box_{token}_{identity or identity_of(source)}"


def identity_of(source: Source) -> str:
    """Give data set and case in letters that any system takes.

    Letters beyond ASCII cannot be spelt so; a name that has some ends with a sum of the whole name, so that two names
    stay two.
    """
    name = f"{Path(source.dataset).name}_{source.case}"
    plain = _in_plain_letters(name)
    if len(plain) > LONGEST_IDENTITY:
        return f"{plain[:LONGEST_IDENTITY]}_{_sum_of(name)}"
    return plain if name.isascii() else f"{plain}_{_sum_of(source.case)}".strip("_")


def _in_plain_letters(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def _sum_of(name: str) -> str:
    return f"{zlib.crc32(os.fsencode(name)):08x}"


def identities_of(sources: Sequence[Source]) -> dict[str, str]:
    """Give each source's identity by its name; where two would be the same, those that were spelt anew get a sum."""
    groups: dict[tuple[bool, str, str], list[Source]] = defaultdict(list)
    for source in sources:
        groups[source.is_volume, source.modality, identity_of(source).lower()].append(source)
    identities = {}
    for group in groups.values():
        for source in group:
            plain = identity_of(source)
            as_it_is = plain == f"{Path(source.dataset).name}_{source.case}"
            spelt = plain if len(group) == 1 or as_it_is else f"{plain}_{_sum_of(source.name)}"
            identities[source.name] = spelt
    return identities
