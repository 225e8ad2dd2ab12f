"""CLIP checkpoints as Hugging Face lays them out: config.json and weights in one folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.checkpoint import detect, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.names import from_official
from sam_jax.clip_config import ClipConfig, ClipImageConfig, ClipTextConfig

_PICKLED = "pytorch_model.bin"
_ENCODER = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
# What transformers assumes where config.json is silent.
_TEXT = _ENCODER | {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "eos_token_id": 49407,
}
_IMAGE = _ENCODER | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 32,
    "image_size": 224,
}


def read(folder: str | Path) -> tuple[ClipConfig, dict[str, np.ndarray]]:
    """What a folder holds: the model, and our paths -> float32 arrays.

    Which parameters are present is not checked here: that needs the model, see `strict.merge`.

    Raises:
      FileNotFoundError: no such folder.
      CheckpointError: no CLIP, one of another kind, or unreadable; the message says what was found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is a file, not the folder of" if folder.exists() else "is missing: it must be"
        raise FileNotFoundError(
            f"{folder} {problem} a CLIP checkpoint as Hugging Face lays it out, with config.json, "
            "the weights and the tokenizer"
        )
    config = read_config(folder)
    if not (folder / detect.SINGLE).exists() and (folder / _PICKLED).exists():
        state = torch_file.state_dict(torch_file.read(folder / _PICKLED), folder / _PICKLED)
    else:
        state, _ = detect.read_folder(folder)
    return config, {name: detect.as_float32(name, x) for name, x in from_clip(state).items()}


def from_clip(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hugging Face names and layouts -> our paths and layouts, which are theirs after the renames
    of `checkpoint.names`."""
    tables = {
        re.sub(r"((token|position)_embedding)\.weight$", r"\1", name): array
        for name, array in state.items()
        if not name.endswith(".position_ids")  # 0, 1, 2, ...: older files have them
    }
    return from_official(tables)


def read_config(folder: Path) -> ClipConfig:
    """The model that config.json describes.

    Raises:
      CheckpointError: there is none, it is of another model, or of a CLIP with other mathematics.
    """
    file = folder / "config.json"
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError:
        content = sorted(item.name for item in folder.iterdir())
        raise CheckpointError(
            f"{folder} has no config.json, but {content[:10] or 'nothing'}: get the whole folder"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is no JSON file, or is cut off: {error}") from error
    if not isinstance(values, dict) or values.get("model_type") != "clip":
        kind = values.get("model_type") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(f"{file} describes no CLIP: its model_type is {kind!r:.40}")
    text, image = _tower(values, "text_config", _TEXT), _tower(values, "vision_config", _IMAGE)
    for tower in (text, image):
        _require_openai(tower, file)
    width = values.get("projection_dim", 512)
    sizes = {"projection_dim": width} | image | text
    if wrong := [name for name in sizes.keys() - _ENCODER if type(sizes[name]) is not int]:
        raise CheckpointError(
            f"{file}: {wrong[0]} must be a whole number, got {sizes[wrong[0]]!r:.40}"
        )
    try:
        return ClipConfig(
            name=folder.resolve().name,
            embed_dim=width,
            text=ClipTextConfig(
                width=text["hidden_size"],
                depth=text["num_hidden_layers"],
                num_heads=text["num_attention_heads"],
                context=text["max_position_embeddings"],
                vocab_size=text["vocab_size"],
                eos_token=text["eos_token_id"],
            ),
            image=ClipImageConfig(
                width=image["hidden_size"],
                depth=image["num_hidden_layers"],
                num_heads=image["num_attention_heads"],
                patch=image["patch_size"],
                image_size=image["image_size"],
            ),
        )
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _tower(values: Mapping[str, Any], name: str, default: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a tower. What older files repeat under <name>_dict counts more."""
    found = dict(default)
    for part in (values.get(name), values.get(f"{name}_dict")):
        if isinstance(part, dict):
            found |= {key: part[key] for key in default if key in part}
    return found


def _require_openai(tower: Mapping[str, Any], file: Path) -> None:
    """CLIPs by others differ in these three."""
    wanted = _ENCODER | {"intermediate_size": None}
    if type(tower["hidden_size"]) is int:
        wanted["intermediate_size"] = 4 * tower["hidden_size"]
    for name, value in wanted.items():
        if tower[name] != value:
            raise CheckpointError(
                f"{file}: {name} is {tower[name]!r:.40}, and only OpenAI's CLIPs are known here, "
                f"with {value!r}"
            )
