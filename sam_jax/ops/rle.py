"""Run-length codes of masks, as COCO has them. Numpy, for the host.

A mask is read column by column; `counts` holds the lengths of its runs, the first of zeros (and
perhaps empty). The compressed form is a string of 5-bit digits, the differences to the last run but
one. Upstream: pycocotools, rleToString and rleFrString.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

Rle = dict[str, Any]  # {"size": [h, w], "counts": list of int, or str}: the form JSON files hold


def encode(mask: Bool[np.ndarray, "h w"], *, compress: bool = True) -> Rle:
    """A mask as COCO RLE, with the compressed string or the list of counts."""
    height, width = mask.shape
    pixels = np.asarray(mask, bool).T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    first = [0] if pixels.size and pixels[0] else []
    ends = np.concatenate([first, changes, [pixels.size]]).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    return {
        "size": [height, width],
        "counts": _to_string(counts) if compress else counts.tolist(),
    }


def decode(rle: Rle) -> Bool[np.ndarray, "h w"]:
    """The mask of a COCO RLE.

    Raises:
      ValueError: not an RLE, or its runs do not add up to its size.
    """
    counts, height, width = _checked(rle)
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def area(rle: Rle) -> int:
    """Number of pixels in the mask."""
    counts, _, _ = _checked(rle)
    return int(counts[1::2].sum())


def bounding_box(rle: Rle) -> tuple[int, int, int, int]:
    """COCO's bbox x, y, width, height in whole pixels; zeros for an empty mask."""
    counts, height, _ = _checked(rle)
    ends = np.cumsum(counts)
    starts = (ends - counts)[1::2][counts[1::2] > 0]
    lasts = (ends - 1)[1::2][counts[1::2] > 0]
    if len(starts) == 0:
        return 0, 0, 0, 0
    left, right = int(starts[0]) // height, int(lasts[-1]) // height
    if (starts // height != lasts // height).any():  # a run through a column's end covers both
        top, bottom = 0, height - 1
    else:
        top, bottom = int((starts % height).min()), int((lasts % height).max())
    return left, top, right - left + 1, bottom - top + 1


def coco_fields(rle: Rle) -> dict[str, Any]:
    """What COCO says of a mask: segmentation, area, and bbox as x, y, width, height."""
    return {"segmentation": rle, "area": area(rle), "bbox": list(bounding_box(rle))}


def _checked(rle: Rle) -> tuple[np.ndarray, int, int]:
    if not {"size", "counts"} <= rle.keys():
        raise ValueError(f"an RLE is an object with size and counts, got {str(rle)[:80]}")
    counts = rle["counts"]
    if isinstance(counts, bytes):  # pycocotools' own type
        counts = counts.decode("ascii", errors="replace")
    counts = _from_string(counts) if isinstance(counts, str) else _whole_numbers(counts, rle)
    height, width = _whole_numbers(rle["size"], rle).tolist()
    # Each run on its own, too: a sum of many huge ones wraps around to any value.
    outside = (counts < 0) | (counts > height * width)
    if height < 0 or width < 0 or outside.any() or counts.sum() != height * width:
        raise ValueError(f"runs add up to {counts.sum()}, not to the size {height} x {width}")
    return counts, height, width


def _whole_numbers(values: Any, rle: Rle) -> np.ndarray:
    try:
        (_,) = (array := np.asarray(values, np.int64)).shape
        return array
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"size and counts of an RLE must be lists of numbers, got {str(rle)[:80]}"
        ) from error


def _to_string(counts: np.ndarray) -> str:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    # A value takes the fewest digits whose two's complement holds it; 0x20 marks "more to come".
    magnitude = np.where(values < 0, ~values, values)
    bound = 2 ** (5 * np.arange(1, 13) - 1)
    digits = 1 + np.searchsorted(bound, magnitude, side="right")
    place = np.arange(np.max(digits))
    codes = (values[:, None] >> 5 * place) & 0x1F  # [n digits]
    codes |= np.where(place < digits[:, None] - 1, 0x20, 0)
    return (codes + 48).astype(np.uint8)[place < digits[:, None]].tobytes().decode("ascii")


def _from_string(text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    if ((codes < 0) | (codes > 0x3F)).any() or codes[-1] & 0x20:
        raise ValueError(f"not a compressed RLE string: {text[:40]!r}")
    last = np.flatnonzero(codes & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    digits = last - first + 1
    if (digits > 12).any():
        raise ValueError("not a compressed RLE string: a number of more than 12 digits")
    place = np.arange(len(codes)) - np.repeat(first, digits)
    values = np.add.reduceat((codes & 0x1F) << 5 * place, first)
    values -= np.where(codes[last] & 0x10, 1 << 5 * digits, 0)  # sign of the two's complement
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
