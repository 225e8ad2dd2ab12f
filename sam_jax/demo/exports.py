"""What can be taken home: PNG masks, COCO JSON, the picture with the masks drawn on it.

The page keeps the objects, as prompts; here their masks are made again at the picture's own size.
"""

import asyncio
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import FileResponse
from PIL import Image
from pydantic import Field

from sam_jax.demo.bodies import MOST_OBJECTS, Body, Channel, Prompt
from sam_jax.demo.current import CurrentDemo, CurrentSession
from sam_jax.demo.pictures import Picture, ask, opened
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sending import download, file_name
from sam_jax.demo.sessions import Session
from sam_jax.io.masks import mask_entry, write_coco, write_png
from sam_jax.io.overlay import overlay
from sam_jax.ops import rle

router = APIRouter()


class Wanted(Body):
    """An object: a prompt with the candidate chosen, or the code that Everything gave.

    Attributes:
      rle: COCO's compressed code at the picture's size.
      iou: predicted, of that code.
    """

    name: Annotated[str, Field(max_length=80)]
    color: Annotated[list[Channel], Field(min_length=3, max_length=3)]
    prompt: Prompt | None = None
    candidate: Annotated[int, Field(ge=0, le=3)] = 0
    rle: Annotated[str, Field(max_length=1 << 20)] | None = None
    iou: Annotated[float, Field(ge=-10, le=10)] = 0.0


class Export(Body):
    """Attributes:
    kind: of file; png is one PNG for one object and a zip with one each for several.
    """

    picture: Annotated[str, Field(max_length=32)]
    kind: Literal["png", "coco", "overlay"]
    objects: Annotated[list[Wanted], Field(max_length=MOST_OBJECTS)]


@router.post("/api/picture/export")
async def export(body: Export, session: CurrentSession, demo: CurrentDemo) -> FileResponse:
    """The file, under a name made of the picture's."""
    picture = opened(session, body.picture)
    if not body.objects:
        raise Refusal(400, "no objects are prompted yet: click on something first")
    # One job each: a tab with many objects must not keep the others waiting.
    entries = [await demo.worker.run(session, _entry, picture, item) for item in body.objects]
    demo.sessions.make_room(session, disk=3 * picture.size[0] * picture.size[1])
    async with demo.decoding:
        path, name = await asyncio.to_thread(_write, session, picture, body, entries)
    return download(path, name)


def _entry(picture: Picture, item: Wanted) -> dict[str, Any]:
    """segmentation, area, bbox and predicted_iou at the picture's size."""
    if item.rle is not None:
        mask = rle.decode({"size": list(picture.size), "counts": item.rle})
        return mask_entry(mask, item.iou)
    if item.prompt is None:
        raise Refusal(400, f"the object {item.name!r} has neither a prompt nor a mask")
    masks, ious = ask(picture, item.prompt, None)
    if item.candidate >= len(masks):
        raise Refusal(400, f"the object {item.name!r} has no candidate {item.candidate}")
    return mask_entry(masks[item.candidate], ious[item.candidate])


def _write(
    session: Session, picture: Picture, body: Export, entries: list[dict[str, Any]]
) -> tuple[Path, str]:
    """The file and what it is to be called."""
    stem = file_name(Path(picture.name).stem, "picture")
    folder, names = session.folder, [item.name or "object" for item in body.objects]
    if body.kind == "coco":
        path = folder / f"{secrets.token_hex(16)}.json"
        write_coco(path, picture.name, picture.size, entries, names=names)
        return path, f"{stem}.json"
    if body.kind == "overlay":
        path = folder / f"{secrets.token_hex(16)}.png"
        _write_overlay(path, picture, body, entries)
        return path, f"{stem}_overlay.png"
    if len(entries) == 1:
        path = folder / f"{secrets.token_hex(16)}.png"
        write_png(path, rle.decode(entries[0]["segmentation"]))
        return path, f"{stem}_{file_name(names[0], 'object')}.png"
    path = folder / f"{secrets.token_hex(16)}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, (entry, name) in enumerate(zip(entries, names, strict=True), start=1):
            with archive.open(f"{number:03d}_{file_name(name, 'object')}.png", "w") as file:
                mask = rle.decode(entry["segmentation"])
                Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(file, "PNG")
    return path, f"{stem}_masks.zip"


def _write_overlay(
    path: Path, picture: Picture, body: Export, entries: list[dict[str, Any]]
) -> None:
    prompts = [item.prompt for item in body.objects if item.prompt is not None]
    clicks = [click for prompt in prompts for click in prompt.clicks]
    boxed = [item for item in body.objects if item.prompt is not None and item.prompt.box]
    colors = [(r, g, b) for r, g, b in (item.color for item in body.objects)]

    def masks() -> Iterator[np.ndarray]:  # one at a time
        for entry in entries:
            yield rle.decode(entry["segmentation"])

    drawn = overlay(
        picture.read(),
        masks(),
        points=[[click.x, click.y] for click in clicks],
        labels=[click.label for click in clicks],
        boxes=[item.prompt.box for item in boxed if item.prompt],
        box_colors=[(r, g, b) for r, g, b in (item.color for item in boxed)] or None,
        colors=colors,
    )
    Image.fromarray(drawn).save(path, "PNG", compress_level=1)
