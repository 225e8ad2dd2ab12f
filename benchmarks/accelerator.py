"""sam_jax on an accelerator, by the protocol of the official README: random weights, bfloat16."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from rich.progress import track

import sam_jax
from benchmarks.worker import boxes, resident_mb
from sam_jax import image
from sam_jax.config import Config
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.models import abstract_params, build
from sam_jax.presets import preset
from sam_jax.types import Model

HEADER = ("model", "what", "a second", "ms each")
_MODELS = tuple(f"sam2.1-hiera-{size}" for size in ("tiny", "small", "base-plus", "large"))
_PASSES = 3  # of which the first compiles


def rows(
    video: Path,
    photo: Path,
    *,
    models: tuple[str, ...] = _MODELS,
    objects: tuple[int, ...] = (1, 4, 16, 64),
    batches: tuple[int, ...] = (1, 4, 16, 64),
) -> list[list[str]]:
    """Frames tracked, pictures encoded, and pictures in which everything was found, a second."""
    found = []
    for name in track(models, description="measuring"):
        model = random_model(preset(name), jnp.bfloat16)
        for count in objects:
            seconds = track_seconds(model, video, count)
            found.append([name, f"frame tracked, {count} objects", *_rates(seconds)])
        for batch in batches:
            seconds = encode_seconds(model, batch)
            found.append([name, f"picture encoded, {batch} at once", *_rates(seconds)])
        found.append([name, "everything in a picture", *_rates(everything_seconds(model, photo))])
    return found


def random_model(config: Config, dtype: DTypeLike) -> Model:
    """Random weights, on the default device."""
    module = build(config, dtype)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * random.standard_normal(leaf.shape, np.float32)),
        abstract_params(module),
    )
    return Model(params, module)


def track_seconds(model: Model, video: Path, objects: int) -> float:
    """For each frame of a whole clip; pictures are decoded and resized before."""
    with open_video(video) as clip:
        squares = [square for _, square in clip.model_inputs(model.config.image_size)]
        size = clip.height, clip.width

    def once() -> None:
        *_, last = tracked(model, squares, size, objects)
        assert last[0].iou > -1  # waits for the last frame

    return _seconds(once) / len(squares)


def tracked(
    model: Model, squares: list[np.ndarray], size: tuple[int, int], objects: int = 1
) -> Iterator[dict[int, sam_jax.Tracked]]:
    """Objects through a clip whose frames are decoded and resized already."""
    stream = sam_jax.Stream(model, objects, prompted_frames=1)
    frame = np.zeros((*size, 3), np.uint8)  # only its size is looked at
    for number, box in enumerate(boxes(objects, *size)):
        stream.add(number, box=box)
    for square in squares:
        yield stream.step(frame, square)


def encode_seconds(model: Model, batch: int) -> float:
    """For each picture."""
    side = model.config.image_size
    pictures = jnp.zeros((batch, side, side, 3))
    encode = jax.jit(image.encode_image)
    return _seconds(lambda: jax.block_until_ready(encode(model, pictures))) / batch


def everything_seconds(model: Model, photo: Path) -> float:
    """For a picture, with the official limits, which no mask of random weights passes."""
    generator, picture = sam_jax.AutomaticMaskGenerator(model), read_image(photo)
    return _seconds(lambda: generator.generate(picture))


def peak_mb() -> float:
    """Of the device where it counts its memory, else of this process."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    return resident_mb()


def _seconds(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _rates(seconds: float) -> list[str]:
    return [f"{1 / seconds:.1f}", f"{1e3 * seconds:.2f}"]
