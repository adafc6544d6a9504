"""Fills a folder with pseudo-objects, goes on where it was stopped, and counts what it did."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graysam.boxes import Box, box_around
from graysam.console import progress
from graysam.engines.protocol import Engine
from graysam.image.preprocessing import prepare_slice
from graysam.store import PackedStore, index_hash
from train.pseudo.boxes import SOURCES, Candidate, candidate_boxes
from train.pseudo.keep import (
    Mask,
    PseudoObject,
    Rules,
    TeacherAnswer,
    ask,
    first_look,
    mask_iou,
    own_box_loosened,
    without_duplicates,
)
from train.pseudo.order import balanced_order
from train.pseudo.shards import (
    REPORT_FILE,
    TRUST_FILE,
    Shard,
    claim_folder,
    name_of,
    read_json,
    read_shards,
    write_json,
    write_shard,
)
from train.pseudo.slices import TrainingSlices
from train.pseudo.soft import SoftTarget, soft_target
from train.pseudo.trust import Trust, datasets_of, measure_trust

logger = logging.getLogger("train")

SLICES_A_SHARD: Final = 100


@dataclass(frozen=True)
class Plan:
    """What is asked, and what is kept.

    Attributes:
        boxes: how many boxes the teacher is prompted with on each slice, at most.
        trust_slices: slices of each data set on which its agreement with the labels is measured.
        trust: the least mean DSC there; data sets below are left out.
        soft: of how many labelled objects of a slice, at most, the teacher's probabilities are kept.
        seed: of the order and of all draws.
        rules: what an answer must fulfil.
    """

    boxes: int = 24
    trust_slices: int = 6
    trust: float = 0.7
    soft: int = 0
    seed: int = 0
    rules: Rules = field(default_factory=Rules)


class Findings(NamedTuple):
    """What a visit gave: pseudo-objects, best first; answers dropped, by reason; probabilities of labelled objects."""

    objects: list[PseudoObject]
    dropped: dict[str, int]
    soft: list[SoftTarget]


Teacher = Callable[[Sequence[Box]], list[TeacherAnswer]]
"""Answers boxes of the slice at hand."""


class PseudoMaker:
    """Asks one teacher about the training slices of one store."""

    def __init__(
        self,
        engine: Engine,
        store: PackedStore,
        folder: Path,
        plan: Plan,
        *,
        teacher_hash: str = "",
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the folder.

        Args:
            engine: the teacher.
            store: only its training split is looked at.
            folder: takes the files of `train.pseudo.shards`.
            plan: what is asked and kept.
            teacher_hash: of the teacher's weights, so that no other one goes on in the folder.
            is_stopped: asked before every slice; once it is true, what was done is written and the work ends.

        Raises:
            PseudoError: the folder is of another store, teacher or plan, or damaged.
        """
        self.slices = TrainingSlices(store)
        self._engine, self._folder, self._plan, self._is_stopped = engine, folder, plan, is_stopped
        origin = {
            "store_index_sha256": index_hash(store.path),
            "teacher": engine.spec.to_dict(),
            "teacher_sha256": teacher_hash,
            "plan": asdict(plan),
        }
        claim_folder(folder, origin)

    def run(self) -> bool:
        """Measure trust, then visit slices; give whether all has been done, and not only until the stop."""
        trusts = self.trusts()
        if trusts is None:
            return False
        order = self.order(trusts)
        shards = read_shards(self._folder)
        shard = Shard(first=sum(len(each) for each in shards))
        with progress(len(order), what="pseudo-objects", unit="slice") as shown:
            shown.reach(shard.first)
            for number in order[shard.first :]:
                if self._is_stopped():
                    break
                started = time.monotonic()
                found = self.visit(number)
                name, seconds = name_of(self.slices.entries[number]), time.monotonic() - started
                shard.add(name, found.objects, found.dropped, seconds, soft=found.soft)
                shown.advance(f"{len(found.objects)} found")
                if len(shard) == SLICES_A_SHARD:
                    write_shard(self._folder, shard)
                    shard = Shard(first=shard.first + len(shard))
        if len(shard):
            write_shard(self._folder, shard)
        return shard.first + len(shard) == len(order)

    def trusts(self) -> dict[str, Trust] | None:
        """Measure the data sets that have not been measured yet, and note each; None when stopped."""
        path, plan = self._folder / TRUST_FILE, self._plan
        known = {name: Trust(**values) for name, values in (read_json(path) if path.exists() else {}).items()}
        all_datasets = datasets_of(self.slices)
        with progress(len(all_datasets), what="trust", unit="data set") as shown:
            shown.reach(len(known))
            for name in [each for each in all_datasets if each not in known]:
                numbers = all_datasets[name][: plan.trust_slices]
                trust = measure_trust(self._engine, self.slices, numbers, is_stopped=self._is_stopped)
                if trust is None:
                    return None
                known[name] = trust
                write_json(path, {each: values._asdict() for each, values in known.items()})
                shown.advance(f"{name} {trust.dsc:.2f}")
        return known

    def order(self, trusts: dict[str, Trust]) -> list[int]:
        """Give the slices of trusted data sets in the order of their visits."""
        trusted = {name for name, trust in trusts.items() if trust.dsc >= self._plan.trust}
        numbers = [number for number, entry in enumerate(self.slices.entries) if entry.dataset in trusted]
        entries = [self.slices.entries[number] for number in numbers]
        return [numbers[place] for place in balanced_order(entries, seed=self._plan.seed)]

    def visit(self, number: int) -> Findings:
        """Ask about a slice: a function of the slice, the teacher and the plan alone."""
        rng = np.random.default_rng([self._plan.seed, number])
        image, labelled = self.slices.image(number), self.slices.masks(number)
        boxes = [box for mask in labelled if (box := box_around(mask))]
        candidates = candidate_boxes(image, boxes, self._plan.boxes, rng)
        prepared = prepare_slice(self.slices.slice_for(self._engine.spec, number), self._engine.spec)
        embedding = self._engine.encode(prepared.canvas)

        def teacher(boxes: Sequence[Box]) -> list[TeacherAnswer]:
            return ask(self._engine, prepared, embedding, boxes)

        objects, dropped = self._pseudo_objects(teacher, candidates, image, labelled, rng)
        return Findings(objects, dropped, self._soft_targets(teacher, labelled, rng))

    def _pseudo_objects(
        self,
        teacher: Teacher,
        candidates: Sequence[Candidate],
        image: NDArray[np.uint8],
        labelled: Sequence[Mask],
        rng: np.random.Generator,
    ) -> tuple[list[PseudoObject], dict[str, int]]:
        """Give the objects, best first, and how many answers were dropped for which reason."""
        rules, size_hw = self._plan.rules, (image.shape[0], image.shape[1])
        answers = teacher([each.box for each in candidates])
        looks = [first_look(answer, each, image, rules) for answer, each in zip(answers, candidates, strict=True)]
        dropped = Counter(look for look in looks if isinstance(look, str))
        # What is thrown away anyway need not be asked for again.
        found, thrown = without_duplicates([look for look in looks if isinstance(look, PseudoObject)], labelled, rules)
        dropped.update(thrown)
        again = teacher([own_box_loosened(each.mask, rng) for each in found])
        judged = [
            replace(each, same_answer=mask_iou(each.mask, answer.mask(size_hw)))
            for each, answer in zip(found, again, strict=True)
        ]
        kept = [each for each in judged if each.same_answer >= rules.same_answer]
        dropped["same answer"] += len(judged) - len(kept)
        return sorted(kept, key=lambda each: each.score, reverse=True), +dropped

    def _soft_targets(self, teacher: Teacher, labelled: Sequence[Mask], rng: np.random.Generator) -> list[SoftTarget]:
        """Ask for some labelled objects by loosened boxes, and keep what agrees with the label in the main."""
        items = [int(each) for each in rng.permutation(len(labelled))[: self._plan.soft]]
        answers = teacher([own_box_loosened(labelled[item], rng) for item in items])
        kept = []
        for item, answer in zip(items, answers, strict=True):
            mask = labelled[item]
            box, size_hw = box_around(mask), (mask.shape[0], mask.shape[1])
            if box is not None and mask_iou(mask, answer.mask(size_hw)) >= self._plan.rules.soft_iou:
                kept.append(soft_target(answer, item, box, size_hw))
        return kept

    def write_report(self) -> dict[str, Any]:
        """Write and give the counts of all sessions."""
        shards = read_shards(self._folder)
        path = self._folder / TRUST_FILE
        trusts = {name: Trust(**values) for name, values in (read_json(path) if path.exists() else {}).items()}
        slices = sum(len(shard) for shard in shards)
        counts = _counts_of(shards)
        dropped: Counter[str] = sum((shard.dropped for shard in shards), Counter())
        left_out = {name: round(trust.dsc, 3) for name, trust in trusts.items() if trust.dsc < self._plan.trust}
        seconds = sum(shard.seconds for shard in shards)
        report = {
            "slices_to_visit": len(self.order(trusts)),
            "slices_visited": slices,
            "objects": sum(counts["sources"].values()),
            "objects_a_slice": round(sum(counts["sources"].values()) / max(1, slices), 2),
            "soft_targets": sum(len(targets) for shard in shards for targets in shard.soft),
            "ms_a_slice": round(1000 * seconds / max(1, slices)),
            "teacher": {"spec": self._engine.spec.name, "engine": self._engine.name, "format": self._engine.precision},
            "left_out_below_trust": dict(sorted(left_out.items())),
            "slices_by_modality": dict(sorted(counts["modalities"].items())),
            "objects_by_dataset": dict(sorted(counts["datasets"].items())),
            "objects_by_source": dict(sorted(counts["sources"].items())),
            "answers_dropped": dict(dropped.most_common()),
        }
        write_json(self._folder / REPORT_FILE, report)
        return report


def _counts_of(shards: Sequence[Shard]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("modalities", "datasets", "sources")}
    for shard in shards:
        for (dataset, _, _), sources in zip(shard.slices, shard.sources, strict=True):
            counts["modalities"][dataset.partition("/")[0]] += 1
            counts["datasets"][dataset] += len(sources)
            counts["sources"].update(SOURCES[each] for each in sources)
    return counts
