"""Prompts on frames of a video, as people type them: FRAME:PROMPT@OBJECT."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam_jax.cli.prompts import parse_box, parse_point

_FORMS = {
    "--point": "FRAME:X,Y or FRAME:X,Y,LABEL, such as 0:500,375 (frame 0 is the first) or, for"
    " object 2, 0:500,375@2",
    "--box": "FRAME:X0,Y0,X1,Y1, such as 0:75,275,850,600 (frame 0 is the first) or, for object 2,"
    " 0:75,275,850,600@2",
    "--mask": "FRAME:FILE, such as 0:mask.png (frame 0 is the first) or, for object 2,"
    " 0:mask.png@2",
}


@dataclass
class ObjectPrompt:
    """What was typed about one object on one frame, in pixels of the frame.

    Attributes:
      points: xy of each click.
      labels: 1 on the object, 0 on what does not belong to it.
      box: x0 y0 x1 y1.
      mask: file of a mask; then there are no clicks and no box.
    """

    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    mask: Path | None = None


class TrackPrompts:
    """Checked prompts of a video: for some frames, for some objects."""

    def __init__(self, frames: dict[int, dict[int, ObjectPrompt]]) -> None:
        self._frames = {frame: dict(sorted(frames[frame].items())) for frame in sorted(frames)}
        self.first = min(frames)
        self.last = max(frames)
        self.objects = sorted({number for prompts in frames.values() for number in prompts})

    def on(self, frame: int) -> dict[int, ObjectPrompt]:
        """Prompts on a frame, by object; empty on most frames."""
        return self._frames.get(frame, {})

    def count_for(self, number: int) -> int:
        """How many frames have a prompt for that object."""
        return sum(number in prompts for prompts in self._frames.values())

    def masks(self) -> Iterator[tuple[int, int, Path]]:
        """Frame, object and file of each mask."""
        for frame, number, prompt in self._all():
            if prompt.mask is not None:
                yield frame, number, prompt.mask

    def check_inside(self, width: int, height: int, name: str | Path) -> None:
        """Raises ValueError if a click or a box leaves the frames of the video called `name`."""
        size = f"outside {name}, whose frames are {width} x {height} (width x height)"
        for frame, number, prompt in self._all():
            whose = f"@{number}" if number != 1 else ""
            for x, y in prompt.points:
                if x > width or y > height:
                    raise ValueError(f"--point {frame}:{x:g},{y:g}{whose} is {size}")
            if prompt.box and (prompt.box[2] > width or prompt.box[3] > height):
                box = ",".join(f"{value:g}" for value in prompt.box)
                raise ValueError(f"--box {frame}:{box}{whose} is partly {size}")

    def check_frames(self, count: int | None, every: int, name: str | Path) -> None:
        """Raises ValueError if a prompted frame is not in the video or not among those read.

        Args:
          count: number of frames of the video called `name`, if that is known.
          every: frames 0, every, 2 * every, ... are read.
        """
        for frame in self._frames:
            if count is not None and frame >= count:
                raise ValueError(
                    f"there is a prompt on frame {frame}, but {name} has {count} frames: 0 to"
                    f" {count - 1}"
                )
            if frame % every:
                before = frame - frame % every
                raise ValueError(
                    f"there is a prompt on frame {frame}, but with --every {every} only the frames"
                    f" 0, {every}, {2 * every}, ... are read: choose {before} or {before + every}"
                )

    def _all(self) -> Iterator[tuple[int, int, ObjectPrompt]]:
        for frame, prompts in self._frames.items():
            for number, prompt in prompts.items():
                yield frame, number, prompt


def parse_track_prompts(
    points: Sequence[str], boxes: Sequence[str], masks: Sequence[str]
) -> TrackPrompts:
    """The arguments of --point, --box and --mask.

    Raises:
      ValueError: a malformed or meaningless one, or none at all, or several for one object and
        frame that exclude each other.
    """
    if not (points or boxes or masks):
        raise ValueError(
            "nothing to track: give --point FRAME:X,Y or --box FRAME:X0,Y0,X1,Y1 or --mask"
            " FRAME:FILE, such as --point 0:500,375"
        )
    frames: dict[int, dict[int, ObjectPrompt]] = {}

    def place(option: str, typed: str) -> tuple[str, ObjectPrompt, str]:
        """The prompt without frame and object, where it goes, and a name of that place."""
        frame, text, number = _split(option, typed)
        prompt = frames.setdefault(frame, {}).setdefault(number, ObjectPrompt())
        return text, prompt, f"object {number} on frame {frame}"

    for typed in points:
        text, prompt, _ = place("--point", typed)
        x, y, label = parse_point(text, what=f"--point {typed!r}", form=_FORMS["--point"])
        prompt.points.append([x, y])
        prompt.labels.append(label)
    for typed in boxes:
        text, prompt, where = place("--box", typed)
        if prompt.box is not None:
            raise ValueError(f"--box {typed!r} is the second box of {where}: {_ANOTHER}")
        prompt.box = parse_box(text, what=f"--box {typed!r}", form=_FORMS["--box"])
    for typed in masks:
        text, prompt, where = place("--mask", typed)
        if prompt.mask is not None:
            raise ValueError(f"--mask {typed!r} is the second mask of {where}: {_ANOTHER}")
        if prompt.points or prompt.box:
            raise ValueError(
                f"--mask {typed!r} comes beside clicks or a box for {where}: a mask says all, so"
                f" drop the others, or {_ANOTHER}"
            )
        prompt.mask = Path(text)
    prompts = TrackPrompts(frames)
    for number in prompts.objects:
        if not any(
            1 in prompt.labels or prompt.box or prompt.mask
            for _, of, prompt in prompts._all()
            if of == number
        ):
            raise ValueError(
                f"object {number} has only clicks on what does not belong to it: add one that does,"
                " or a box or a mask"
            )
    return prompts


_ANOTHER = "give another object its own number, such as @2 at the end"


def _split(option: str, typed: str) -> tuple[int, str, int]:
    """FRAME:TEXT@OBJECT as frame, text, object; the object is 1 if it is not said."""
    what = f"{option} {typed!r}"
    frame, colon, text = typed.partition(":")
    if not colon or not text:
        raise ValueError(f"{what} must be {_FORMS[option]}")
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", frame):
        raise ValueError(f"{what} has the frame {frame!r}: it is a number, and 0 is the first")
    before, at, number = text.rpartition("@")
    if not at or (
        option == "--mask" and not re.fullmatch("[0-9]+", number)
    ):  # a file's name may have an @
        return int(frame), text, 1
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", number):
        raise ValueError(
            f"{what} has the object {number!r}: objects are numbered from 1 to 999999999"
        )
    if not before:
        raise ValueError(f"{what} must be {_FORMS[option]}")
    return int(frame), before, int(number)
