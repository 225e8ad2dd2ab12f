"""Read a checkpoint of any supported kind, found out from its content and never from its name."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from sam_jax.checkpoint import native, run_folder, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.huggingface import from_huggingface
from sam_jax.checkpoint.names import from_official
from sam_jax.config import Config, Sam2Config
from sam_jax.presets import PRESETS

SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a file or folder held.

    Attributes:
      kind: what it was found to be, in words.
      config: the model it belongs to.
      params: our paths -> float32 arrays; float32 ones may still lie in the file.
    """

    kind: str
    config: Config
    params: dict[str, np.ndarray]


def read(path: str | Path, *, config: Config | None = None) -> Checkpoint:
    """Read a native file, an official .pt/.pth, Hugging Face weights, or a training run's folder.

    Official and Hugging Face names are understood in both containers. Which parameters are present
    is not checked here: that needs the model, see `strict.merge`.

    Args:
      path: a file, a folder as Hugging Face lays it out, or that of a training run.
      config: the model, where it is none of the released ones.

    Raises:
      FileNotFoundError: no such file or folder.
      CheckpointError: anything else; the message says what was found.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir() and run_folder.is_run_folder(path):
        run = run_folder.read_run_folder(path)
        what = "averaged weights" if run.averaged else "weights"
        kind = f"training run, {what} after {run.step:,} steps"
        return Checkpoint(kind, config or run.config, run.params)
    if path.is_dir():
        arrays, metadata = read_folder(path)
        container = "folder"
    else:
        container = _container(path)
        if container == "PyTorch file":
            arrays, metadata = torch_file.state_dict(torch_file.read(path), path), {}
        else:
            arrays, metadata = native.read_safetensors(path)
    if native.is_native(metadata):
        params = {name: as_float32(name, array) for name, array in arrays.items()}
        config = config or native.read_config(path, metadata)
        return Checkpoint(f"native {container}", config, params)
    if any(name.startswith("vision_encoder.") for name in arrays):
        scheme, arrays = "Hugging Face", from_huggingface(arrays)
    elif any(name.startswith("image_encoder.") for name in arrays):
        scheme = "official"
    else:
        raise CheckpointError(
            f"{path} holds no SAM model: among its {len(arrays)} names none starts with "
            f"image_encoder. (official) or vision_encoder. (Hugging Face): {list(arrays)[:5]}"
            + _hint(arrays)
        )
    params = from_official({name: as_float32(name, array) for name, array in arrays.items()})
    config = config or identify(params, path)
    return Checkpoint(f"{container} with {scheme} names", config, params)


def _hint(names: Iterable[str]) -> str:
    """What probably happened to names in which a model can nearly be seen."""
    for name in names:
        if name.startswith("image_encoder/"):
            return ". These are names of sam_jax, without the config that sam_jax.save writes"
        if wrapped := re.match(r"(.+\.)(image|vision)_encoder\.", name):
            return f". Save it again with the prefix {wrapped[1]!r} removed from the names"
    return ""


def _container(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(9)
    # The length of a header of less than 16 MB, then the header, which is JSON. Asked first: the
    # length may begin like a zip file or a pickle.
    if len(head) == 9 and head[3:] == b"\0\0\0\0\0{":
        return "safetensors file"
    if head[:2] == b"PK" or head[:1] == b"\x80":  # zip; the older format, which explains itself
        return "PyTorch file"
    raise CheckpointError(
        f"{path} is not a checkpoint: neither a PyTorch zip file nor safetensors. It "
        + (f"starts with {head!r}" if head else "is empty")
    )


def read_folder(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Names -> arrays, and metadata, of the safetensors in a Hugging Face folder.

    Raises:
      CheckpointError: there are none, or a file is missing or damaged.
    """
    if (folder / SINGLE).exists():
        return native.read_safetensors(folder / SINGLE)
    if not (folder / _INDEX).exists():
        content = sorted(item.name for item in folder.iterdir())
        raise CheckpointError(
            f"{folder} holds neither {SINGLE} nor {_INDEX}, but {content[:10] or 'nothing'}"
        )
    try:
        shards = set(json.loads((folder / _INDEX).read_bytes())["weight_map"].values())
        # The index is untrusted: a shard is a file of this folder.
        outside = [shard for shard in shards if Path(shard).name != shard or shard in ("", "..")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX} is not an index of shards: {error!r}") from error
    if outside:
        raise CheckpointError(f"{folder / _INDEX} names files outside its folder: {outside[:5]}")
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(shards):
        if not (folder / shard).is_file():
            raise CheckpointError(f"{folder} lacks {shard}, which {_INDEX} names")
        arrays |= native.read_safetensors(folder / shard)[0]
    return arrays, {}


def as_float32(name: str, array: np.ndarray) -> np.ndarray:
    """Parameters are float32 here; half precision in a file is a choice about its size."""
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise CheckpointError(f"{name} has dtype {array.dtype}; a parameter must be floating point")
    return array.astype(np.float32, copy=False)


def identify(params: Mapping[str, np.ndarray], source: object = "the checkpoint") -> Config:
    """The released model that parameters belong to, told by their names and shapes.

    Raises:
      CheckpointError: none; the message lists what was looked at, and the known models.
    """
    sam2 = any(path.startswith("image_encoder/trunk/") for path in params)
    root = "image_encoder/trunk/" if sam2 else "image_encoder/"
    table = params.get(f"{root}pos_embed", np.zeros(0))
    blocks = {path.removeprefix(root).split("/")[0] for path in params if "/blocks_" in path}
    generation = "SAM 2.1" if "no_obj_embed_spatial" in params else "SAM 2.0"
    family = generation if sam2 else "SAM"
    seen = (family, table.shape[-1], len(blocks))
    known = {_signature(config): config for config in PRESETS.values()}
    if seen not in known:
        raise CheckpointError(
            f"{source} is no model known here: it looks like {_words(seen)}. Known are "
            + "; ".join(f"{config.name}: {_words(key)}" for key, config in known.items())
            + ". For a model of your own, pass its config=... in Python; for commands,"
            " python -m convert FILE OUT.safetensors --config CONFIG.json, and then use OUT"
        )
    return known[seen]


def _signature(config: Config) -> tuple[str, int, int]:
    if isinstance(config, Sam2Config):
        family = "SAM 2.1" if config.memory.no_object_embed else "SAM 2.0"
        return family, config.trunk.embed_dim, config.trunk.depth
    return "SAM", config.encoder.embed_dim, config.encoder.depth


def _words(signature: tuple[str, int, int]) -> str:
    family, width, blocks = signature
    return f"{family}, width {width}, {blocks} blocks"
