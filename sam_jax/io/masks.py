"""Masks in and out of files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from PIL import Image, ImageOps

from sam_jax.files import replacing
from sam_jax.ops import rle

PROMPT_LOGIT = 10.0  # what a mask picture's 1 becomes, and minus that its 0; sam2_base.py has it so


def write_png(path: str | os.PathLike, mask: Bool[np.ndarray, "h w"]) -> None:
    """A greyscale PNG, 255 inside the mask and 0 outside."""
    with replacing(path) as temporary:
        Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(temporary, "PNG")


def write_rle(
    path: str | os.PathLike,
    masks: Bool[np.ndarray, "m h w"],
    ious: Float[np.ndarray, " m"],
    *,
    extra: Sequence[dict[str, Any]] = (),
) -> None:
    """A JSON list with one entry and one line a mask, its keys as in SA-1B.

    These are segmentation (COCO RLE, compressed), area and bbox (x, y, width, height) in pixels,
    and predicted_iou.

    Args:
      extra: more keys for each entry.
    """
    entries = []
    for index, (mask, iou) in enumerate(zip(masks, ious, strict=True)):
        entries.append(mask_entry(mask, iou) | (extra[index] if extra else {}))
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n")


def mask_entry(mask: Bool[np.ndarray, "h w"], iou: float | np.floating) -> dict[str, Any]:
    """segmentation, area, bbox and predicted_iou, as `write_rle` has them."""
    return rle.coco_fields(rle.encode(mask)) | {"predicted_iou": round(float(iou), 6)}


def record_entry(record: dict[str, Any]) -> dict[str, Any]:
    """A record of `AutomaticMaskGenerator` with a compressed code, for JSON.

    Scores are rounded. `bbox` is COCO's, which counts the last row and column.
    """
    entry = record | {"bbox": list(rle.bounding_box(record["segmentation"]))}
    for score in {"predicted_iou", "stability_score"} & record.keys():
        entry[score] = round(record[score], 6)
    return entry


def write_coco(
    path: str | os.PathLike,
    picture: str,
    size: tuple[int, int],
    records: Sequence[dict[str, Any]],
    *,
    names: Sequence[str] = (),
) -> None:
    """The masks of one picture as a COCO data set, an annotation a line.

    Args:
      picture: name of its file.
      size: its height and width.
      records: of `AutomaticMaskGenerator` with compressed codes; scores and places are kept. `bbox`
        is COCO's, which counts the last row and column.
      names: of what each record shows; equal ones are a category. By default all are "object".
    """
    height, width = size
    names = names or ["object"] * len(records)
    categories = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    head = {
        "images": [{"id": 1, "file_name": picture, "height": height, "width": width}],
        "categories": [
            {"id": number, "name": name} for name, number in (categories or {"object": 1}).items()
        ],
    }
    lines = []
    for number, (record, name) in enumerate(zip(records, names, strict=True), start=1):
        category = categories[name]
        entry = {"id": number, "image_id": 1, "category_id": category, "iscrowd": 0}
        lines.append(json.dumps(entry | record_entry(record)))
    annotations = ",\n".join(lines)
    with replacing(path) as temporary:
        temporary.write_text(f'{json.dumps(head)[:-1]}, "annotations": [\n{annotations}\n]}}\n')


def write_npz(
    path: str | os.PathLike,
    masks: Bool[np.ndarray, "m h w"],
    ious: Float[np.ndarray, " m"],
    *,
    logits: Float[np.ndarray, "m hm wm"],
) -> None:
    """The arrays masks, ious and logits; the last can serve as a mask prompt again."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, masks=masks, ious=ious, logits=logits)


def read_mask(
    path: str | os.PathLike, size: int, image_hw: tuple[int, int], *, keep_aspect: bool = False
) -> Float32[np.ndarray, "size size"]:
    """A mask prompt from a file, as low-resolution logits.

    - A picture, or a .npy/.npz of booleans or integers, is a mask of the image's own size. It is
      shrunk to `size` with antialiasing, and its coverage 0..1 becomes a logit from -10 to +10.
      Foreground is what is brighter than half of the brightest pixel, so 0/1 and 0/255 files both
      work; in a palette picture, every colour but the first; transparent pixels are background.
      A picture's EXIF orientation is applied, as it is to photos.
    - A .npy/.npz of floats is taken as it is: logits [size size] or [1 size size], such as the
      `logits` that `write_npz` stores. Of a .npz, the array `logits` is used, or the only one; of
      several logits [m size size], those with the highest of its `ious` [m].

    Args:
      size: side of the model's low-resolution masks.
      image_hw: height and width of the image.
      keep_aspect: the image lies in the upper left corner of the model input, not all over it.

    Raises:
      OSError: the file cannot be opened.
      ValueError: neither a picture nor an array, of another size, empty, or not finite.
    """
    path = Path(path)
    values = _read_array(path) if path.suffix.lower() in (".npy", ".npz") else _read_picture(path)
    if np.issubdtype(values.dtype, np.floating):
        logits = values[0] if values.ndim == 3 and len(values) == 1 else values
        if logits.shape != (size, size):
            raise ValueError(
                f"mask {path} holds floats of shape {values.shape}, but logits for this model are"
                f" [{size} {size}]; of several save one with numpy.save, and a full-size mask as"
                " booleans or PNG"
            )
        if not np.isfinite(logits).all():
            raise ValueError(f"mask {path} holds logits that are not finite")
        return logits.astype(np.float32)
    return mask_logits(_inside(values, path, image_hw), size, keep_aspect=keep_aspect)


def mask_logits(
    inside: Bool[np.ndarray, "h w"], size: int, *, keep_aspect: bool
) -> Float32[np.ndarray, "size size"]:
    """A mask of an image's own size as a mask prompt; arguments as for `read_mask`."""
    if keep_aspect:
        below, beside = (max(inside.shape) - length for length in inside.shape)
        inside = np.pad(inside, ((0, below), (0, beside)))
    low = Image.fromarray(inside.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    return PROMPT_LOGIT * (2 * np.asarray(low) - 1)


def read_mask_picture(
    path: str | os.PathLike, image_hw: tuple[int, int], *, number: int | None = None
) -> Bool[np.ndarray, "h w"]:
    """A mask of a picture's or a frame's own size from a file, true inside.

    - A picture, or a .npy/.npz of booleans or integers, as `read_mask` takes them.
    - A .npz that `write_npz` stored: of its `masks`, the one with the highest of its `ious`.
    - A palette picture with several objects, as DAVIS has them: the pixels that hold `number`.

    Args:
      image_hw: height and width of the image.
      number: which object of a palette picture that has more than one.

    Raises:
      OSError: the file cannot be opened.
      ValueError: neither a picture nor an array, low-resolution logits, of another size, empty, or
        without `number`.
    """
    path = Path(path)
    if path.suffix.lower() in (".npy", ".npz"):
        values = _read_array(path, prefer="masks")
    else:
        values = _read_picture(path, number)
    if np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"mask {path} holds floats, but here a mask has the frame's size: save it as booleans"
            " or as PNG"
        )
    return _inside(values, path, image_hw)


def _inside(values: np.ndarray, path: Path, image_hw: tuple[int, int]) -> np.ndarray:
    """What is brighter than half of the brightest; checks type, size, and that there is any."""
    if values.dtype != np.bool_ and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"mask {path} must hold booleans, integers or floats, got {values.dtype}")
    if values.shape != tuple(image_hw):
        raise ValueError(
            f"mask {path} has shape {values.shape} (height, width), but the image has"
            f" {tuple(image_hw)}"
        )
    inside = values > values.max() / 2
    if not inside.any():
        raise ValueError(f"mask {path} is empty: no pixel is set")
    return inside


def _read_picture(path: Path, number: int | None = None) -> np.ndarray:
    """Brightness, or for a palette picture whether a pixel is inside."""
    with path.open("rb") as file:
        try:
            with Image.open(file) as stored:
                picture = ImageOps.exif_transpose(stored)
                mode = picture.mode
                if mode in ("P", "1") or mode == "I" or mode.startswith("I;"):
                    values = np.asarray(picture)
                else:
                    seen = np.asarray(picture.convert("LA"), np.int32)
                    values = seen[..., 0] * seen[..., 1]
        except Exception as error:  # decoders raise whatever they trip over
            raise ValueError(f"mask {path} cannot be read as a picture: {error}") from error
    return _of_number(values, number, path) if mode in ("P", "1") else values


def _of_number(values: np.ndarray, number: int | None, path: Path) -> np.ndarray:
    """Pixels of one object in a palette picture, or of all if `number` is None."""
    found = np.unique(values[values != 0])
    if number is None or len(found) < 2:
        return values != 0
    if number not in found:
        some = ", ".join(str(value) for value in found[:8]) + (", ..." if len(found) > 8 else "")
        raise ValueError(f"mask {path} holds the objects {some} and no {number}")
    return values == number


def _read_array(path: Path, *, prefer: str = "logits") -> np.ndarray:
    """The array of a .npy, or of a .npz the one called `prefer` or the only one."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files
            if prefer not in names and len(names) != 1:
                raise ValueError(f"it has arrays {names} and none is called {prefer}")
            values = loaded[prefer if prefer in names else names[0]]
            if "ious" in names and values.ndim == 3 and loaded["ious"].shape == values.shape[:1]:
                return values[np.argmax(loaded["ious"])]
            return values
    except OSError:
        raise
    except Exception as error:  # numpy raises ValueError, EOFError, BadZipFile, KeyError, ...
        raise ValueError(f"mask {path} cannot be read as a numpy array: {error}") from error
