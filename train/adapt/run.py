"""Adapts weights from start to end, and goes on where it was stopped.

Cases come from `train.adapt.cases`; folds are trained by `fit` and compared by `judge`; weights and page go to the
output folder in the end. Unfinished work lies in a hidden folder next to it.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graysam.api import Segmenter
from graysam.console import progress
from graysam.engines.select import TORCH_FILE, read_cpu_facts
from graysam.export import export
from graysam.models.checkpoint import halved, load_model
from graysam.models.network import Network
from train.adapt.cases import AdaptError, Gathered, Reading, gather
from train.adapt.fit import RESULT, Tell, fit, steps_taken
from train.adapt.folds import Fold, Plan, plan_folds
from train.adapt.judge import (
    MOST_PROMPTS,
    AnswerBoth,
    Judged,
    answer_of,
    answers_to_drawn,
    best_share,
    blended,
    drawn_objects,
    held_out_prompts,
    is_clear_gain,
    judge_fold,
    loaded,
    mean_dice,
    pooled,
)
from train.adapt.outcome import Drawn, Outcome, Worst
from train.adapt.recipe import MOST_PASSES, SHARES, Method, chosen_method, recipe, steps_of_a_pass
from train.adapt.report import REPORT_FILE, write_report
from train.engine import NetworkEngine
from train.initial import read_weights
from train.run_folder import write_atomically

logger = logging.getLogger("adapt")

UNWATCHED_SHARE = 0.7
"""Of the new weights, where nothing is watched and nothing else was judged that could choose it."""
CALIBRATION_SLICES = 64
WORST_SHOWN = 3
WATCHED_PROMPTS = 24
FINAL_FILE = "adapted.pt"


@dataclass(frozen=True)
class Settings:
    """What a call of `graysam adapt` is told.

    Attributes:
        data: folder of the labelled cases.
        out: folder that gets the weights and the report.
        weights: folder of the weights to start from.
        minutes: of training in all, over every fold.
        method: what is trained; "auto" chooses by the number of cases.
        seed: of every draw.
        threads: CPU threads.
        reading: how the cases are read.
    """

    data: Path
    out: Path
    weights: Path
    minutes: float = 10.0
    method: Method | None = None
    seed: int = 0
    threads: int = 1
    reading: Reading = field(default_factory=Reading)


def adapt(settings: Settings) -> Outcome:
    """Adapt, export where it helped, and write the report; called again, go on where the last call was stopped.

    Raises:
        AdaptError: the cases, the weights or the output folder are not fit.
        Interrupted: a signal came; the same call goes on.
    """
    _refuse_used(settings.out)
    start = settings.weights / TORCH_FILE
    if not start.is_file():
        raise AdaptError(
            f"{settings.weights}: has no {TORCH_FILE}, which training starts from; give another --weights."
        )
    work = settings.out.with_name(f".{settings.out.name}.adapting")
    _open_work(work, settings)
    gathered = gather(settings.data, work / "cases.store", settings.reading)
    for note in gathered.notes:
        logger.warning("%s", note)
    old = load_model(start)
    outcome = adapt_to(gathered, old, settings, work)
    settings.out.mkdir(parents=True, exist_ok=True)
    if outcome.helped:
        outcome = _exported(outcome, gathered, settings, work)
    write_report(outcome, settings.out / REPORT_FILE, name=settings.out.name)
    shutil.rmtree(work)
    return outcome


def adapt_to(gathered: Gathered, old: Network, settings: Settings, work: Path) -> Outcome:
    """Train and compare, without exporting anything; `work / FINAL_FILE` gets the adapted weights."""
    torch.set_num_threads(settings.threads)
    plan = plan_folds(gathered, seed=settings.seed)
    cases = len({(entry.dataset, entry.case) for entry in gathered.store.entries})
    method = settings.method or chosen_method(cases)
    trainer = _Adapting(gathered, plan, old, method, settings, work)
    with progress(100.0, what="adapt", unit="%") as bar, _quiet_trainer():

        def tell(done: float, what: str) -> None:
            bar.reach(round(100 * done), what)

        judged = [trainer.judge(number, fold, tell) for number, fold in enumerate(plan.folds)]
        shares, share = _chosen_shares(judged)
        new = trainer.final(tell)
    before, after = (
        pooled([each.by_share[0.0] for each in judged]),
        pooled([each.by_share[own] for each, own in zip(judged, shares, strict=True)]),
    )
    weights = blended(old.state_dict(), new, share)
    write_atomically(work / FINAL_FILE, {"model": halved(weights), "spec": old.spec.to_dict()})
    prompts = [prompt for each in judged for prompt in each.prompts]
    names = [f"{prompt.entry.dataset}/{prompt.entry.case}" for prompt in prompts]
    return Outcome(
        cases=cases,
        patients=plan.patients,
        slices=len(gathered.store.entries),
        folds=len(plan.folds),
        method=method,
        steps=trainer.steps(),
        minutes=settings.minutes,
        share=share,
        judged_cases=len(set(names)),
        ellipse=pooled([each.ellipse for each in judged]),
        untouched=before,
        adapted=after,
        drawn=trainer.drawn(weights),
        helped=is_clear_gain(before, after, names),
        worst=trainer.worst(judged, shares),
        notes=(*gathered.notes, *plan.notes),
        modalities=tuple(sorted({entry.modality for entry in gathered.store.entries})),
    )


class _Adapting:
    """The parts of one adaptation: what is trained from what, with the old network at hand."""

    def __init__(
        self, gathered: Gathered, plan: Plan, old: Network, method: Method, settings: Settings, work: Path
    ) -> None:
        self._gathered, self._plan, self._method, self._settings, self._work = gathered, plan, method, settings, work
        self._old, self._answering = old, copy.deepcopy(old)  # the second takes whichever weights are to answer
        # One more model is trained, on all cases: the one that is kept.
        self._runs = len(plan.folds) + 1

    def judge(self, number: int, fold: Fold, tell: Tell) -> Judged:
        """Train on a fold, and compare old and new on its held-out cases."""
        new = self._fit(number, fold, MOST_PASSES, tell)
        store = self._gathered.store
        prompts = held_out_prompts(store, fold.held_out, most=MOST_PROMPTS // len(self._plan.folds))
        watched = held_out_prompts(store, fold.watched, most=WATCHED_PROMPTS) if fold.watched else []
        return judge_fold(prompts, watched, lambda share: self._answer(new, share), SHARES)

    def final(self, tell: Tell) -> Mapping[str, Tensor]:
        """Give the new weights to keep: of all cases, which are seen as often as did best in the watched trainings."""
        folds = self._plan.folds
        passes = [
            steps_taken(self._folder(number)) / steps_of_a_pass(fold.train)
            for number, fold in enumerate(folds)
            if fold.watched
        ]
        kept = Fold(self._plan.learnt, (), ())
        return self._fit(len(folds), kept, float(np.mean(passes)) if passes else MOST_PASSES, tell)

    def drawn(self, weights: Mapping[str, Tensor]) -> Drawn:
        """Compare old and new on drawn pictures."""
        objects = drawn_objects()
        truth = [each.mask for each in objects]
        before = answers_to_drawn(objects, self._answer(self._old.state_dict(), 1.0))
        after = answers_to_drawn(objects, self._answer(weights, 1.0))
        return Drawn(len(objects), mean_dice(truth, before), mean_dice(truth, after), mean_dice(before, after))

    def worst(self, judged: Sequence[Judged], shares: Sequence[float]) -> tuple[Worst, ...]:
        """Give the held-out objects that the adapted weights answer worst, by the loose box."""
        ranked = sorted(
            (float(each.by_share[share][place, :, 0].mean()), number, place)
            for number, (each, share) in enumerate(zip(judged, shares, strict=True))
            for place in range(len(each.prompts))
        )
        found = []
        for after, number, place in ranked[:WORST_SHOWN]:
            prompt, box = judged[number].prompts[place], judged[number].prompts[place].boxes["outwards"]
            new = read_weights(self._folder(number) / RESULT)
            masks = [self._answer(new, share)(prompt.image, [box])[0] for share in (0.0, shares[number])]
            before = float(judged[number].by_share[0.0][place, :, 0].mean())
            name = prompt.entry.case + (f", slice {prompt.entry.z}" if prompt.entry.z >= 0 else "")
            found.append(Worst(name, prompt.image, prompt.mask, masks[0], masks[1], box, before, after))
        return tuple(found)

    def steps(self) -> int:
        """Give the steps of the training whose weights are kept."""
        return steps_taken(self._folder(len(self._plan.folds)))

    def _answer(self, new: Mapping[str, Tensor], share: float) -> AnswerBoth:
        return answer_of(NetworkEngine(loaded(self._answering, blended(self._old.state_dict(), new, share))))

    def _folder(self, number: int) -> Path:
        return self._work / f"run{number}"

    def _fit(self, number: int, fold: Fold, passes: float, tell: Tell) -> dict[str, Tensor]:
        settings = self._settings
        config = recipe(
            self._old.spec,
            fold.train,
            self._method,
            minutes=settings.minutes / self._runs,
            seed=settings.seed + number,
            bf16=read_cpu_facts().has_bf16,
            watched=WATCHED_PROMPTS,
            passes=passes,
        )

        def told(share: float, what: str) -> None:
            tell((number + share) / self._runs, f"training {number + 1} of {self._runs}, {what}")

        return fit(fold, self._gathered.store, config, self._folder(number), old=self._old, tell=told)


def _chosen_shares(judged: Sequence[Judged]) -> tuple[list[float], float]:
    """Choose the share of the new weights: for each fold by the other ones, and for the model that is kept by all.

    With one fold the watched cases choose; where none are watched, it is `UNWATCHED_SHARE`.
    """
    if len(judged) == 1:
        watched = judged[0].watched
        share = best_share(watched) if watched else UNWATCHED_SHARE
        return [share], share
    by_fold = [each.qualities() for each in judged]

    def best_of(numbers: Sequence[int]) -> float:
        return best_share(
            {share: float(np.mean([by_fold[number][share] for number in numbers])) for share in (0.0, *SHARES)}
        )

    everyone = range(len(judged))
    return [best_of([other for other in everyone if other != number]) for number in everyone], best_of(everyone)


def _exported(outcome: Outcome, gathered: Gathered, settings: Settings, work: Path) -> Outcome:
    """Export to the output folder, int8 too where it can be made, and compare int8 with fp32."""
    made = work / "exported"
    shutil.rmtree(made, ignore_errors=True)
    has_int8 = importlib.util.find_spec("nncf") is not None
    calibration = gathered.store.path if has_int8 else None
    logger.info("exporting")
    export(work / FINAL_FILE, made, calibration=calibration, count=CALIBRATION_SLICES)
    notes, agreement = outcome.notes, None
    if has_int8:
        prompts = held_out_prompts(gathered.store, gathered.store.entries, most=WATCHED_PROMPTS)
        answers = []
        for precision in ("fp32", "int8"):
            segmenter = Segmenter.load(made, engine="openvino", precision=precision, threads=settings.threads)
            answer = answer_of(segmenter.engine)
            answers.append([answer(each.image, [each.boxes["outwards"]])[0] for each in prompts])
        agreement = mean_dice(*answers)
    else:
        notes = (*notes, "no int8 files were made, as nncf is not installed: prediction runs in fp32 or bf16.")
    for each in made.iterdir():
        shutil.move(each, settings.out / each.name)
    return replace(outcome, int8_agreement=agreement, notes=notes)


def _refuse_used(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(each.name != REPORT_FILE for each in out.iterdir())):
        raise AdaptError(f"{out}: is there already, and is left as it is; give another --out, or remove it.")


def _open_work(work: Path, settings: Settings) -> None:
    """Make the folder of unfinished work, or take up one of the same settings."""
    files = sorted(path for path in settings.data.rglob("*") if path.is_file()) if settings.data.is_dir() else []
    listing = [[str(path.relative_to(settings.data)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    weights = hashlib.sha256((settings.weights / TORCH_FILE).read_bytes()).hexdigest()
    told = {
        "data": hashlib.sha256(json.dumps(listing).encode()).hexdigest(),
        "weights": weights,
        "minutes": settings.minutes,
        "method": settings.method,
        "seed": settings.seed,
        "reading": {name: value for name, value in asdict(settings.reading).items() if name != "workers"},
    }
    path = work / "settings.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != told:
        raise AdaptError(
            f"{work}: holds unfinished work with other cases or options; give those to go on, or remove the folder to "
            "start anew."
        )
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")


@contextmanager
def _quiet_trainer() -> Iterator[None]:
    """Leave the trainer's own lines, which count in steps, to the log of details."""
    trainer = logging.getLogger("train")
    before = trainer.level
    trainer.setLevel(logging.WARNING)
    try:
        yield
    finally:
        trainer.setLevel(before)
