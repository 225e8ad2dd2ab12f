"""What a reader gives: one video (or picture) that is opened where and when it is looked at."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, UInt8


class BadSource(ValueError):
    """A set of data that cannot be used; the message says what is wrong and what to do."""


class BrokenSample(ValueError):
    """A sample that cannot be trained on; the message names the file and what is wrong with it."""


class Video(Protocol):
    """A video of one or more annotated frames. A picture is a video of one frame."""

    @property
    def name(self) -> str:
        """Unique in its source, and fit for a folder's name (which may have parts)."""
        ...

    @property
    def annotated(self) -> Sequence[int]:
        """The frames of which `masks` is not None, in order.

        Raises:
          BrokenSample: that cannot be told.
        """
        ...

    def __len__(self) -> int:
        """How many frames there are."""
        ...

    def frame_name(self, t: int) -> str:
        """The frame's file name without its ending."""
        ...

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        """A frame, RGB.

        Raises:
          BrokenSample: it cannot be read.
        """
        ...

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        """Visible pixels of the objects by id; None for a frame without annotation.

        An object that is absent from an annotated frame may be missing or all false.

        Raises:
          BrokenSample: they cannot be read, or do not fit the frame; perhaps only when the mask of
            an object is asked for.
        """
        ...
