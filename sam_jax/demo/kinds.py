"""Which files are opened, by what is in them: names say what people like."""

import shlex
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sam_jax.demo.settings import Kind

PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # as Pillow calls them
VIDEOS = "mp4, mov, mkv and webm"


def is_video(path: Path) -> bool:
    """Whether the file begins as one of `VIDEOS` does.

    FFmpeg reads more. Play lists name other files, and a transport stream may be one at the same
    time; AVI, MPEG and WMV do not say when a frame is shown, and going back in them is decoding
    from the beginning.
    """
    with path.open("rb") as file:
        start = file.read(8)
    return start[4:] == b"ftyp" or start[:4] == b"\x1aE\xdf\xa3"


def kind_of(path: Path) -> Kind:
    """What the page does with the file.

    Raises:
      ValueError: nothing.
      OSError: it cannot be read.
    """
    if is_video(path):
        return "video"
    try:
        with Image.open(path, formats=PICTURES):
            return "picture"
    except UnidentifiedImageError as error:
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty") from error
        other = path.with_name(f"{path.stem}-converted.mp4")
        raise ValueError(
            f"{path} is of no kind that the page opens: pictures are {', '.join(PICTURES)}, videos"
            f" {VIDEOS}; others become such with: ffmpeg -i {shlex.quote(str(path))}"
            f" {shlex.quote(str(other))}"
        ) from error
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
