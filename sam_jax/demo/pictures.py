"""The picture tab: open a picture, encode it once, answer prompts on it."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from jaxtyping import Float
from pydantic import Field

from sam_jax.demo.bodies import Body, Prompt
from sam_jax.demo.current import CurrentDemo, CurrentSession, Demo
from sam_jax.demo.features import Features
from sam_jax.demo.kinds import PICTURES
from sam_jax.demo.masks import display_size, runs
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sending import jpeg
from sam_jax.demo.sessions import Session
from sam_jax.demo.uploads import receive, shown_name
from sam_jax.io.images import read_image
from sam_jax.io.masks import mask_logits
from sam_jax.predictors.image import ImagePredictor

router = APIRouter()
_SHOWN = 2048  # longer side of the picture on the page, pixels


@dataclass(frozen=True)
class Picture:
    """An open picture. Its pixels are read again when they are needed: 20 tabs would hold them.

    Attributes:
      key: a name of ours, new for each opening.
      path: the file, of this session unless it is a sample.
      name: what the user calls it.
      size: height and width, as viewers show it.
    """

    key: str
    path: Path
    name: str
    size: tuple[int, int]
    max_pixels: int
    is_sample: bool
    features: Features

    def read(self) -> np.ndarray:
        """uint8 RGB [h w 3]."""
        return read_named(self.path, self.name, self.max_pixels)

    def predictor(self) -> ImagePredictor:
        """With the picture set; for the worker's thread."""
        return self.features.of(self.key, self.read)

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of masks on the page."""
        return display_size(*self.size)

    def close(self) -> None:
        self.features.forget(self.key)
        if not self.is_sample:
            self.path.unlink(missing_ok=True)


def read_named(path: Path, name: str, max_pixels: int) -> np.ndarray:
    """A picture's pixels.

    Raises:
      Refusal: not a picture that is taken here; it names the file as the user does.
    """
    try:
        return read_image(path, max_pixels=max_pixels, formats=PICTURES)
    except ValueError as error:
        # What would be said twice, and advice for Python, goes.
        text = str(error).partition("; shrink it")[0].partition(" in one of")[0]
        known = f"{', '.join(PICTURES)}, up to {max_pixels / 1e6:g} megapixels"
        raise Refusal(415, f"{text.replace(str(path), name)}. Taken are {known}") from error
    except FileNotFoundError as error:  # between two requests, or two jobs of one
        raise Refusal(
            409, f"{name} is gone: another picture was opened, or it was moved"
        ) from error
    except MemoryError as error:
        raise Refusal(413, f"{name} needs more memory than there is") from error


def opened(session: Session, key: str) -> Picture:
    """The picture that a request is about.

    Raises:
      Refusal: none is open, or another one by now.
    """
    picture = session.slots.get("picture")
    if picture is None:
        raise Refusal(409, "no picture is open: drop a file or choose a sample")
    if picture.key != key:
        raise Refusal(409, "another picture was opened meanwhile")
    return picture


@router.post("/api/picture")
async def upload(request: Request, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """Opens the file in the body."""
    path = await receive(request, demo, session)
    return await _open(demo, session, path, shown_name(request), is_sample=False)


class SampleIndex(Body):
    sample: Annotated[int, Field(ge=0, le=10_000)]


@router.post("/api/picture/sample")
async def open_sample(
    body: SampleIndex, session: CurrentSession, demo: CurrentDemo
) -> dict[str, Any]:
    """Opens a sample."""
    sample = demo.settings.sample(body.sample, "picture")
    return await _open(demo, session, sample.path, sample.name, is_sample=True)


async def _open(
    demo: Demo, session: Session, path: Path, name: str, *, is_sample: bool
) -> dict[str, Any]:
    started = time.perf_counter()
    limit = demo.settings.max_pixels
    try:
        async with demo.decoding:
            pixels = await asyncio.to_thread(read_named, path, name, limit)
            size = (pixels.shape[0], pixels.shape[1])
            picture = Picture(
                secrets.token_hex(8), path, name, size, limit, is_sample, demo.features
            )
            await demo.worker.run(session, demo.features.of, picture.key, lambda: pixels)
    except BaseException:
        if not is_sample:
            path.unlink(missing_ok=True)
        raise
    session.put("picture", picture)
    return {
        "picture": picture.key,
        "name": name,
        "size": size,
        "shown": picture.shown,
        "seconds": round(time.perf_counter() - started, 3),
    }


@router.get("/api/picture/{key}/shown")
async def shown(key: str, session: CurrentSession, demo: CurrentDemo) -> Response:
    """The picture as the page draws it: a JPEG, at most 2048 pixels on the longer side."""
    picture = opened(session, key)
    async with demo.decoding:
        data = await asyncio.to_thread(lambda: jpeg(picture.read(), _SHOWN))
    return Response(data, media_type="image/jpeg")


class Predict(Prompt):
    picture: Annotated[str, Field(max_length=32)]


@router.post("/api/picture/predict")
async def predict(body: Predict, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """Masks at the size shown, and how good the model thinks they are; the best first."""
    picture = opened(session, body.picture)
    body.arguments()  # refuses before it waits
    masks, ious = await demo.worker.run(session, ask, picture, body, picture.shown)
    order = np.argsort(-ious, kind="stable")
    return {
        "candidates": [
            {"candidate": int(i), "iou": round(float(ious[i]), 4), "mask": runs(masks[i])}
            for i in order
        ]
    }


def ask(
    picture: Picture, prompt: Prompt, size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates for a prompt; for the worker's thread.

    Args:
      size: height and width of the masks; None: the picture's.

    Returns:
      bool [m h w], predicted IoU [m].
    """
    predictor = picture.predictor()
    logits = _mask_before(predictor, picture, prompt)
    found, ious, _ = predictor.predict(
        **prompt.arguments(),
        mask_input=logits,
        output_size=size or picture.size,
        return_logits=True,
    )
    return found > predictor.mask_threshold, ious


def _mask_before(
    predictor: ImagePredictor, picture: Picture, prompt: Prompt
) -> Float[np.ndarray, "1 hm wm"] | None:
    """The logits that a prompt begins with: of its mask, or of the answer that it refines."""
    config = predictor.model.config
    if prompt.mask is not None:
        mask = prompt.mask.mask(picture.shown)
        return mask_logits(mask, config.mask_size, keep_aspect=config.keep_aspect)[None]
    if prompt.start is None:
        return None
    # Asked again: as nothing is kept of it, undo, a forgotten tab and files give the same mask.
    small = (config.mask_size, config.mask_size)
    _, _, low = predictor.predict(**prompt.start.arguments(), output_size=small)
    return low[prompt.start.candidate][None]
