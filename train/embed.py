"""Embeds the objects of pictures by CLIP, for `text_clip`: `python -m train.embed --help`.

    python -m train.embed FOLDER --clip clip-vit-large-patch14-336 --kind sa1b --root /data/sa1b

Run it again after an interruption, with the same words: pictures that are done are kept. Embeddings
do not change while training, and CLIP costs more than the rest of a step. See
`train/data/embeddings.py` for what is written.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float
from rich.progress import track

from sam_jax.clip import Clip, load_clip
from sam_jax.files import check_output_dir
from train.config import Source
from train.data.embeddings import (
    ABOUT,
    About,
    cut_out,
    file_of,
    read_about,
    variant,
    write,
    write_about,
)
from train.data.sources import open_source
from train.data.video import BadSource, BrokenSample, Video

_AT_ONCE = 16  # cut-outs; always so many, so that one program is compiled


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Embed the objects of pictures.

    Attributes:
      source: of pictures; of videos, objects are taken as the first annotated frame shows them.
      out: folder to write to; new, or of an interrupted run.
      clip: folder of the CLIP, as Hugging Face lays it out.
      variants: ways in which each object is cut out; training takes one of them at random.
      least_area: pixels; smaller objects get none.
      samples, size: of synthetic pictures: how many, and their side.
    """

    source: Annotated[Source, tyro.conf.arg(name="")]
    out: tyro.conf.Positional[Path]
    clip: Path
    variants: int = 4
    least_area: int = 100**2
    samples: int = 0
    size: int = 256

    def __post_init__(self) -> None:
        least = {"variants": 1, "least_area": 1, "samples": 0, "size": 1}
        for name, smallest in least.items():
            if (value := getattr(self, name)) < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value}")


def embed(options: Embed) -> int:
    """Writes what is not there yet; returns how many pictures were done now.

    Raises:
      BadSource: the source cannot be opened, or `out` is of another CLIP or of other options.
      ValueError, FileNotFoundError: no CLIP, or `out` cannot be written.
    """
    if options.source.kind == "synthetic" and not options.samples:
        raise BadSource("the synthetic world has no end: say how many --samples to embed")
    videos = open_source(options.source, frames=1, size=options.size)
    clip = load_clip(options.clip)
    folder = check_output_dir(options.out)
    width = clip.model.config.embed_dim
    about = About(options.clip.resolve().name, width, options.variants, options.least_area)
    if (folder / ABOUT).exists() and (before := read_about(folder)) != about:
        raise BadSource(f"{folder} holds {before}, not {about}: use another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_about(folder, about)
    done = 0
    count = min(options.samples or len(videos), len(videos))
    for i in track(range(count), "embedding"):
        video = videos[i]
        if not file_of(folder, video.name).exists():
            done += _embed(clip, video, about, folder)
    return done


def _embed(clip: Clip, video: Video, about: About, folder: Path) -> bool:
    """Whether the picture could be read; training will leave out a broken one, too."""
    try:
        t = video.annotated[0]
        image, masks = video.image(t), video.masks(t) or {}
        large = {i: mask for i in masks if (mask := masks[i]).sum() >= about.least_area}
    except (BrokenSample, IndexError):
        return False
    pictures, parts = [], []
    for i, mask in large.items():
        for k in range(about.variants):
            factor, blank = variant(video.name, i, k)
            crop, part = cut_out(image, mask, factor=factor, blank=blank)
            pictures.append(crop)
            parts.append(part)
    found = _in_groups(clip, pictures, parts, about.width)
    write(file_of(folder, video.name), list(large), found.reshape(len(large), about.variants, -1))
    return True


def _in_groups(
    clip: Clip, pictures: Sequence[np.ndarray], masks: Sequence[np.ndarray], width: int
) -> Float[np.ndarray, "k c"]:
    found = [np.zeros((0, width), np.float32)]
    for start in range(0, len(pictures), _AT_ONCE):
        group = slice(start, start + _AT_ONCE)
        more = _AT_ONCE - len(pictures[group])
        padded = [[*x[group], *[x[start]] * more] for x in (pictures, masks)]
        found.append(clip.embed_images(*padded)[: _AT_ONCE - more])
    return np.concatenate(found)


def main() -> None:
    options = tyro.cli(Embed)
    try:
        done = embed(options)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {done} pictures embedded")


if __name__ == "__main__":
    main()
