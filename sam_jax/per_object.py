"""How the objects of a frame are computed: in turn, or as a batch.

On CPU and TPU in turn, where work that an object does not need is skipped; on GPU as a batch, in
which nothing may branch: a branch under vmap computes both sides, and is a collective on a mesh.
A TPU has room beside its units for the scores of one object, but not for those of several, which
would go to the main memory and back; see docs/performance.md.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sam_jax.frame import TrackOptions
from sam_jax.ops.formulation import for_cpu, for_tpu
from sam_jax.types import ImageFeatures


def over_each(
    function: Callable[[ImageFeatures, Any, bool], Any],
    features: ImageFeatures,
    objects: Any,
    options: TrackOptions,
) -> Any:
    """`function(features of one image, some of its objects, skip)` for all objects.

    `skip` is true where the function gets one object and may branch on what there is to do for it.

    Args:
      features: of b images.
      objects: leaves have a leading n = b * o, or 0.
    """
    b = features.embed.shape[0]
    n = max(x.shape[0] for x in jax.tree.leaves(objects))
    one_by_one = options.one_by_one
    if one_by_one is None:
        one_by_one = for_cpu() or for_tpu()
    groups = n if one_by_one else b
    objects = jax.tree.map(lambda x: x.reshape(groups, x.shape[0] // groups, *x.shape[1:]), objects)
    if groups == 1:
        return function(*jax.tree.map(lambda x: x[0], (features, objects)), n == 1)
    if not one_by_one:
        results = jax.vmap(lambda *group: function(*group, False))(features, objects)
    else:

        def one(indexed: tuple[Int[Array, ""], Any]) -> Any:
            index, objects = indexed
            image = jax.tree.map(lambda x: x[index * b // n], features)
            return function(image, objects, True)

        results = jax.lax.map(one, (jnp.arange(n), objects))
    return jax.tree.map(lambda x: x.reshape(n, *x.shape[2:]), results)


def where_needed(needed: Bool[Array, " 1"], work: Callable[[], Any]) -> Any:
    """What `work` gives, or zeros where it is not needed."""
    shapes = jax.eval_shape(work)
    idle = partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.cond(needed[0], work, idle)
