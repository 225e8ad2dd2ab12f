"""Safetensors files, and our own kind: a model in one file.

A native file has our paths as keys and says in its header how to rebuild the module:
`{"sam_jax": "1", "config": ...}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.checkpoint import config_json
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.config import Config
from sam_jax.files import replacing

_VERSION = "1"


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Names -> arrays, and the header's metadata, of any safetensors file.

    Raises:
      CheckpointError: damaged, or a dtype that numpy does not know.
      FileNotFoundError: no such file.
    """
    from safetensors import safe_open

    if not Path(path).exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # SafetensorError is not a ValueError, and dtypes raise their own
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def write_safetensors(
    path: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Write names -> arrays, under a temporary name and then renamed.

    Raises:
      ValueError: the file cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # safetensors writes the buffer as it lies in memory, whatever the strides.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(contiguous, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # neither an OSError nor a ValueError
            raise OSError(str(error)) from error
        temporary.chmod(mode)  # safetensors makes files that only their owner may read


def is_native(metadata: Mapping[str, str]) -> bool:
    return "sam_jax" in metadata


def read_config(path: str | Path, metadata: Mapping[str, str]) -> Config:
    """The config in the header of a native file.

    Raises:
      CheckpointError: written by a newer sam_jax, or no valid config.
    """
    if metadata["sam_jax"] != _VERSION:
        raise CheckpointError(
            f"{path} has native format {metadata['sam_jax']!r}, this sam_jax reads {_VERSION!r}"
        )
    try:
        return config_json.from_json(metadata.get("config", ""))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def write(
    path: str | Path, config: Config, params: Mapping[str, Any], notes: Mapping[str, str] = {}
) -> None:
    """Write a native file.

    Args:
      path: usually ends in .safetensors.
      config: describes the model.
      params: our paths joined with "/" -> arrays; 16-bit ones become float32 when they are read.
      notes: more metadata, for people.

    Raises:
      ValueError: the file cannot be written, or the disk is full.
    """
    metadata = {**notes, "sam_jax": _VERSION, "config": config_json.to_json(config)}
    write_safetensors(path, params, metadata)
