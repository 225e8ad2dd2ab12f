"""Image encoders that learned by masking, as their authors publish them.

Hiera for SAM 2, from github.com/facebookresearch/hiera; ViT for SAM 1, from facebookresearch/mae.
Both name blocks as SAM does; MLPs, what only pretraining uses, and the form of tables differ.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from sam_jax.checkpoint import native, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.names import from_official
from sam_jax.checkpoint.strict import merge, require_finite
from sam_jax.config import Config, SamConfig

_HIERA, _VIT = "image_encoder/trunk/", "image_encoder/"
# Classifier, norm before it, MAE's decoder.
_UNUSED = re.compile(
    r"(norm|fc_norm|head|encoder_norm|cls_token|mask_token|decoder_\w+|multi_scale_fusion_heads)"
    r"(\.|$)"
)
_SIGNATURE = {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
# What SAM adds to them, and a file may lack: what it is called, and what it begins as.
_ADDED = {
    r"image_encoder/trunk/pos_embed_window": (f"{_HIERA}pos_embed_window", "random"),
    r"image_encoder/neck_.*": ("its neck", "random"),
    r"image_encoder/blocks_\d+/attn/rel_pos_[hw]": ("relative positions", "zero"),
}


def read_encoder(path: Path) -> dict[str, np.ndarray] | None:
    """The tensors of a bare image encoder, by its authors' names; None if the file is none.

    Authors have them under "model_state" or "model"; copies elsewhere are bare, or safetensors.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip:
        content = torch_file.read(path)
        content = content.get("model_state", content) if isinstance(content, Mapping) else content
        state = torch_file.state_dict(content, path)
    else:
        try:
            state, _ = native.read_safetensors(path)
        except CheckpointError:  # `load` explains better what it is
            return None
    return state if set(state) >= _SIGNATURE else None


def encoder_params(
    state: Mapping[str, np.ndarray], config: Config, params: Mapping[str, jax.Array], path: Path
) -> tuple[dict[str, np.ndarray], str]:
    """The encoder's parameters by our paths; and what they and the rest are, in words.

    Tables become of our size. Of a ViT that is also the kernel of its patches: the huge one learned
    on patches of 14 pixels.

    Plain Hiera orders tokens by mask units inside; that changes no parameter. Its last stage is not
    pooled while it learns by masking, which does not, either.

    Args:
      params: of the model the encoder is for, flat.
      path: of the file, for messages.

    Raises:
      CheckpointError: it is another encoder, or damaged; the message says how.
    """
    root = _VIT if isinstance(config, SamConfig) else _HIERA
    own = {name: x for name, x in params.items() if name.startswith(root)}
    found = _renamed(state, root)
    for name in (f"{root}pos_embed", f"{root}patch_embed/proj/kernel"):
        if name in found and name in own:
            found[name] = _resized(found[name], own[name].shape, position="pos" in name)
    needed, said = dict(own), {"zero": [], "random": []}
    for pattern, (words, value) in _ADDED.items():
        lacking = [name for name in own if re.fullmatch(pattern, name) and name not in found]
        if lacking:
            said[value].append(words)
            needed = {name: x for name, x in needed.items() if name not in lacking}
    merge(needed, found, path)
    require_finite(found, path)
    said["random"].append(f"all outside of {root.rstrip('/')}")
    rest = "; ".join(f"{value}: {', '.join(words)}" for value, words in said.items() if words)
    return found, f"{'ViT' if root == _VIT else 'trunk'} of {path}; {rest}"


def _renamed(state: Mapping[str, np.ndarray], root: str) -> dict[str, np.ndarray]:
    """Names and layouts of an encoder's authors -> our paths."""
    tables = {
        root + name: _grid(table, has_class="cls_token" in state)
        for name in ("pos_embed", "pos_embed_window")
        if (table := state.get(name)) is not None
    }
    prefix = root.replace("/", ".")
    renamed = {
        prefix + re.sub(r"\.mlp\.fc([12])\.", _mlp_layer, name): x
        for name, x in state.items()
        if root + name not in tables and not _UNUSED.match(name)
    }
    return from_official(renamed) | tables


def _mlp_layer(match: re.Match[str]) -> str:
    return f".mlp.layers.{int(match[1]) - 1}."


def _grid(table: np.ndarray, *, has_class: bool) -> np.ndarray:
    """A position table [1 h*w c], row by row, or [1 c h w], as [1 h w c].

    Args:
      has_class: the first row is that of a class token, and goes.
    """
    if table.ndim == 4:
        return table.transpose(0, 2, 3, 1)
    if table.ndim == 3 and has_class:
        table = table[:, 1:]
    side = round(table.shape[1] ** 0.5)
    if table.ndim != 3 or side * side != table.shape[1]:
        raise CheckpointError(
            f"the position table has shape {table.shape}; only those of square images can be used"
        )
    return table.reshape(1, side, side, -1)


def _resized(x: np.ndarray, shape: tuple[int, ...], *, position: bool) -> np.ndarray:
    """A table [1 h w c], or a kernel [h w i o], stretched to our height and width."""
    axes = slice(1, 3) if position else slice(0, 2)
    wanted = list(x.shape)
    wanted[axes] = shape[axes]
    if tuple(wanted) == x.shape:
        return x
    return np.asarray(jax.image.resize(x.astype(np.float32), wanted, "cubic"))
