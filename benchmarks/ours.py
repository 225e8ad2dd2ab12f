"""Worker of `benchmarks.image`: sam_jax."""

import jax
import jax.numpy as jnp
import numpy as np

import sam_jax
from benchmarks.worker import Case, serve
from sam_jax import image
from sam_jax.types import Prompts


def prepare(case: Case):
    model = sam_jax.load(case["checkpoint"], dtype=jnp.dtype(case["dtype"]))
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


if __name__ == "__main__":
    serve(prepare)
