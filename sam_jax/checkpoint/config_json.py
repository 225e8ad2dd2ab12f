"""The config of a model as JSON, as native files and the folders of training runs hold it."""

import dataclasses
import json
from typing import Any, get_args

from sam_jax.config import Config, Sam2Config, SamConfig

_FAMILIES: dict[str, type[Config]] = {"sam2": Sam2Config, "sam": SamConfig}


def to_json(config: Config) -> str:
    """The config as one line of JSON, stored in the header of native checkpoints."""
    family = next(name for name, cls in _FAMILIES.items() if type(config) is cls)
    return json.dumps({"family": family, **dataclasses.asdict(config)})


def from_json(text: str) -> Config:
    """Inverse of `to_json`.

    Raises:
      ValueError: not JSON, an unknown family, or unknown, missing or ill-typed fields; the message
        names them.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"model config is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("family") not in list(_FAMILIES):
        raise ValueError(
            f"model config must be an object of a family in {sorted(_FAMILIES)}: {text[:80]!r}"
        )
    return _build(_FAMILIES[values.pop("family")], values, "config")


def _build(cls: Any, values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{path} must be an object, got {type(values).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"{path} has unknown fields {unknown}; it may come from a newer sam_jax")
    built = {}
    for name, value in values.items():
        kind = fields[name].type
        if get_args(kind)[1:] == (type(None),):  # may be left out
            if value is None:
                continue
            kind = get_args(kind)[0]
        if dataclasses.is_dataclass(kind):
            built[name] = _build(kind, value, f"{path}.{name}")
        elif isinstance(value, list) and all(type(item) is _item(kind) for item in value):
            built[name] = tuple(value)
        elif type(value) is kind or (kind is float and type(value) is int):
            built[name] = value
        else:
            raise ValueError(f"{path}.{name} must be {kind}, got {value!r}")
    try:
        return cls(**built)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error


def _item(kind: Any) -> type:
    """What a list in JSON may hold."""
    return str if get_args(kind)[:1] == (str,) else int
