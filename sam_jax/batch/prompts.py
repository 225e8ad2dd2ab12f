"""prompts.jsonl: a line for each object of a picture, or for each prompt of an object of a clip."""

import difflib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sam_jax.io import storage

_KEYS = ("input", "object", "frame", "points", "labels", "box", "mask", "text")


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked about one object, on one frame if it is in a clip.

    Attributes:
      line: of the file, for messages; from 1.
      object: its number, from 1.
      frame: from 0; of a picture 0.
      points: xy in pixels of the picture or frame.
      labels: 1 on the object, 0 on what does not belong to it.
      box: x0 y0 x1 y1, or None.
      mask: a file's name, or a COCO run-length code, or None.
      text: what the object is called, or None.
    """

    line: int
    object: int = 1
    frame: int = 0
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, ...] | None = None
    mask: Any = None
    text: str | None = None

    @property
    def is_on_object(self) -> bool:
        """Whether it says where the object is, and not only where it is not."""
        return 1 in self.labels or any(x is not None for x in (self.box, self.mask, self.text))


Rows = dict[str, tuple[Row, ...]]  # by input, in order of object and frame


def read_prompts(data: bytes, name: str) -> Rows:
    """The lines of a prompts file, by the input that they are about, in order of appearance.

    Args:
      name: of the file, for messages.

    Raises:
      ValueError: a line that is no prompt, two for one object and frame, or an object of which
        nothing says where it is. The message names the line.
    """
    rows: dict[str, dict[tuple[int, int], Row]] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            values = json.loads(line, object_pairs_hook=_each_once)
        except _TwiceError as error:
            raise ValueError(f"{where}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        try:
            picture, row = _row(values, number)
            same = rows.setdefault(picture, {})
            before = same.setdefault((row.object, row.frame), row)
            if before is not row:
                raise ValueError(
                    f"object {row.object} of {picture} has its prompt for frame {row.frame} in line"
                    f" {before.line} already: give another object its own number"
                )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if not rows:
        raise ValueError(f"{name} holds no prompts: a line is such as {_EXAMPLE}")
    found = {picture: tuple(same[key] for key in sorted(same)) for picture, same in rows.items()}
    for picture, prompts in found.items():
        for number in {row.object for row in prompts}:
            of_object = [row for row in prompts if row.object == number]
            if not any(row.is_on_object for row in of_object):
                raise ValueError(
                    f"{name}, line {of_object[0].line}: object {number} of {picture} has only"
                    " points on what does not belong to it: add one that does, or a box or a mask"
                )
    return found


def prompts_hash(data: bytes, rows: Rows, folder: str) -> str:
    """Of a prompts file and, as of inputs, of the sizes of the masks that it names.

    Args:
      folder: where these are.
    """
    digest = hashlib.sha256(data)
    masks = {row.mask for prompts in rows.values() for row in prompts if isinstance(row.mask, str)}
    for name in sorted(masks):
        size = storage.size_of(storage.join(folder, name))
        digest.update(f"{name}\t{size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


_EXAMPLE = '{"input": "a.jpg", "points": [[500, 375]]}'


class _TwiceError(ValueError):
    pass


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON itself would take the last of several values, and lose the others without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _TwiceError(f"{twice!r} is there twice: give each object its own line")
    return values


def _row(values: Any, line: int) -> tuple[str, Row]:
    if not isinstance(values, dict):
        raise ValueError(f"a line is an object, such as {_EXAMPLE}")
    for key in values:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_KEYS)}"
            raise ValueError(f"unknown key {key!r}; {hint}")
    values = {key: value for key, value in values.items() if value is not None}
    picture = values.get("input")
    if not isinstance(picture, str) or not picture:
        raise ValueError(f"'input' must name a picture or clip, got {picture!r}")
    points = _points(values.get("points", []))
    labels = values.get("labels", [1] * len(points))
    if not isinstance(labels, list) or any(type(x) is not int or x not in (0, 1) for x in labels):
        raise ValueError(f"'labels' are 1 (on the object) or 0 (not part of it), got {labels!r}")
    if len(labels) != len(points):
        raise ValueError(f"{len(points)} points have {len(labels)} labels: one a point")
    row = Row(
        line=line,
        object=_whole(values, "object", 1),
        frame=_whole(values, "frame", 0),
        points=points,
        labels=tuple(labels),
        box=_box(values.get("box")),
        mask=_mask(values.get("mask")),
        text=values.get("text"),
    )
    if row.text is not None and (not isinstance(row.text, str) or not row.text.strip()):
        raise ValueError(f"'text' must name the object, got {row.text!r}")
    if not points and not row.is_on_object:
        raise ValueError("no prompt: give points, a box, a mask or a text")
    return picture, row


def _whole(values: dict[str, Any], key: str, least: int) -> int:
    value = values.get(key, least)
    if type(value) is not int or not least <= value < 2**31:
        raise ValueError(f"{key!r} must be a whole number from {least} on, got {value!r}")
    return value


def _points(points: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(points, list):
        raise ValueError(f"'points' must be a list such as [[500, 375]], got {points!r:.60}")
    return tuple((xy[0], xy[1]) for xy in (_numbers("points", point, 2) for point in points))


def _box(box: Any) -> tuple[float, ...] | None:
    if box is None:
        return None
    x0, y0, x1, y1 = _numbers("box", box, 4)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            f"'box' {box} is empty or inverted: it is [left, top, right, bottom], not a width and a"
            " height"
        )
    return x0, y0, x1, y1


def _numbers(key: str, values: Any, count: int) -> tuple[float, ...]:
    form = "[x, y]" if count == 2 else "[left, top, right, bottom]"
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{key!r} must hold {form}, got {values!r:.60}")
    for value in values:
        # No NaN either. Whether it is in the picture is found out there.
        if type(value) not in (int, float) or not abs(value) < 2**31:
            raise ValueError(f"{key!r} must hold {form} in pixels, got {value!r:.60}")
    return tuple(float(value) for value in values)


def _mask(mask: Any) -> Any:
    if mask is None or (isinstance(mask, str) and mask):
        return mask
    if isinstance(mask, dict) and {"size", "counts"} <= mask.keys():
        return mask
    raise ValueError(
        f"'mask' must be a file's name or a COCO run-length code with size and counts,"
        f" got {mask!r:.60}"
    )
