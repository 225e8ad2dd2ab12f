"""Worker of `python -m benchmarks`: sam_jax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sam_jax
from benchmarks.worker import Case, boxes, memory_inputs, serve
from sam_jax import image
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.types import MemoryTokens, Model, Prompts


def prepare(case: Case) -> Callable[[], object]:
    model = sam_jax.load(case["checkpoint"], dtype=jnp.dtype(case["dtype"]))
    if case["part"] == "video":
        return prepare_video(case, model)
    if case["part"] == "everything":
        generator = sam_jax.AutomaticMaskGenerator(model, **case["arguments"])
        photo = read_image(case["photo"])
        return lambda: generator.generate(photo)
    if case["part"] == "memory-attention":
        return _memory_attention(model)
    if case["part"] == "memory-encoder":
        return _memory_encoder(model)
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


def _memory_attention(model: Model) -> Callable[[], object]:
    """One object whose memory is full."""
    config, side = model.config, model.config.image_size // 16
    frame, maps, pointers = memory_inputs(side * side, config.dim, config.memory.dim)
    maps = jnp.asarray(maps).reshape(1, -1, side * side, config.memory.dim)
    pointers = jnp.asarray(pointers)[None]
    full = MemoryTokens(
        maps=maps,
        maps_pe=maps,
        maps_valid=jnp.ones(maps.shape[:2], bool),
        pointers=pointers,
        pointers_pe=pointers,
        pointers_valid=jnp.ones(pointers.shape[:2], bool),
    )
    frame = jnp.asarray(frame).reshape(side, side, -1)

    def attend(model: Model) -> Any:
        return model.module.apply(
            {"params": model.params},
            frame[None],
            frame,
            full,
            method=lambda module, *inputs: module.memory_attention(*inputs),
        )

    compiled = jax.jit(attend).lower(model).compile()
    return lambda: jax.block_until_ready(compiled(model))


def _memory_encoder(model: Model) -> Callable[[], object]:
    """One object."""
    side, random = model.config.image_size, np.random.default_rng(0)
    embed = jnp.asarray(random.random((1, side // 16, side // 16, model.config.dim), np.float32))
    mask = jnp.asarray(random.random((1, side, side, 1), np.float32))

    def encode(model: Model) -> Any:
        return model.module.apply(
            {"params": model.params},
            embed,
            mask.astype(model.module.dtype),
            method=lambda module, *inputs: module.memory_encoder(*inputs),
        )

    compiled = jax.jit(encode).lower(model).compile()
    return lambda: jax.block_until_ready(compiled(model))


if __name__ == "__main__":
    serve(prepare)
