"""The Python API: load a model, segment images and volumes.

    from graysam import Segmenter
    segmenter = Segmenter.load()
    labels = segmenter.segment_image(image, boxes)

Arrays and boxes come from the caller, are cleaned here, and go to `graysam.inference`; label maps come back.
The command `graysam predict` does nothing that is not possible here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from graysam.boxes import Box, Notes, VolumeBox, box_numbers, clean_boxes
from graysam.cases import Case, VolumeCase
from graysam.corrections import VolumeClick, clean_corrections
from graysam.engines.protocol import Engine
from graysam.engines.select import checkpoint_of, choose_engine, read_cpu_facts
from graysam.errors import CaseError, CheckpointError, EngineError
from graysam.image.preprocessing import slice_at
from graysam.inference.confidence import read_flag_rule
from graysam.inference.images import Confidences, Labels, PromptedSlice, segment_slice
from graysam.inference.mirror import Mirror
from graysam.inference.overlap import Overlap
from graysam.prompts import USUAL_FIT, BoxFit, Click

if TYPE_CHECKING:  # imported where a volume is segmented: the start of a prediction is timed
    from graysam.inference.starts import Starts

logger = logging.getLogger(__name__)

Clicks = Sequence[Sequence[Click | VolumeClick | Sequence[float]]]
"""For each box its clicks: x, y, is_inside in an image, x, y, z, is_inside in a volume."""


class Segmenter:
    """A loaded model. Not safe for use by several threads at once.

    Attributes:
        engine: the back end in use; its `name`, `precision` and `threads` say what was chosen.
        box_fit: how the boxes fit their objects that it is given: "loose", as people draw them, "tight" or "unknown".
            Only a model with hints is told.
        mirror: when an image is looked at twice, the second time mirrored; see `graysam.inference.mirror`.
        confidences: of the last call: the IoU with the true mask that the model itself predicts, by object (counted
            from 0) and slice (0 for an image).
        flag_below: the confidence below which a mask is likely to be poor, chosen on validation data; None where these
            weights come without it.
    """

    def __init__(
        self,
        engine: Engine,
        box_fit: BoxFit = USUAL_FIT,
        *,
        mirror: Mirror = "auto",
        flag_below: float | None = None,
    ) -> None:
        self.engine = engine
        self.box_fit: BoxFit = box_fit
        self.mirror: Mirror = mirror
        self.flag_below = flag_below
        self.confidences: Confidences = {}

    @classmethod
    def load(
        cls,
        weights: Path | str | None = None,
        engine: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        box_fit: BoxFit = USUAL_FIT,
        expected_calls: int | None = None,
        mirror: Mirror = "auto",
    ) -> Segmenter:
        """Load a model.

        Args:
            weights: a folder as `graysam.export` makes it, or a checkpoint file (torch only). By default the folder
                that GRAYSAM_WEIGHTS names, or those that come with the program.
            engine: "openvino", "torch", or "auto" for OpenVINO where it is installed and its files are there.
            precision: "fp32", "bf16", "int8", or "auto" for the fastest on this CPU for as many calls as are expected.
            threads: CPU threads; by default the cores that this process may use, within its cgroup's quota.
            box_fit: how the boxes will fit their objects: "loose" as people and the challenge draw them, "tight", or
                "unknown".
            expected_calls: how often the encoder and the decoder will be called, once for a slice and once for a box
                on it, as far as known; with few calls "auto" takes a number format that is soon compiled. None: many.
            mirror: whether images are looked at twice, the second time mirrored, and the answers averaged: "auto" for
                few boxes and a quick model, "always", or "never". Volumes are looked at once.

        Raises:
            EngineError: nothing can run the engine or precision wanted; the message says what is missing, and where.
            CheckpointError: the weights are damaged, or not shown how boxes fit, and `box_fit` is unusual.
        """
        path = default_weights() if weights is None else Path(weights)
        facts = read_cpu_facts()
        if threads is not None and threads < 1:
            raise EngineError(f"threads {threads}: wanted at least 1.")
        choice = choose_engine(path, engine, precision, facts, expected_calls)
        count = threads or facts.threads
        rule = read_flag_rule(path)
        flag_below = None if rule is None else rule.below
        if choice.engine == "openvino":
            from graysam.engines.openvino_engine import OpenVinoEngine

            loaded: Engine = OpenVinoEngine.load(path, precision=choice.precision, threads=count)
            return cls(_told(loaded, box_fit), box_fit, mirror=mirror, flag_below=flag_below)
        from graysam.engines.torch_engine import TorchEngine

        loaded = TorchEngine.load(checkpoint_of(path), precision=choice.precision, threads=count)
        return cls(_told(loaded, box_fit), box_fit, mirror=mirror, flag_below=flag_below)

    def segment_image(
        self,
        image: NDArray[Any],
        boxes: Sequence[Box] | ArrayLike,
        overlap: Overlap = "auto",
        *,
        clicks: Clicks | None = None,
        previous: ArrayLike | None = None,
    ) -> Labels:
        """Segment the boxes of one image.

        Args:
            image: (H, W) or (H, W, 3), any integer or float dtype, finite.
            boxes: `Box`es, or (N, 4) numbers x_min, y_min, x_max, y_max in pixels counted from 0, maxima inclusive.
                Parts outside the image are clipped, and a warning is logged.
            overlap: where objects meet, "auto" gives an object inside another one its pixels and all else to the surer
                one, "last" lets the later box win, "confident" the surer one. See `graysam.inference.overlap`.
            clicks: for each box its clicks, each x, y, and whether that pixel belongs to the object; `[]` for a box
                that needs none. Only for a model that `takes_clicks`.
            previous: labels (H, W), the earlier answer that the clicks correct, as this function gave it.

        Returns:
            Labels (H, W): i + 1 for box i, 0 elsewhere; uint8 while that fits, else uint16.

        Raises:
            CaseError: an image of another shape, a box that is no box or lies wholly outside, clicks that do not fit,
                or clicks for a model that takes none.
        """
        _check_image(image, "(H, W) or (H, W, 3)", image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
        cleaned, notes = clean_boxes(box_numbers(boxes, columns=4), size_hw=image.shape[:2])
        corrections, further = clean_corrections(clicks, previous, boxes=len(cleaned), label_shape=image.shape[:2])
        _tell((*notes, *further))
        self.confidences = {}
        return segment_slice(
            self.engine,
            image,
            cleaned,
            overlap=overlap,
            confidences=self.confidences,
            corrections=corrections,
            fit=self.box_fit,
            mirror=self.mirror,
        )

    def segment_volume(
        self,
        volume: NDArray[Any],
        boxes: Sequence[VolumeBox] | ArrayLike,
        overlap: Overlap = "auto",
        *,
        clicks: Clicks | None = None,
        previous: ArrayLike | None = None,
        starts: Starts = "given",
    ) -> Labels:
        """Segment the objects of a volume, each followed from its middle slice to both ends.

        Args:
            volume: (D, H, W), any integer or float dtype, finite.
            boxes: `VolumeBox`es, or (N, 6) numbers x_min, y_min, z_min, x_max, y_max, z_max, counted from 0, maxima
                inclusive; x and y are the object's extent on its middle slice. Parts outside are clipped, and a
                warning is logged.
            overlap: where objects meet, "auto" gives an object inside another one its pixels and all else to the surer
                one, "last" lets the later box win, "confident" the surer one. See `graysam.inference.overlap`.
            clicks: for each box its clicks, each x, y, z, and whether that voxel belongs to the object; `[]` for a box
                that needs none. From each clicked slice the object is followed anew, half way to the next one or to the
                middle. Only for a model that `takes_clicks`.
            previous: labels (D, H, W), the earlier answer that the clicks correct, as this function gave it.
            starts: the slice from which each object is followed: "given", that of its box, or "surest", that of three
                about it on which the model is surest of its answer.

        Returns:
            Labels (D, H, W): i + 1 for box i, 0 elsewhere; uint8 while that fits, else uint16.

        Raises:
            CaseError: a volume of another shape, a box that is no box or lies wholly outside, clicks that do not fit,
                or clicks for a model that takes none.
        """
        from graysam.inference.volumes import segment_volume

        _check_image(volume, "(D, H, W)", volume.ndim == 3)
        cleaned, notes = clean_boxes(box_numbers(boxes, columns=6), size_hw=volume.shape[1:], depth=len(volume))
        corrections, further = clean_corrections(clicks, previous, boxes=cleaned, label_shape=volume.shape)
        _tell((*notes, *further))
        self.confidences = {}
        return segment_volume(
            self.engine,
            volume,
            cleaned,
            overlap=overlap,
            confidences=self.confidences,
            corrections=corrections,
            fit=self.box_fit,
            starts=starts,
        )

    @property
    def takes_clicks(self) -> bool:
        """Tell whether the model is shown clicks and earlier answers; one that is not refuses them."""
        return self.engine.spec.hints

    def prepare_slice(self, image: NDArray[Any], z: int | None = None) -> PromptedSlice:
        """Encode an image, or one slice of a volume, for many prompts, each answered without encoding it again.

            prepared = segmenter.prepare_slice(image)
            answer = prepared.answer([Prompt(Box(120, 80, 260, 210))])[0]
            mask = answer.mask(prepared.size_hw)

        Args:
            image: (H, W) or (H, W, 3); with `z` a volume (D, H, W). Any integer or float dtype, finite.
            z: the slice of the volume, counted from 0.

        Returns:
            The slice; its `answer` takes `graysam.prompts.Prompt`s and gives, in their order, masks and the model's
            confidence in them.

        Raises:
            CaseError: an image of another shape, or no such slice.
        """
        if z is None:
            _check_image(image, "(H, W) or (H, W, 3)", image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
            return PromptedSlice(self.engine, image, self.mirror)
        _check_image(image, "(D, H, W)", image.ndim == 3)
        if not 0 <= z < len(image):
            raise CaseError(f"slice {z}: the volume has slices 0 to {len(image) - 1}.")
        return PromptedSlice(self.engine, slice_at(image, z, self.engine.spec))

    def segment_case(self, case: Case, *, overlap: Overlap = "auto") -> Labels:
        """Segment a case that a reader of `graysam.formats` has checked and cleaned.

        Returns:
            Labels of the case's `label_shape`: i + 1 for box i, 0 elsewhere; uint8 while that fits, else uint16.

        Raises:
            CaseError: the case has clicks, and the model takes none.
        """
        self.confidences = {}
        further: Any = {"corrections": case.corrections, "fit": self.box_fit, "confidences": self.confidences}
        if isinstance(case, VolumeCase):
            from graysam.inference.volumes import segment_volume

            return segment_volume(self.engine, case.image, case.boxes, overlap=overlap, **further)
        return segment_slice(self.engine, case.image, case.boxes, overlap=overlap, mirror=self.mirror, **further)


def default_weights() -> Path:
    """Give the folder of the weights that come with the program, whether it is there or not.

    GRAYSAM_WEIGHTS names it; else it lies in the installed package, or, in a checkout, in weights/graysam beside it.
    """
    chosen = os.environ.get("GRAYSAM_WEIGHTS")
    if chosen:
        return Path(chosen)
    package = Path(__file__).resolve().parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights" / "graysam"


def _told(engine: Engine, box_fit: BoxFit) -> Engine:
    """Refuse to say how boxes fit to a model that is not shown it: that must not be ignored in silence."""
    if box_fit != USUAL_FIT and not engine.spec.hints:
        raise CheckpointError(
            f"box fit {box_fit!r}: the model {engine.spec.name!r} is not shown how boxes fit (its spec.json says no "
            f"'hints'), so that it would change nothing. Leave it out, or choose weights trained with hints."
        )
    return engine


def _check_image(image: NDArray[Any], wanted: str, fits: bool) -> None:
    if not fits or image.size == 0 or image.dtype.kind not in "buif":
        raise CaseError(
            f"image: wanted {wanted}, not empty, of integers or floats; found {image.shape} of {image.dtype}."
        )


def _tell(notes: Notes) -> None:
    """Log what was changed in a caller's boxes; the same is a warning of a case from a file."""
    for note in notes:
        logger.warning("%s", note)
