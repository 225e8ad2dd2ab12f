"""Linen modules, and the only place where parameters live."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sam_jax.config import Config, SamConfig
from sam_jax.models.sam import Sam
from sam_jax.models.sam2 import Sam2
from sam_jax.types import Prompts


def build(
    config: Config,
    dtype: DTypeLike = jnp.float32,
    *,
    drop_path: float = 0.0,
    remat: bool = False,
    dropout: float = 0.0,
) -> nn.Module:
    """The module of a config, computing in `dtype`.

    Args:
      drop_path, remat: of the image encoder, for training; see `sam_jax.models.hiera.Hiera`.
      dropout: of the memory attention, for training.
    """
    if isinstance(config, SamConfig):
        return Sam(config, dtype, drop_path, remat)
    return Sam2(config, dtype, drop_path, remat, dropout)


def init_params(module: nn.Module, key: jax.Array) -> dict[str, Any]:
    """Random float32 parameters with PyTorch's default distributions; for training from scratch."""
    config = module.config  # type: ignore[unresolved-attribute]
    side, mask = config.image_size, config.mask_size
    texts = 1 if config.text_dim else 0
    prompts = Prompts(
        points=jnp.zeros((1, 1, 2)),
        labels=jnp.zeros((1, 1), jnp.int32),
        mask=jnp.zeros((1, mask, mask, 1)),
        has_mask=jnp.zeros(1, bool),
        text=jnp.zeros((texts, config.text_dim)),
        has_text=jnp.zeros(texts, bool),
    )
    return module.init(key, jnp.zeros((1, side, side, 3)), prompts)["params"]


def abstract_params(module: nn.Module) -> dict[str, Any]:
    """Names, shapes and dtypes of a module's parameters, without computing any."""
    return jax.eval_shape(lambda: init_params(module, jax.random.key(0)))
