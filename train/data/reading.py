"""Files of data sets: found, read and checked, with errors that say which file is wrong.

Data sets come from anywhere, so nothing in them is trusted: sizes have limits, and names in JSON
files stay inside their folder.
"""

import difflib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import ExifTags, Image

from sam_jax.io.images import read_image
from sam_jax.ops import rle
from train.data.video import BadSource, BrokenSample, Video

PICTURES = (".jpg", ".jpeg", ".png")
_MAX_PIXELS = 89_000_000  # Pillow warns of larger ones
_MAX_JSON = 200 * 2**20  # bytes, of one sample; the largest of SA-V have 30 MB


class Masks(Mapping[int, Bool[np.ndarray, "h w"]]):
    """Masks by id, each made when it is asked for."""

    def __init__(self, ids: Sequence[int], make: Callable[[int], Bool[np.ndarray, "h w"]]) -> None:
        self._ids, self._make = dict.fromkeys(ids), make

    def __getitem__(self, number: int) -> Bool[np.ndarray, "h w"]:
        if number not in self._ids:
            raise KeyError(number)
        return self._make(number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


class NamedVideos(Sequence[Video]):
    """Videos that are opened by their names."""

    _names: tuple[str, ...]

    @abstractmethod
    def _open(self, name: str) -> Video:
        """The video of a name."""

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Video: ...
    @overload
    def __getitem__(self, index: slice) -> list[Video]: ...
    def __getitem__(self, index: int | slice) -> Video | list[Video]:
        if isinstance(index, slice):
            return [self._open(name) for name in self._names[index]]
        return self._open(self._names[index])


def folder(path: str | Path, purpose: str) -> Path:
    """The folder, if there is one.

    Raises:
      BadSource: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        problem = "is a file, not a folder" if path.exists() else "does not exist"
        raise BadSource(f"the folder of {purpose}, {path}, {problem}: check `root`")
    return path


def folders_in(path: Path) -> list[str]:
    return sorted(x.name for x in path.iterdir() if x.is_dir() and x.name[0] != ".")


def files_in(path: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Files by their names without ending, in order.

    Raises:
      BrokenSample: two differ by their endings only.
    """
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in endings or file.name[0] == ".":
            continue
        if (other := found.setdefault(file.stem, file)) is not file:
            raise BrokenSample(f"{other} and {file.name} have the same name: remove one")
    return found


def choose(names: Sequence[str], wanted: str, where: str | Path) -> tuple[str, ...]:
    """The names that the file `wanted` lists, or all of them if it is "".

    Raises:
      BadSource: there are none, the file cannot be read, or it lists others.
    """
    if not names:
        raise BadSource(f"{where} holds no samples: check `root`, or fetch the data again")
    if not wanted:
        return tuple(names)
    try:
        lines = Path(wanted).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSource(f"the list of names {wanted} cannot be read: {error}") from error
    listed = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not listed:
        raise BadSource(f"the list of names {wanted} is empty: write one name a line")
    known = set(names)
    if unknown := [name for name in listed if name not in known]:
        close = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else f"; there is {names[0]!r}, ..."
        raise BadSource(
            f"{wanted} lists {len(unknown)} of {len(listed)} names that {where} has not, such as"
            f" {unknown[0]!r}{hint}"
        )
    return tuple(listed)


def inside(root: Path, name: Any, file: Path) -> Path:
    """`root / name` for a name that `file` gives.

    Raises:
      BadSource: the name is no relative path below `root`.
    """
    path = PurePosixPath(name) if isinstance(name, str) and "\0" not in name else None
    if path is None or not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BadSource(f"{file} names the file {name!r}: it must lie below {root}")
    return root / path


def read_rgb(source: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A picture, from its path or an open file.

    Raises:
      BrokenSample: it is missing, damaged or too large.
    """
    try:
        return read_image(source, max_pixels=_MAX_PIXELS)
    except FileNotFoundError:
        raise BrokenSample(f"there is no picture {source}") from None
    except (OSError, ValueError) as error:
        raise BrokenSample(str(error)) from error


def read_labels(path: Path) -> Shaped[np.ndarray, "h w"]:
    """Object ids of a mask picture's pixels: of its palette, or its grey values.

    Raises:
      BrokenSample: it is missing, damaged, too large, or coloured.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise BrokenSample(f"{path} has {picture.width} x {picture.height} pixels")
            values = np.asarray(picture)
    except FileNotFoundError:
        raise BrokenSample(f"there is no mask {path}") from None
    except BrokenSample:
        raise
    except Exception as error:  # decoders raise whatever they trip over
        raise BrokenSample(f"the mask {path} cannot be read: {error}") from error
    if values.ndim == 3 and values.shape[2] == 3 and (values == values[..., :1]).all():
        values = values[..., 0]  # black and white, stored as RGB
    if values.ndim != 2:
        raise BrokenSample(
            f"the mask {path} is in colour ({picture.mode}): its palette or grey values must be"
            " the ids of objects"
        )
    return values


def ids_in(labels: Shaped[np.ndarray, "h w"]) -> list[int]:
    """The ids there are, without 0."""
    if labels.dtype == np.uint8:
        return (1 + np.flatnonzero(np.bincount(labels.ravel())[1:])).tolist()
    return [int(i) for i in np.unique(labels) if i]


def read_json(path: Path, *, max_bytes: int = _MAX_JSON) -> Any:
    """What a JSON file holds.

    Raises:
      BrokenSample: it is missing, too large, or no JSON.
    """
    try:
        if (size := path.stat().st_size) > max_bytes:
            raise BrokenSample(f"{path} has {size:,} bytes, more than {max_bytes:,}")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BrokenSample(f"there is no {path}") from None
    except BrokenSample:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenSample(f"{path} is no JSON file, or is cut off: {error}") from error


def decode(
    code: Any, hw: tuple[int, int], file: Path, image: str | Path
) -> Bool[np.ndarray, "h w"]:
    """The mask of a COCO RLE out of `file`, which must have the size `hw` of `image`.

    Raises:
      BrokenSample: it is no RLE, or has another size.
    """
    size = code.get("size") if isinstance(code, dict) else None
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(x, int) for x in size)):
        raise BrokenSample(f"{file}: a mask is no COCO RLE but {str(code)[:60]}")
    require_size((size[0], size[1]), hw, file, image)
    try:
        return rle.decode(code)
    except (ValueError, TypeError, OverflowError) as error:
        raise BrokenSample(f"{file}: {error}") from error


def require_size(
    mask_hw: tuple[int, ...], hw: tuple[int, ...], mask: str | Path, image: str | Path
) -> None:
    """Raises BrokenSample if the two sizes differ."""
    if tuple(mask_hw) != tuple(hw):
        raise BrokenSample(
            f"the mask of {mask} has {mask_hw[1]} x {mask_hw[0]} pixels, but {image} has"
            f" {hw[1]} x {hw[0]}"
        )


def picture_hw(path: Path) -> tuple[int, int]:
    """Height and width of a picture as `read_rgb` would give it, from its header.

    Raises:
      BrokenSample: it is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (width, height) if turned else (height, width)
    except FileNotFoundError:
        raise BrokenSample(f"there is no picture {path}") from None
    except Exception as error:  # decoders raise whatever they trip over
        raise BrokenSample(f"{path} cannot be read as a picture: {error}") from error
