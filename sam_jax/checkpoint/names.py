"""Official PyTorch names <-> our paths.

Our path is the official name with list indices glued on, `blocks.3.attn.qkv.weight` ->
`blocks_3/attn/qkv/kernel`, so the mapping is five renames, the rule weight -> kernel or scale, and
two permutations. Values are only transposed, never computed with: both directions are bit-exact,
and the results are views of what came in.
"""

import re
from collections.abc import Mapping

import numpy as np

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.config import Config, Sam2Config

# Applied in order, official -> ours.
_RENAMES = [
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),  # SAM 2 prefixes what SAM does not
    (r"\.mlp\.lin([12])\.", lambda m: f".mlp.layers.{int(m[1]) - 1}."),
    (r"(neck\.convs\.\d+)\.conv\.", r"\1."),
    (r"(_tokens?|_embed|point_embeddings\.\d+)\.weight$", r"\1"),  # an Embedding used as a table
    (r"\.(\d+)(?=\.|$)", r"_\1"),
]
# Applied in order, ours (with dots for slashes) -> official, both families and each one's own.
_BACK = [
    (r"_(\d+)(?=\.|$)", r".\1"),
    (r"^((prompt_encoder|mask_decoder)\..*(_tokens?|_embed|point_embeddings\.\d+))$", r"\1.weight"),
]
_BACK_SAM2 = [
    (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
    (r"(neck\.convs\.\d+)\.", r"\1.conv."),
]
_BACK_SAM = [(r"\.mlp\.layers\.([01])\.", lambda m: f".mlp.lin{int(m[1]) + 1}.")]

_DENSE = (1, 0)
_CONV = (2, 3, 1, 0)  # Conv2d and, with transpose_kernel=True, ConvTranspose2d
_TABLE = (0, 2, 3, 1)  # NCHW -> NHWC
_TRUNK_TABLE = re.compile(r"image_encoder/trunk/pos_embed(_window)?")  # SAM 1's is NHWC already
_TEXT = re.compile("text_encoder/|prompt_encoder/text_projection/")
# Buffers some exporters of SAM 1 keep; constants of ours, absent from the released files.
_DROPPED = ("pixel_mean", "pixel_std")


def from_official(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Official names and layouts -> our paths and layouts.

    Raises:
      CheckpointError: two names mean the same parameter.
    """
    ours: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for name, array in state.items():
        if name in _DROPPED:
            continue
        path = _substitute(name, _RENAMES).replace(".", "/")
        if path.endswith("/weight"):
            path = path.removesuffix("weight") + ("kernel" if array.ndim > 1 else "scale")
        if path in ours:
            raise CheckpointError(f"{origin[path]!r} and {name!r} both mean {path!r}")
        origin[path] = name
        axes = _axes(path, array.ndim)
        ours[path] = array if axes is None else array.transpose(axes)
    return ours


def to_official(params: Mapping[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """Inverse of `from_official`, without what reads text, which the official code has not.

    Args:
      config: tells SAM 1 from SAM 2, whose prefixes differ.
    """
    renames = _BACK + (_BACK_SAM2 if isinstance(config, Sam2Config) else _BACK_SAM)
    official = {}
    for path, array in params.items():
        if _TEXT.match(path):
            continue
        name = re.sub(r"/(kernel|scale)$", "/weight", path).replace("/", ".")
        axes = _axes(path, array.ndim)
        value = array if axes is None else array.transpose(np.argsort(axes))
        official[_substitute(name, renames)] = value
    return official


def _axes(path: str, ndim: int) -> tuple[int, ...] | None:
    """The permutation official -> ours."""
    if path.endswith("/kernel"):
        return {2: _DENSE, 4: _CONV}.get(ndim)
    return _TABLE if ndim == 4 and _TRUNK_TABLE.fullmatch(path) else None


def _substitute(name: str, renames: list) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
