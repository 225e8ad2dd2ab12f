"""Worker of `benchmarks.image`, `benchmarks.video` and `benchmarks.everything`: sam_jax."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

import sam_jax
from benchmarks.worker import Case, boxes, serve
from sam_jax import image
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.models import abstract_params, build
from sam_jax.presets import preset
from sam_jax.types import Model, Prompts


def prepare(case: Case) -> Callable[[], object]:
    model = sam_jax.load(case["checkpoint"], dtype=jnp.dtype(case["dtype"]))
    if case["part"] == "video":
        return prepare_video(case, model)
    if case["part"] == "everything":
        generator = sam_jax.AutomaticMaskGenerator(model, **case["arguments"])
        photo = read_image(case["photo"])
        return lambda: generator.generate(photo)
    side, low = model.config.image_size, model.config.mask_size
    picture = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    encode = jax.jit(image.encode_image).lower(model, picture).compile()
    if case["part"] == "encoder":
        return lambda: jax.block_until_ready(encode(model, picture))
    n = case["prompts"]
    clicks = np.random.default_rng(1).uniform(0, side, (n, 2, 2))
    prompts = Prompts(
        points=jnp.asarray(clicks, jnp.float32),
        labels=jnp.tile(jnp.array([[1, -1]]), (n, 1)),
        mask=jnp.zeros((1, low, low, 1)),
        has_mask=jnp.zeros(1, bool),
    )
    features = encode(model, picture)
    predict = jax.jit(image.predict, static_argnames="multimask")
    predict = predict.lower(model, features, prompts, multimask=True).compile()
    return lambda: jax.block_until_ready(predict(model, features, prompts))


def prepare_video(case: Case, model: Model) -> Callable[[], object]:
    """Each call tracks the next frame.

    A `Stream`, which is done with a frame once its masks were looked at: `VideoPredictor` would
    work on the next one while the other side has its turn.
    """
    objects = case["objects"]
    stream = sam_jax.Stream(model, objects, prompted_frames=1)
    with open_video(case["video"]) as video:
        side = model.config.image_size
        frames = iter(list(video.model_inputs(side, stop=case["frames"])))
        for i, box in enumerate(boxes(objects, video.height, video.width)):
            stream.add(i, box=box)

    def run() -> object:
        return [tracked.mask for tracked in stream.step(*next(frames)).values()]

    run()
    return run


def random_model(name: str, dtype: DTypeLike) -> Model:
    """A released size with random weights, on the default device."""
    module = build(preset(name), dtype)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * random.standard_normal(leaf.shape, np.float32)),
        abstract_params(module),
    )
    return Model(params, module)


def tracked(
    model: Model, squares: list[np.ndarray], size: tuple[int, int]
) -> Iterator[sam_jax.Tracked]:
    """One object through a clip whose frames are decoded and resized already."""
    stream = sam_jax.Stream(model, prompted_frames=1)
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)  # only its size is looked at
    stream.add(0, box=[0.2 * width, 0.2 * height, 0.6 * width, 0.8 * height])
    for square in squares:
        yield stream.step(frame, square)[0]


if __name__ == "__main__":
    serve(prepare)
