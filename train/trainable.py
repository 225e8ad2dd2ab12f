"""Which parameters move: frozen parts, low-rank additions, and the tree that a model takes.

While training, parameters are flat dicts, path -> array: their groups are patterns on paths.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from sam_jax.checkpoint.run_folder import LORA_A, LORA_B, merge_lora
from sam_jax.checkpoint.strict import flatten, unflatten
from sam_jax.models.layers import kernel_init
from train.config import Lora, Recipe

_BUFFER = "positional_encoding_gaussian_matrix"  # a constant upstream: Fourier frequencies
_LISTED = 5


def split(
    params: Mapping[str, Any], recipe: Recipe, key: PRNGKeyArray
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The parameters that are trained and those that are not, by path.

    Kernels that match `recipe.lora.kernels` are not trained, frozen or not; the additions
    `<path>/lora_a` (random) and `<path>/lora_b` (zero) are.

    Args:
      params: nested, of a whole model.

    Raises:
      ValueError: a pattern that is none, or matches nothing; or nothing is left to train.
    """
    flat = flatten(params)
    fixed = {path for path in flat if path.endswith(_BUFFER)}
    for pattern in recipe.frozen:
        fixed |= _matching(pattern, flat, "frozen")
    additions = {}
    if recipe.lora is not None:
        kernels = _lora_kernels(recipe.lora, flat)
        fixed |= set(kernels)
        for path, own in zip(kernels, jax.random.split(key, len(kernels)), strict=True):
            i, o = flat[path].shape
            additions[path + LORA_A] = kernel_init(own, (i, recipe.lora.rank), jnp.float32)
            additions[path + LORA_B] = jnp.zeros((recipe.lora.rank, o))
    trained = {path: x for path, x in flat.items() if path not in fixed} | additions
    if not trained:
        raise ValueError(f"frozen={recipe.frozen} leaves nothing to train")
    return trained, {path: x for path, x in flat.items() if path in fixed}


def join(
    trained: Mapping[str, Array], fixed: Mapping[str, Array], lora: Lora | None
) -> dict[str, Any]:
    """The nested parameters of the model; inverse of `split`, and differentiable.

    Before the first step it is exactly `split`'s input: additions begin as products with zero.
    """
    flat = {**fixed, **trained}
    return unflatten(flat if lora is None else merge_lora(flat, lora_scale(lora)))


def lora_scale(lora: Lora) -> float:
    """What products of low-rank additions are multiplied by."""
    return lora.alpha / lora.rank


def _lora_kernels(lora: Lora, flat: Mapping[str, Any]) -> list[str]:
    """Paths of the matrices with additions, in order. Kernels of convolutions get none."""
    if lora.rank < 1:
        raise ValueError(f"lora.rank must be at least 1, got {lora.rank}")
    matching = _matching(lora.kernels, flat, "lora.kernels")
    kernels = sorted(path for path in matching if path.endswith("/kernel") and flat[path].ndim == 2)
    if not kernels:
        raise ValueError(
            f"lora.kernels {lora.kernels!r} matches no matrix, only {sorted(matching)[:_LISTED]}"
        )
    return kernels


def _matching(pattern: str, flat: Mapping[str, Any], what: str) -> set[str]:
    try:
        found = {path for path in flat if re.search(pattern, path)}
    except re.error as error:
        raise ValueError(f"{what} {pattern!r} is no regular expression: {error}") from error
    if not found:
        plain = re.sub(r"[\^$\\()]|\.\*", "", pattern)
        # A typo is nearest to a part of a path that is about as long.
        parts = {
            "/".join(path.split("/")[: i + 1]) for path in flat for i in range(path.count("/") + 1)
        }
        near = difflib.get_close_matches(plain, sorted(parts), n=_LISTED, cutoff=0.4)
        hint = near or sorted({path.split("/")[0] for path in flat})
        raise ValueError(f"{what} {pattern!r} matches no parameter; near are {', '.join(hint)}")
    return found
