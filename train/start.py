"""Weights to begin a run with: random ones, a model's, or a pretrained image encoder's."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from sam_jax.checkpoint import native, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.names import from_official
from sam_jax.checkpoint.strict import flatten, merge, require_finite, unflatten
from sam_jax.config import Sam2Config
from sam_jax.load import load, locate
from sam_jax.models import init_params
from train.config import Recipe

_ATTRACTION = 6.0  # makes the attraction of a position to itself about 3 before the softmax
_ANSWER = 4.0  # of the tokens to the image, against what the image shows
_PLACE = 2.0  # bias of queries and keys to the memory, which turn: what is near attracts
_EMBED_SCALE = 1.6  # standard deviation of a trained image embedding, which the memory must keep

_TRUNK = "image_encoder/trunk/"
_POSITION, _WINDOW = f"{_TRUNK}pos_embed", f"{_TRUNK}pos_embed_window"
# What only pretraining uses: classifier, norm before it, MAE's decoder.
_UNUSED = re.compile(
    r"(norm|head|encoder_norm|mask_token|decoder_\w+|multi_scale_fusion_heads)(\.|$)"
)


def initial_params(
    recipe: Recipe, module: nn.Module, key: PRNGKeyArray
) -> tuple[dict[str, Any], str]:
    """The parameters before the first step, nested, float32; and where they come from, in words.

    Args:
      module: of the recipe's model.

    Raises:
      FileNotFoundError: `recipe.start` was taken for a path, and nothing is there.
      ValueError: weights of another model, unreadable or damaged ones; the message says how.
    """
    config: Sam2Config = module.config  # type: ignore[unresolved-attribute]
    if not recipe.start:
        return random_params(module, key), "random weights"
    path = locate(recipe.start)
    hiera = _read_hiera(path)
    if hiera is not None:
        return _from_hiera(hiera, module, key, path)
    model = load(path, dtype=jnp.float32, image_size=config.image_size)
    if differences := _differences(model.config, config):
        raise CheckpointError(
            f"{path} is of another model, {model.config.name!r}, than the recipe's, "
            f"{config.name!r}: {'; '.join(differences)}"
        )
    return model.params, f"weights of {path}"


def random_params(module: nn.Module, key: PRNGKeyArray) -> dict[str, Any]:
    """Parameters from which a model learns quickly that answers depend on prompts and memory.

    Tokens and prompt embeddings are as large as PyTorch's nn.Embedding: the Fourier code of a click
    does not drown them. Where tokens and image read each other, keys begin as queries times a gain,
    so that equal positions attract. With independent queries and keys, hundreds of steps pass
    before an answer depends on the prompt.

    Queries and keys of the attention to the memory begin with equal biases. They are turned by
    their grid position, so that every place at first reads what was remembered about it and its
    neighbours. The last norm begins with the scale of the embedding that the decoder will know.

    None of it is upstream's, whose models begin with pretrained encoders and train for days.
    """
    return jax.jit(lambda key: _inclined(init_params(module, key)))(key)


def _inclined(params: dict[str, Any]) -> dict[str, Any]:
    for part in ("prompt_encoder", "mask_decoder"):
        for name, x in params[part].items():
            if name != "no_mask_embed" and re.search(r"_(tokens?|embed|embeddings_\d)$", name):
                params[part][name] = x / x.std()
    transformer = params["mask_decoder"]["transformer"]
    readers = [transformer["final_attn_token_to_image"]]
    for layer in _layers(transformer):
        readers += [layer["cross_attn_token_to_image"], layer["cross_attn_image_to_token"]]
        layer["cross_attn_image_to_token"]["out_proj"]["kernel"] *= _ANSWER
    for attention in readers:
        attention["k_proj"]["kernel"] = _ATTRACTION * attention["q_proj"]["kernel"]
    memory = params["memory_attention"]
    for layer in _layers(memory):
        for projection in ("q_proj", "k_proj"):
            layer["cross_attn_image"][projection]["bias"] += _PLACE
    memory["norm"]["scale"] *= _EMBED_SCALE
    memory["norm"]["bias"] += params["no_mem_embed"].reshape(-1)
    return params


def _layers(tree: Mapping[str, Any]) -> list[Any]:
    return [layer for name, layer in tree.items() if name.startswith("layers_")]


def _differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Fields of two configs that differ, but for the name, which changes nothing."""
    if type(found) is not type(wanted):
        return [f"{path or 'family'} is {type(found).__name__}, not {type(wanted).__name__}"]
    if not dataclasses.is_dataclass(found):
        return [] if found == wanted else [f"{path} is {found}, not {wanted}"]
    return [
        line
        for f in dataclasses.fields(found)
        if path or f.name != "name"
        for line in _differences(
            getattr(found, f.name), getattr(wanted, f.name), f"{path}.{f.name}".lstrip(".")
        )
    ]


def _read_hiera(path: Path) -> dict[str, np.ndarray] | None:
    """The tensors of a bare Hiera, as github.com/facebookresearch/hiera names them, or None.

    Their files have them under "model_state"; copies elsewhere are bare, or safetensors.
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
    return state if {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= set(state) else None


def _from_hiera(
    state: Mapping[str, np.ndarray], module: nn.Module, key: PRNGKeyArray, path: Path
) -> tuple[dict[str, Any], str]:
    """Random parameters, with a pretrained trunk.

    Plain Hiera orders tokens by mask units inside; that changes no parameter. Its last stage is not
    pooled while it learns by masking, which does not, either.
    """
    params = flatten(random_params(module, key))
    shapes = {name: x for name, x in params.items() if name.startswith(_TRUNK)}
    found = _trunk_params(state, shapes[_POSITION].shape)
    random = [] if _WINDOW in found else [_WINDOW]
    merge({name: x for name, x in shapes.items() if name not in random}, found, path)
    require_finite(found, path)
    params |= {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}
    rest = ", ".join([*random, "all outside of image_encoder/trunk"])
    return unflatten(params), f"trunk of {path}; random: {rest}"


def _trunk_params(
    state: Mapping[str, np.ndarray], position: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Names and layouts of a Hiera -> our paths; the position table in our size [1 h w c]."""
    renamed = {
        "image_encoder.trunk." + re.sub(r"\.mlp\.fc([12])\.", _mlp_layer, name): x
        for name, x in state.items()
        if not _UNUSED.match(name)
    }
    tables = {
        name: renamed.pop(f"image_encoder.trunk.{name}")
        for name in ("pos_embed", "pos_embed_window")
        if f"image_encoder.trunk.{name}" in renamed
    }
    found = from_official(renamed)
    for name, table in tables.items():
        grid = _grid(table)
        if name == "pos_embed" and grid.shape[1:3] != position[1:3]:
            shape = (1, *position[1:3], grid.shape[3])
            grid = np.asarray(jax.image.resize(grid.astype(np.float32), shape, "cubic"))
        found[_TRUNK + name] = grid
    return found


def _mlp_layer(match: re.Match[str]) -> str:
    return f".mlp.layers.{int(match[1]) - 1}."


def _grid(table: np.ndarray) -> np.ndarray:
    """A position table [1 h*w c], row by row, or [1 c h w], as [1 h w c]."""
    if table.ndim == 4:
        return table.transpose(0, 2, 3, 1)
    side = round(table.shape[1] ** 0.5)
    if table.ndim != 3 or side * side != table.shape[1]:
        raise CheckpointError(
            f"the position table has shape {table.shape}; only those of square images can be used"
        )
    return table.reshape(1, side, side, -1)
