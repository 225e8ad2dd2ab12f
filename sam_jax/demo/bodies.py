"""What the page may send as JSON: strict types, finite numbers, bounded lengths."""

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import BaseModel, ConfigDict, Field

from sam_jax.demo.refusal import Refusal
from sam_jax.ops import rle

MOST_CLICKS = 28  # with a box and the closing token they fit the largest bucket of points
MOST_OBJECTS = 300

Pixels = Annotated[float, Field(ge=0, le=1e5)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=1 << 14)]
Channel = Annotated[int, Field(ge=0, le=255)]


class Body(BaseModel):
    """Numbers may be whole where fractions are meant, and that is all that is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Runs(Body):
    """A mask as `masks.runs` gives it."""

    size: Annotated[
        list[Annotated[int, Field(ge=1, le=1 << 14)]], Field(min_length=2, max_length=2)
    ]
    counts: Annotated[list[Annotated[int, Field(ge=0, le=1 << 28)]], Field(max_length=200_000)]

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """The pixels.

        Raises:
          Refusal: of another size, or empty.
          ValueError: the runs do not add up.
        """
        if tuple(self.size) != size:
            raise Refusal(400, f"the mask is {self.size}, the picture shown is {list(size)}")
        mask = rle.decode({"size": self.size, "counts": self.counts})
        if not mask.any():
            raise Refusal(400, "the mask is empty: paint where the object is")
        return mask


class Click(Body):
    """Pixels of the picture; label 1 is on the object, 0 is not part of it."""

    x: Pixels
    y: Pixels
    label: Literal[0, 1]


class Question(Body):
    """Clicks, a box, words; or some of them.

    Attributes:
      box: XYXY in pixels of the picture.
    """

    clicks: Annotated[tuple[Click, ...], Field(max_length=MOST_CLICKS, strict=False)] = ()
    box: Annotated[list[Pixels], Field(min_length=4, max_length=4)] | None = None
    text: Annotated[str, Field(max_length=200)] | None = None

    def arguments(self) -> dict[str, Any]:
        """Of `ImagePredictor.predict`.

        Raises:
          Refusal: nothing is asked.
        """
        text = (self.text or "").strip() or None
        if not self.clicks and self.box is None and text is None:
            raise Refusal(400, "nothing is prompted: click on an object, or draw a box around it")
        return {
            "point_coords": np.array([[c.x, c.y] for c in self.clicks]) if self.clicks else None,
            "point_labels": np.array([c.label for c in self.clicks]) if self.clicks else None,
            "box": None if self.box is None else np.array(self.box),
            "text": text,
        }


class Chosen(Question):
    """An ambiguous question, and which of its three answers was chosen."""

    candidate: Annotated[int, Field(ge=0, le=2)]


class Prompt(Question):
    """What describes one object.

    Attributes:
      mask: painted or loaded.
      start: an answer that is refined, in place of a mask; the clicks hold its clicks, too.
      multimask: three candidates.
    """

    mask: Runs | None = None
    start: Chosen | None = None
    multimask: bool = False

    def arguments(self) -> dict[str, Any]:
        """Of `ImagePredictor.predict`, but for the mask."""
        if self.mask is not None and self.start is not None:
            raise Refusal(400, "a mask and an answer to refine exclude each other: give one")
        words = (self.text or "").strip()
        alone = self.mask is not None and not (self.clicks or self.box or words)
        given = {} if alone else super().arguments()
        return {**given, "multimask_output": self.multimask}
