"""A clip, read ahead by a thread, as the windows of frames that `sam_jax.clips` takes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sam_jax.batch.asker import Asker
from sam_jax.batch.inputs import Inputs
from sam_jax.batch.ledger import Item
from sam_jax.batch.prompts import Row
from sam_jax.io.canvas import Canvas
from sam_jax.predictors.prompts import PromptArrays, resize_mask

WINDOW = 16  # frames; what a clip's last window lacks is computed for nothing on accelerators


@dataclass(frozen=True)
class Prompt:
    """What is asked about an object on a frame.

    Attributes:
      place: of the object among those of its clip.
      arrays: points, box and text; None if there is a mask.
      mask: 0 or 1, at the model input's size.
      corrects: it corrects a track, and does not say anew what the object is.
    """

    place: int
    arrays: PromptArrays | None
    mask: UInt8[np.ndarray, "H W"] | None
    corrects: bool


@dataclass(frozen=True)
class Part:
    """Some frames of a clip, in a row.

    Attributes:
      first: number of the first of them.
      images: as the model sees them; at most `WINDOW`.
      prompts: by place among `images`.
      size: height and width of the clip's frames.
      num_frames: of the whole clip.
      known: by place among `images`, the places of the objects that were prompted by then.
    """

    first: int
    images: Sequence[UInt8[np.ndarray, "H W 3"]]
    prompts: dict[int, list[Prompt]]
    size: tuple[int, int]
    num_frames: int
    known: Sequence[Sequence[int]]


class ClipReader:
    """Reads one part ahead, from when it is made. Tracking begins on the first prompted frame."""

    def __init__(self, item: Item, asker: Asker, inputs: Inputs, threads: Executor) -> None:
        self.item = item
        self.objects = sorted({row.object for row in item.rows})
        self._asker = asker
        self._inputs = inputs
        self._threads = threads
        self._parts = self._read()
        self._next: Future[Part | None] = threads.submit(self._one)

    def take(self) -> Part | None:
        """The next part; None after the last.

        Raises:
          OSError, ValueError: the clip is missing or broken, or a prompt makes no sense for it.
        """
        part = self._next.result()
        if part is not None:
            self._next = self._threads.submit(self._one)
        return part

    def _one(self) -> Part | None:
        return next(self._parts, None)

    def _read(self) -> Iterator[Part]:
        if self.item.size is None:
            raise ValueError("there is no such input")
        side = self._asker.model.config.image_size
        with self._inputs.clip(self.item.name) as video:
            count = video.num_frames
            for row in self.item.rows:
                if row.frame >= count:
                    raise ValueError(
                        f"prompt in line {row.line}: there is no frame {row.frame}, the clip has"
                        f" {count}: 0 to {count - 1}"
                    )
            size = (video.height, video.width)
            prompts = self._prompts(size)
            start = min(prompts)
            images: list[np.ndarray] = []
            for _, image in video.model_inputs(side, start=start):
                images.append(image)
                if len(images) == WINDOW:
                    yield self._part(start, images, prompts, size, count)
                    start, images = start + WINDOW, []
            if start + len(images) < count:
                raise ValueError(
                    f"it breaks off after frame {start + len(images) - 1} of {count} frames"
                )
            if images:
                yield self._part(start, images, prompts, size, count)

    def _part(
        self,
        start: int,
        images: Sequence[np.ndarray],
        prompts: dict[int, list[Prompt]],
        size: tuple[int, int],
        count: int,
    ) -> Part:
        here = {frame - start: asked for frame, asked in prompts.items() if frame >= start}
        here = {place: asked for place, asked in here.items() if place < len(images)}
        since = {place: self._first_frame(number) for place, number in enumerate(self.objects)}
        known = [
            [place for place, first in since.items() if first <= start + i]
            for i in range(len(images))
        ]
        return Part(start, images, here, size, count, known)

    def _first_frame(self, number: int) -> int:
        return min(row.frame for row in self.item.rows if row.object == number)

    def _prompts(self, size: tuple[int, int]) -> dict[int, list[Prompt]]:
        """By frame."""
        config = self._asker.model.config
        canvas = Canvas(*size, config.image_size, config.keep_aspect)
        found: dict[int, list[Prompt]] = {}
        for row in self.item.rows:
            mask, arrays = None, None
            if row.mask is not None:
                inside = self._asker.mask(row, size)
                mask = resize_mask(inside, config.image_size).astype(np.uint8)
            else:
                arrays = self._asker.check(row, canvas)
            corrects = row.box is None and self._first_frame(row.object) < row.frame
            prompt = Prompt(self.objects.index(row.object), arrays, mask, corrects)
            found.setdefault(row.frame, []).append(prompt)
        return found


def check_clip_rows(rows: Sequence[Row], name: str) -> None:
    """Raises ValueError for what cannot be asked in a clip; the message names the line."""
    with_mask: set[int] = set()
    for row in rows:
        if row.mask is None:
            continue
        problem = None
        if row.points or row.box or row.text:
            problem = "a mask says all: give it without points, box and text"
        elif row.object in with_mask:
            problem = f"object {row.object} has a second mask: correct it by points or a box"
        if problem:
            raise ValueError(f"prompt in line {row.line}, clip {name}: {problem}")
        with_mask.add(row.object)


def needs(items: Sequence[Item]) -> Any:
    """Sizes that the programs for these clips must have, before they are rounded up.

    Returns:
      The most objects of a clip, points and box corners of a prompt, prompted frames of an object;
      and whether there is a mask.
    """
    rows = [item.rows for item in items]
    return (
        max(len({row.object for row in of}) for of in rows),
        max(len(row.points) + 2 * (row.box is not None) + 1 for of in rows for row in of),
        max(
            sum(row.object == number for row in of)
            for of in rows
            for number in {row.object for row in of}
        ),
        any(row.mask is not None for of in rows for row in of),
    )
