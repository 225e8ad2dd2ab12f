"""A model from a name or a file, in one call, and back into a file."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import models
from sam_jax.checkpoint import detect, hub, native, strict
from sam_jax.config import Config
from sam_jax.presets import PRESETS, preset
from sam_jax.types import Model

_log = logging.getLogger("sam_jax")


def load(
    x: str | Path,
    *,
    dtype: Any = None,
    sharding: Any = None,
    image_size: int | None = None,
    config: Config | None = None,
) -> Model:
    """Load a model.

    Args:
      x: a model name (`sam_jax.presets.PRESETS`), whose weights are downloaded when they are not
        cached; or the path of a native file, an official .pt or .pth, a safetensors file with
        official or Hugging Face names, a Hugging Face folder, or the folder of a training run,
        whose latest checkpoint is meant. A path is what exists, or has a folder or a checkpoint's
        suffix in it; the kind is found out from the content.
      dtype: the module computes in it; parameters are float32. Default: bfloat16 on GPU and TPU,
        float32 on CPU.
      sharding: `jax.sharding.Sharding` of the parameters, or a tree of them shaped like the
        parameters. Default: all on the first device.
      image_size: side of the square model input in pixels, when not the checkpoint's own. Position
        tables are stretched to it; the released models were trained at their own size only.
      config: the model a file belongs to, when it is none of the released ones.

    Returns:
      Config, module and parameters together.

    Raises:
      FileNotFoundError: `x` was taken for a path, and nothing is there.
      ValueError: unknown name, failed download, unreadable checkpoint, or one that does not match
        the model, or with NaN or infinite values; the message lists what is missing, unexpected or
        damaged.
      TypeError: `x` is neither a name nor a path.
    """
    path = locate(x)
    checkpoint = detect.read(path, config=config)
    config = checkpoint.config
    if image_size is not None:
        config = dataclasses.replace(config, image_size=image_size)
    _log.info("%s: %s, model %s", path, checkpoint.kind, config.name)
    if dtype is None:
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    module = models.build(config, dtype=dtype)
    tree = strict.merge(models.abstract_params(module), checkpoint.params, path)
    strict.require_finite(tree, path)
    return Model(_put(tree, sharding), module)


def save(model: Model, path: str | Path) -> None:
    """Write a model as one native file, from which `load` rebuilds it.

    Args:
      model: any model; its parameters are gathered from their devices.
      path: usually ends in .safetensors; replaced only when everything is written.

    Raises:
      ValueError: the file cannot be written.
      TypeError: not a model.
    """
    if not isinstance(model, Model):
        raise TypeError(f"save takes a sam_jax.Model, got {type(model).__name__}")
    native.write(path, model.config, strict.flatten(model.params))


def locate(x: str | Path) -> Path:
    """The file or folder that `load` would read for `x`, downloaded if it is a model name.

    Raises:
      FileNotFoundError: `x` was taken for a path, and nothing is there.
      ValueError: unknown name or failed download.
      TypeError: `x` is neither a name nor a path.
    """
    if _is_path(x):
        path = Path(os.path.expanduser(x))
        if not path.exists():
            hint = f". Did you mean the model name {path.name!r}?" if path.name in PRESETS else ""
            raise FileNotFoundError(f"no such file or folder: {str(x)!r} (taken for a path){hint}")
        return path
    try:
        name = preset(str(x)).name
    except ValueError as error:
        raise ValueError(f"{error} ({str(x)!r} was taken for a name: no such file)") from None
    return hub.fetch(name)


def _put(tree: dict[str, Any], sharding: Any) -> Any:
    """Arrays of a file -> arrays of a device, one at a time.

    Copied first: jax may keep a host array without a copy, and one mapped from a file would change,
    or crash the process, when the file does.
    """

    def put(array: np.ndarray, where: Any) -> jax.Array:
        return jax.device_put(np.array(array, np.float32, order="C"), where)

    if sharding is None or isinstance(sharding, jax.sharding.Sharding):
        return jax.tree.map(lambda array: put(array, sharding), tree)
    return jax.tree.map(put, tree, sharding)


def _is_path(x: str | Path) -> bool:
    if not isinstance(x, str | Path):
        raise TypeError(f"a model is a name (str) or a path (str or Path), got {x!r}")
    if isinstance(x, Path) or "/" in x or "\\" in x or Path(x).exists():
        return True
    return Path(x).suffix.lower() in {".safetensors", ".pt", ".pth", ".bin"}
