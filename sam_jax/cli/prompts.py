"""Prompts as people type them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POINT_FORM = "X,Y or X,Y,LABEL, such as 500,375 or 500,375,0"
_BOX_FORM = "X0,Y0,X1,Y1, such as 75,275,1725,850"


@dataclass(frozen=True)
class TypedPrompts:
    """Checked prompts, in pixels of the image.

    Attributes:
      points: xy of each click.
      labels: 1 on the object, 0 on what does not belong to it.
      boxes: x0 y0 x1 y1; more than one are as many objects.
      mask: file of a mask prompt.
    """

    points: list[list[float]]
    labels: list[int]
    boxes: list[list[float]]
    mask: Path | None

    def check_inside(self, width: int, height: int, name: str | Path) -> None:
        """Raises ValueError if a click or a box leaves the image called `name`."""
        size = f"outside {name}, which is {width} x {height} (width x height)"
        for x, y in self.points:
            if x > width or y > height:
                raise ValueError(f"--point {x:g},{y:g} is {size}")
        for box in self.boxes:
            if box[2] > width or box[3] > height:
                raise ValueError(f"--box {','.join(f'{v:g}' for v in box)} is partly {size}")


def parse_prompts(
    points: Sequence[str], boxes: Sequence[str], mask: Path | None, text: str | None = None
) -> TypedPrompts:
    """The arguments of --point, --box, --mask and --text.

    Raises:
      ValueError: a malformed or meaningless one, none at all, or several boxes beside others.
    """
    if text is not None and not text.strip():
        raise ValueError("--text is empty: name the thing to segment, such as --text 'a red cup'")
    if not points and not boxes and mask is None and text is None:
        raise ValueError("nothing to segment: give --point X,Y or --box X0,Y0,X1,Y1 or --mask FILE")
    if len(boxes) > 1 and (points or mask is not None or text is not None):
        other = "--point" if points else "--mask" if mask is not None else "--text"
        raise ValueError(
            f"{len(boxes)} boxes are {len(boxes)} objects, and {other} cannot say which it belongs"
            " to: give one --box, or run once for each object"
        )
    clicks = [parse_point(text, what=f"--point {text!r}", form=_POINT_FORM) for text in points]
    return TypedPrompts(
        points=[[x, y] for x, y, _ in clicks],
        labels=[label for _, _, label in clicks],
        boxes=[parse_box(text, what=f"--box {text!r}", form=_BOX_FORM) for text in boxes],
        mask=mask,
    )


def parse_point(text: str, *, what: str, form: str) -> tuple[float, float, int]:
    """X,Y or X,Y,LABEL as x, y, label.

    Args:
      what: begins the message of a refusal, such as --point '500,375'.
      form: what it must look like, with an example.

    Raises:
      ValueError: it does not; or a label that is not 0 or 1, or a coordinate that is not a finite
        positive number.
    """
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise ValueError(f"{what} must be {form}")
    x, y = _coordinates(parts[:2], what)
    label = parts[2].strip() if len(parts) == 3 else "1"
    if label not in ("0", "1"):
        raise ValueError(f"{what} has the label {label!r}: 1 is on the object, 0 is not part of it")
    return x, y, int(label)


def parse_box(text: str, *, what: str, form: str) -> list[float]:
    """X0,Y0,X1,Y1; arguments and refusals as of `parse_point`, and boxes without area."""
    parts = text.split(",")
    if len(parts) != 4:
        raise ValueError(f"{what} must be {form}")
    x0, y0, x1, y1 = box = _coordinates(parts, what)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            f"{what} is empty or inverted: it is left,top,right,bottom, with X0 < X1 and Y0 < Y1"
        )
    return box


def _coordinates(parts: Sequence[str], what: str) -> list[float]:
    try:
        values = [float(part) for part in parts]
    except ValueError:
        raise ValueError(f"{what} has a coordinate that is not a number") from None
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{what} has a coordinate that is not finite")
    if any(value < 0 for value in values):
        raise ValueError(f"{what} has a negative coordinate: 0,0 is the top left corner")
    return values
