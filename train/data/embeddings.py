"""Embeddings of the objects of pictures, by CLIP: how they are cut out, kept, and given to batches.

The SAM paper, D.5: an object is shown to CLIP as the square around its box, enlarged up to twice;
half the time all else is black; the output token sees only the mask. In training the embedding is
the first prompt; when predicting that of a text takes its place.

    FOLDER/embeddings.json      what they are of: {"clip", "width", "variants", "least_area"}
    FOLDER/NAME.npz             of a picture: ids [o], embeddings [o variants c], 16-bit floats
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sam_jax.files import replacing
from train.data.video import BadSource, Video

ABOUT = "embeddings.json"
_LARGEST = 2.0  # the square's side, in longer sides of the box
_BLANKED = 0.5  # how often what is outside of the mask is black


@dataclass(frozen=True)
class About:
    """What a folder of embeddings holds.

    Attributes:
      clip: name of the CLIP's folder.
      width: of an embedding.
      variants: ways in which each object was cut out.
      least_area: pixels; smaller objects have none. The paper: 100 x 100.
    """

    clip: str
    width: int
    variants: int
    least_area: int


def cut_out(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], *, factor: float, blank: bool
) -> tuple[UInt8[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"]]:
    """The square around an object, black outside of the picture, and the mask in it.

    Args:
      mask: not empty.
      factor: the square's side, in longer sides of the object's box.
      blank: what is outside of the mask is black, too.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    low = np.array([rows[0], columns[0]])
    size = np.array([rows[-1], columns[-1]]) + 1 - low
    side = round(factor * size.max())
    start = np.round(low + (size - side) / 2).astype(int)  # may lie outside
    first, last = np.maximum(start, 0), np.minimum(start + side, mask.shape)
    inside = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    there = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
    crop, part = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), bool)
    crop[there], part[there] = image[inside], mask[inside]
    if blank:
        crop[~part] = 0
    return crop, part


def variant(name: str, number: int, index: int) -> tuple[float, bool]:
    """How an object is cut out the index-th time: the same whenever its picture's name is."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), number, index])
    return float(rng.uniform(1, _LARGEST)), bool(rng.random() < _BLANKED)


def file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.npz"


def write(path: Path, ids: Sequence[int], embeddings: Float[np.ndarray, "o variants c"]) -> None:
    """Whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=np.array(ids, np.int64), embeddings=embeddings.astype(np.float16))


def read_about(folder: Path) -> About:
    """Raises:
    BadSource: it is no folder of embeddings.
    """
    try:
        return About(**json.loads((folder / ABOUT).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadSource(
            f"{folder} is no folder of embeddings, as `python -m train.embed` writes it: {error}"
        ) from error


def write_about(folder: Path, about: About) -> None:
    with replacing(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(asdict(about), indent=1) + "\n", "utf-8")


@dataclass(frozen=True)
class Embedded:
    """Gives the objects of training pictures their embeddings, each cut out in one of the ways."""

    folder: Path
    width: int

    def candidates(self, room: int) -> int:
        """How many objects of a picture to offer, where `room` are to be asked for."""
        return room

    def __call__(
        self, video: Video, t: int, ids: Sequence[int], room: int, rng: np.random.Generator
    ) -> tuple[list[int], dict[str, np.ndarray]]:
        """All places in `ids`; and `text` and `named` of a batch, for `room` objects.

        Raises:
          BadSource: the picture has no embeddings, or damaged ones.
        """
        path = file_of(self.folder, video.name)
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                known, embeddings = file["ids"].tolist(), file["embeddings"].astype(np.float32)
            named = np.zeros(room, bool)
            text = np.zeros((room, self.width), np.float32)
            for k, number in enumerate(ids):
                if number in known:
                    ways = embeddings[known.index(number)]
                    text[k], named[k] = ways[rng.integers(len(ways))], True
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadSource(
                f"{path} has no embeddings of {video.name} ({error}): run `python -m train.embed` "
                "again, which goes on where it stopped; remove the file if it is damaged"
            ) from error
        length = np.linalg.norm(text, axis=1, keepdims=True)
        arrays = {"text": text / np.where(named[:, None], length, 1), "named": named}
        return list(range(len(ids))), arrays
