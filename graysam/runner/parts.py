"""Which share of a folder this process runs, by its options or by the cluster's scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from graysam.errors import CaseError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """A share of a folder: the cases whose place in the sorted list is `index` modulo `count`."""

    index: int = 0
    count: int = 1
    source: str = "the command line"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise CaseError(
                f"part {self.index} of {self.count} ({self.source}): wanted a count of at least 1 and an id "
                "from 0 to count - 1."
            )

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Give this part's share of `items`; all parts together give each item once."""
        return list(items[self.index :: self.count])

    @property
    def suffix(self) -> str:
        """Give ".part2of10", counted from 0, or nothing when there is one part."""
        return f".part{self.index}of{self.count}" if self.count > 1 else ""


def choose_part(num_parts: int | None, part_id: int | None, environment: Mapping[str, str]) -> Part:
    """Give the part to run: by the options; what they leave out comes from the cluster's scheduler.

    Understood are SLURM arrays (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) and Kubernetes indexed jobs
    (JOB_COMPLETION_INDEX; Kubernetes does not tell the count, so set GRAYSAM_NUM_PARTS to the job's
    `completions`). `num_parts` 1 runs the whole folder whatever the environment says.

    Raises:
        CaseError: an id without a count, a count of several without an id, or numbers that make no part.
    """
    if num_parts == 1 and part_id is None:
        return Part()
    if num_parts is not None and part_id is not None:
        return Part(part_id, num_parts)
    found_id, found_count, source = _part_of_scheduler(environment)
    index = found_id if part_id is None else part_id
    count = found_count if num_parts is None else num_parts
    if index is None and count is None:
        return Part()
    if count is None:
        raise CaseError(
            f"part {index} ({source}), but of how many? Give --num-parts, or set GRAYSAM_NUM_PARTS; "
            "--num-parts 1 runs the whole folder."
        )
    if index is None:
        raise CaseError(f"--num-parts {count}, but which part? Give --part-id, from 0 to {count - 1}.")
    return Part(index, count, source)


def _part_of_scheduler(environment: Mapping[str, str]) -> tuple[int | None, int | None, str]:
    """Give part id (from 0) and count as far as the environment tells them, and which variable told."""

    def number(name: str) -> int | None:
        text = environment.get(name)
        try:
            return int(text) if text else None
        except ValueError as error:
            raise CaseError(f"environment variable {name} is {text!r}, wanted a whole number.") from error

    count = number("GRAYSAM_NUM_PARTS")
    task = number("SLURM_ARRAY_TASK_ID")
    if task is not None:
        offset = task - (number("SLURM_ARRAY_TASK_MIN") or 0)
        index, rest = divmod(offset, number("SLURM_ARRAY_TASK_STEP") or 1)
        if rest:
            raise CaseError(
                f"SLURM_ARRAY_TASK_ID {task} is not a whole number of SLURM_ARRAY_TASK_STEP from the start."
            )
        return index, number("SLURM_ARRAY_TASK_COUNT") or count, "from SLURM_ARRAY_TASK_ID"
    index_of_job = number("JOB_COMPLETION_INDEX")
    if index_of_job is not None:
        return index_of_job, count, "from JOB_COMPLETION_INDEX"
    return None, count, "from GRAYSAM_NUM_PARTS"
