"""What the model is asked about the open case, and its answers: prompts as prediction makes them of the same facts.

Reads the document and changes nothing. Embeddings of the slices at hand are kept, so that a further question about a
slice costs one decoding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from graysam.api import Segmenter
from graysam.boxes import Box, VolumeBox, box_around
from graysam.cases import Case, VolumeCase
from graysam.errors import CaseError
from graysam.image.preprocessing import slice_at
from graysam.inference.images import BoxAnswer, PromptedSlice, with_clicks
from graysam.inference.propagation import propagated_prompt, start_box
from graysam.prompts import USUAL_FIT, BoxFit, Click, Neighbour, Prompt, box_rows
from graysam.view.document import ClickNumbers, Document, box_of_masks, volume_box
from graysam.view.masks import SliceMask

# Embeddings at hand: of the default model 2 MB each with their slice; a person scrolls to and fro over a few.
SLICES_KEPT: Final = 24


class Prompter:
    """Asks the model about objects of a case, as its document has them."""

    def __init__(self, segmenter: Segmenter, case: Case, document: Document) -> None:
        self._segmenter = segmenter
        self._case = case
        self._document = document
        self._volume = case if isinstance(case, VolumeCase) else None
        height, width = case.label_shape[-2:]
        self._size_hw = (height, width)
        self._prepared: OrderedDict[int, PromptedSlice] = OrderedDict()

    @property
    def takes_clicks(self) -> bool:
        """Tell whether the model is shown clicks, earlier answers and how a box fits."""
        return self._segmenter.takes_clicks

    def answer(self, z: int, prompts: Sequence[Prompt]) -> list[BoxAnswer]:
        """Answer prompts on a slice, in their order."""
        return self._slice(z).answer(prompts)

    def box(self, number: int, z: int) -> tuple[Box, BoxFit]:
        """Give the box of an object on a slice, and how it fits.

        It is the one that was drawn there; else one of unknown fit: round the mask there, or the cross-section of the
        object's ellipsoid.

        Raises:
            CaseError: the object has nothing there.
        """
        numbers = self._document.get(number, "box", z)
        if numbers is not None:
            return Box(*numbers), self._document.get(number, "fit", z) or USUAL_FIT
        mask: SliceMask | None = self._document.get(number, "mask", z)
        box = None if mask is None else box_around(mask.to_mask())
        given = volume_box(self._document, number)
        if box is None and given is not None and given.z_min <= z <= given.z_max:
            box = start_box(given, z, self._size_hw)
        if box is None:
            raise CaseError("draw a box on this slice first.")
        return box, "unknown"

    def prompt(
        self,
        number: int,
        z: int,
        box: Box,
        fit: BoxFit,
        clicks: Sequence[ClickNumbers] = (),
        previous: SliceMask | None = None,
    ) -> Prompt:
        """Make the prompt for an object on a slice.

        Args:
            number: the object.
            z: the slice.
            box: inside the slice.
            fit: how it fits.
            clicks: those on the slice; the box grows to hold the ones inside.
            previous: the mask that they correct.
        """
        prompt = Prompt(box, fit=fit)
        if not self.takes_clicks:
            return prompt
        known = None if previous is None or previous.is_empty else previous.to_mask()
        return with_clicks(self._in_context(prompt, number, z), tuple(Click(*each) for each in clicks), known)

    def propagated(self, number: int, z: int, neighbour: int) -> SliceMask:
        """Find an object on a slice, from what was found on the neighbouring one."""
        found: SliceMask | None = self._document.get(number, "mask", neighbour)
        known = None
        if found is not None and not found.is_empty:
            known = Neighbour(slice_at(self._case.image, neighbour, self._segmenter.engine.spec), found.to_mask())
        boxes, index = self._boxes_with(number)
        fit: BoxFit = self._document.get(number, "fit", boxes[index].key_slice) or USUAL_FIT
        hints = self.takes_clicks
        prompt = propagated_prompt(boxes, index, z, known, size_hw=self._size_hw, hints=hints, fit=fit)
        return SliceMask.of_answer(self.answer(z, [prompt])[0], self._size_hw, "follow")

    def _in_context(self, prompt: Prompt, number: int, z: int) -> Prompt:
        """Add the other boxes of the slice, and where in its object the slice lies."""
        others = [each for each in self._document.objects if each != number]
        if self._volume is None:
            found = [self._document.get(each, "box", z) for each in others]
            return replace(prompt, others=box_rows([Box(*box) for box in found if box is not None]))
        given = [box for each in others if (box := volume_box(self._document, each)) is not None]
        sections = [box.cross_section(z).within(self._size_hw) for box in given if box.z_min <= z <= box.z_max]
        own = volume_box(self._document, number)
        place = own.place(z) if own is not None and own.z_min <= z <= own.z_max else 0.0
        return replace(prompt, others=box_rows(sections), place=place)

    def _boxes_with(self, number: int) -> tuple[list[VolumeBox], int]:
        """Give the boxes of all objects that have one, as the Python API would be given them, and which is `number`."""
        boxes: list[VolumeBox] = []
        index = 0
        for each in self._document.objects:
            box = volume_box(self._document, each)
            if each == number:
                index = len(boxes)
                box = box or box_of_masks(self._document, each)
            if box is not None:
                boxes.append(box)
        return boxes, index

    def _slice(self, z: int) -> PromptedSlice:
        """Give a slice with its embedding, encoded now unless it is at hand."""
        if z not in self._prepared:
            self._prepared[z] = self._segmenter.prepare_slice(self._case.image, None if self._volume is None else z)
            while len(self._prepared) > SLICES_KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(z)
        return self._prepared[z]
