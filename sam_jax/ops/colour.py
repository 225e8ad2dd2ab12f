"""The colour statistics that all SAM models normalise with."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Of ImageNet, RGB in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """RGB in 0..1 -> the encoders' input, of which the mean colour is 0."""
    return (images - jnp.asarray(MEAN)) / jnp.asarray(STD)
