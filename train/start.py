"""Weights to begin a run with: random ones, a model's, or a pretrained image encoder's."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.strict import flatten, unflatten
from sam_jax.config import Config
from sam_jax.load import load, locate
from sam_jax.models import abstract_params, init_params
from sam_jax.presets import preset
from train.config import Recipe
from train.pretrained import encoder_params, read_encoder

_ATTRACTION = 6.0  # makes the attraction of a position to itself about 3 before the softmax
_ANSWER = 4.0  # of the tokens to the image, against what the image shows
_PLACE = 2.0  # bias of queries and keys to the memory, which turn: what is near attracts
_EMBED_SCALE = 1.6  # standard deviation of a trained image embedding, which the memory must keep


def model_config(recipe: Recipe) -> Config:
    """The model that a recipe trains."""
    config = preset(recipe.model)
    if recipe.image_size is not None:
        config = dataclasses.replace(config, image_size=recipe.image_size)
    if recipe.words is not None:
        return dataclasses.replace(config, words=recipe.words, text_dim=recipe.words.width)
    if recipe.text_dim:
        config = dataclasses.replace(config, text_dim=recipe.text_dim)
    return config


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
    config: Config = module.config  # type: ignore[unresolved-attribute]
    if not recipe.start:
        return random_params(module, key), "random weights"
    path = locate(recipe.start)
    if (encoder := read_encoder(path)) is not None:
        params = flatten(random_params(module, key))
        found, said = encoder_params(encoder, config, params, path)
        params |= {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}
        return unflatten(params), said
    model = load(path, dtype=jnp.float32, image_size=config.image_size)
    own = model.config
    adds_text = config.text_dim > 0 and own.text_dim == 0
    drops_text = config.text_dim == 0 and own.text_dim > 0
    if adds_text or drops_text:
        own = dataclasses.replace(own, text_dim=config.text_dim, words=config.words)
    if differences := _differences(own, config):
        raise CheckpointError(
            f"{path} is of another model, {model.config.name!r}, than the recipe's, "
            f"{config.name!r}: {'; '.join(differences)}"
        )
    params = flatten(model.params)
    if adds_text:
        params = flatten(random_params(module, key)) | params
        return unflatten(params), f"weights of {path}; random: all that reads text"
    if drops_text:
        params = {name: params[name] for name in flatten(abstract_params(module))}
        return unflatten(params), f"weights of {path}; left out: all that reads text"
    return model.params, f"weights of {path}"


def random_params(module: nn.Module, key: PRNGKeyArray) -> dict[str, Any]:
    """Parameters from which a model learns quickly that answers depend on prompts and memory.

    Tokens and prompt embeddings are as large as PyTorch's nn.Embedding: the Fourier code of a click
    does not drown them. So is what a text becomes. Where tokens and image read each other, keys
    begin as queries times a gain, so that equal positions attract. With independent queries and
    keys, hundreds of steps pass before an answer depends on the prompt.

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
    if "text_projection" in params["prompt_encoder"]:  # of vectors of length 1
        projection = params["prompt_encoder"]["text_projection"]
        projection["kernel"] /= projection["kernel"].std()
    transformer = params["mask_decoder"]["transformer"]
    readers = [transformer["final_attn_token_to_image"]]
    for layer in _layers(transformer):
        readers += [layer["cross_attn_token_to_image"], layer["cross_attn_image_to_token"]]
        layer["cross_attn_image_to_token"]["out_proj"]["kernel"] *= _ANSWER
    for attention in readers:
        attention["k_proj"]["kernel"] = _ATTRACTION * attention["q_proj"]["kernel"]
    if "memory_attention" not in params:  # SAM 1
        return params
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
