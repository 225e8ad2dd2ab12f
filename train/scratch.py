"""What helps a model with random weights to begin: answers that need no looking.

Nothing of it is upstream's, whose models begin with pretrained encoders and train for days.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from sam_jax.types import BACKGROUND, BOX_TOP_LEFT, FOREGROUND, Prompts


def naive_masks(prompts: Prompts, image_size: int, mask_size: int) -> Bool[Array, "n m m"]:
    """What can be answered without looking: ellipses in boxes, discs around clicks.

    Background clicks cut smaller discs out.
    """
    centres = (jnp.arange(mask_size) + 0.5) * (image_size / mask_size)
    grid = jnp.stack(jnp.meshgrid(centres, centres), -1)[:, :, None]  # [m m 1 2], xy

    def one(points: Array, labels: Array) -> Array:
        distance = jnp.linalg.norm(grid - points, axis=-1) / (image_size / 8)  # [m m p]
        mask = ((distance < 1) & (labels == FOREGROUND)).any(-1)
        mask &= ~((distance < 0.5) & (labels == BACKGROUND)).any(-1)
        centre, half = points[:2].mean(0), (points[1] - points[0]) / 2
        ellipse = jnp.linalg.norm((grid[:, :, 0] - centre) / jnp.maximum(half, 1), axis=-1) < 1
        return jnp.where(labels[0] == BOX_TOP_LEFT, ellipse, mask)

    return jax.vmap(one)(prompts.points, prompts.labels)
