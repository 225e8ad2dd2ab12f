"""What leaves the server: pictures to look at, and files to take home."""

import io
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
from fastapi.responses import FileResponse
from jaxtyping import UInt8
from PIL import Image
from starlette.background import BackgroundTask

from sam_jax.demo.masks import display_size

_JPEG_QUALITY = 90


def jpeg(pixels: UInt8[np.ndarray, "h w 3"], longest: int) -> bytes:
    """A picture shrunk so that no side is longer than `longest`."""
    height, width = display_size(*pixels.shape[:2], longest)
    picture = Image.fromarray(pixels)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def download(path: Path, name: str) -> FileResponse:
    """The file under a name; it is deleted when it was sent."""
    return FileResponse(
        path,
        headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
        background=BackgroundTask(path.unlink, missing_ok=True),
    )


def file_name(text: str, otherwise: str) -> str:
    """Letters, digits, - and _ of what people typed, or of how they call a file."""
    return re.sub(r"[^\w-]+", "_", text).strip("_")[:60] or otherwise
