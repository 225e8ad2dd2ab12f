"""Pictures of what a model answers, next to what is true."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8
from PIL import Image, ImageDraw

from sam_jax import video
from sam_jax.frame import encode_frames, no_prompts
from sam_jax.image import predict
from sam_jax.io.overlay import overlay
from sam_jax.ops.resize import bilinear
from sam_jax.types import NOT_A_POINT, Model
from train.clicks import centre_of_error
from train.types import Batch

_CLIPS, _OBJECTS = 4, 3  # shown at most
_HEADER = 16  # pixels


@jax.jit
def _answers(model: Model, images: UInt8[Array, "t 1 H W 3"], first: Bool[Array, "n H W"]) -> tuple:
    """Masks on all frames of objects clicked in their middle on the first one, and the clicks."""
    t, n, size = len(images), len(first), model.config.image_size
    points, labels = centre_of_error(first, jnp.zeros_like(first))
    none = no_prompts(n, model.config.mask_size)
    prompts = replace(
        none,
        points=jnp.stack([points, points], 1),
        labels=jnp.stack([labels, jnp.full_like(labels, NOT_A_POINT)], 1),
    )
    if t == 1:
        found = predict(model, encode_frames(model, images[:, 0]), prompts, multimask=True)
        best = found.iou.argmax(1)[:, None, None, None]
        logits = jnp.take_along_axis(found.logits, best, 1)[None, :, 0]
        return bilinear(logits, size, size) > 0, points
    state = video.init_state(model, n, prompted=1, num_frames=t)
    asked = jax.tree.map(lambda x: jnp.broadcast_to(x, (t, *x.shape)), prompts)
    prompted = jnp.broadcast_to(jnp.arange(t)[:, None] == 0, (t, n))
    _, output = video.track(model, state, images, asked, prompted, jnp.zeros_like(prompted))
    return bilinear(output.logits, size, size) > 0, points


def answers(model: Model, batch: Batch) -> UInt8[np.ndarray, "h w 3"]:
    """A row for each of some clips: the truth on its first and last frame, then the answers.

    Objects are asked for by one click in their middle on the first frame.
    """
    t, b = batch.images.shape[:2]
    objects = batch.masks.shape[1] // b
    rows = []
    for i in range(min(b, _CLIPS)):
        images = np.asarray(batch.images[:, i : i + 1])
        chosen = slice(i * objects, i * objects + min(objects, _OBJECTS))
        truth = np.asarray(batch.masks[:, chosen])
        found, points = jax.device_get(_answers(model, images, truth[0]))
        last = [t - 1] if t > 1 else []
        row = [overlay(images[f, 0], truth[f]) for f in [0, *last]]
        row.append(overlay(images[0, 0], found[0], points=points, labels=np.ones(len(points))))
        row += [overlay(images[f, 0], found[f]) for f in last]
        rows.append(np.concatenate(row, 1))
    frames = ["", ", last frame"][: len(row) // 2]
    names = [kind + frame for kind in ("truth", "answer to a click") for frame in frames]
    return np.concatenate([_header(names, rows[0].shape[1]), *rows])


def _header(names: Sequence[str], width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A strip with a name above each column."""
    strip = Image.new("RGB", (width, _HEADER), "white")
    for i, name in enumerate(names):
        ImageDraw.Draw(strip).text((i * width // len(names) + 4, 2), name, "black")
    return np.asarray(strip)
