"""What is known about the objects of a video, and where tracking has to begin for it."""

from dataclasses import dataclass, field, replace
from typing import Literal

from sam_jax.ops import rle

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True)
class Prompt:
    """What was asked about an object on a frame.

    Attributes:
      points: xy in pixels of the video.
      labels: 1 on the object, 0 on what is not part of it, for each point.
      box: XYXY in pixels, or None. Of box, mask and text there is one at most.
      mask: as COCO RLE, of any size.
      text: what the object is called.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: rle.Rle | None = None
    text: str | None = None

    def __bool__(self) -> bool:
        return bool(self.points) or (self.box, self.mask, self.text) != (None, None, None)

    def extends(self, other: "Prompt") -> bool:
        """Whether this is `other`, or `other` and more clicks."""
        n = len(other.points)
        return replace(self, points=self.points[:n], labels=self.labels[:n]) == other


@dataclass(frozen=True)
class Found:
    """An object on a frame.

    Attributes:
      code: its mask as compressed COCO RLE; empty where the object is out of sight.
      iou: predicted IoU of the mask.
      object_logit: > 0 where the object is in the frame.
      version: that its object had when this was found.
    """

    code: rle.Rle
    iou: float
    object_logit: float
    version: int


@dataclass
class Thing:
    """An object: its prompts and what was found, by frame.

    Attributes:
      version: grows whenever the prompts change.
    """

    prompts: dict[int, Prompt] = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)
    version: int = 0

    def outdated(self, frame: int) -> bool:
        """Whether the mask there was tracked before the prompts were last changed."""
        found = self.found.get(frame)
        return found is not None and found.version < self.version and frame not in self.prompts

    def settled(self, frame: int) -> bool:
        """Whether the mask there is what the prompts of today give."""
        return frame in self.found and not self.outdated(frame)


def routes(things: list[Thing], shown: int, num_frames: int, direction: Direction) -> list[range]:
    """The frames that a tracking visits: one range, or two for both directions, from one frame.

    A range is never empty; it begins where each object's mask is known, so far as that is possible.
    """
    settled = [sorted(f for f in thing.found if thing.settled(f)) for thing in things]
    before = [max((f for f in frames if f <= shown), default=None) for frames in settled]
    after = [min((f for f in frames if f >= shown), default=None) for frames in settled]
    first, last = min(min(f) for f in settled), max(max(f) for f in settled)
    ahead = min((f for f in before if f is not None), default=first)
    behind = max((f for f in after if f is not None), default=last)
    if direction == "forward":
        return [range(ahead, num_frames)]
    if direction == "backward":
        if behind == 0:
            raise ValueError("there is nothing before the first frame: track forward")
        return [range(behind, -1, -1)]
    start = min((ahead, behind), key=lambda f: abs(f - shown))
    return [range(start, num_frames), *([range(start, -1, -1)] if start else [])]
