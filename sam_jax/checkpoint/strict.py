"""The comparison every load ends in: exactly the model's parameters, no more and no less."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.checkpoint.error import CheckpointError

_LISTED = 20  # names per kind of difference; a wrong model differs in hundreds


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> dict keyed by paths joined with "/"."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = value
    return tree


def merge(
    expected: Mapping[str, Any], found: Mapping[str, np.ndarray], source: object = "the checkpoint"
) -> dict[str, Any]:
    """Arrange `found` as the tree a model expects.

    Args:
      expected: nested dict of anything with a shape, as from `models.abstract_params`.
      found: path -> array.
      source: named in the error.

    Raises:
      CheckpointError: listing every missing (-), unexpected (+) and differently shaped (~) name.
    """
    wanted = flatten(expected)
    missing = [f"- {path} {tuple(wanted[path].shape)}" for path in wanted if path not in found]
    extra = [
        f"+ {path} {tuple(array.shape)}" for path, array in found.items() if path not in wanted
    ]
    reshaped = [
        f"~ {path}: expected {tuple(wanted[path].shape)}, found {tuple(found[path].shape)}"
        for path in wanted
        if path in found and tuple(wanted[path].shape) != tuple(found[path].shape)
    ]
    if missing or extra or reshaped:
        counts = f"{len(missing)} missing, {len(extra)} unexpected, {len(reshaped)} of other shape"
        lines = [*_capped(missing), *_capped(extra), *_capped(reshaped)]
        raise CheckpointError(
            f"{source} does not match the model ({counts} of {len(wanted)} parameters):\n  "
            + "\n  ".join(lines)
        )
    return unflatten({path: found[path] for path in wanted})


def require_finite(params: Mapping[str, Any], source: object = "the checkpoint") -> None:
    """Refuse damaged numbers, for which safetensors has no checksum.

    Raises:
      CheckpointError: listing every name with NaN or infinite values.
    """
    bad = [name for name, array in flatten(params).items() if not np.isfinite(array).all()]
    if bad:
        lines = _capped([f"- {name} has NaN or infinite values" for name in bad])
        raise CheckpointError(f"{source} is damaged:\n  " + "\n  ".join(lines))


def _capped(lines: list[str]) -> list[str]:
    rest = len(lines) - _LISTED
    return lines if rest <= 0 else [*lines[:_LISTED], f"{lines[0][0]} ... and {rest} more"]
