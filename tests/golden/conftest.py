"""Reads what `python -m convert.golden` wrote; the format is described there."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """One recorded call of an official module.

    Attributes:
      inputs: arrays that went in; floats are float32.
      outputs: arrays that came out.
      extra: settings of the call.
      model: our model with the same weights (`sam_jax.types.Model`); zeros where `convert.golden`
        stored none.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    extra: dict[str, Any]
    model: Any

    def run(self, method: Callable[..., Any], *args: Any) -> Any:
        """`method(module, *args)` under jit, `module` being the whole model with its weights."""

        def bound(params: Any, *args: Any) -> Any:
            return self.model.module.apply({"params": params}, *args, method=method)

        return jax.jit(bound)(self.model.params, *args)

    def check(self, atol: float = 1e-5, **ours: Any) -> None:
        """Compare all outputs: absolutely below 1, relatively above."""
        assert ours.keys() == self.outputs.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(value, self.outputs[name], atol, atol, err_msg=name)


@cache
def _weights(name: str) -> tuple[str, dict[str, np.ndarray]]:
    with np.load(FOLDER / f"weights_{name}.npz") as file:
        stored = dict(file)
    config = str(stored.pop("config"))
    state = {
        key: value * stored[f"{key}:scale"] if value.dtype == np.int8 else value
        for key, value in stored.items()
        if not key.endswith(":scale")
    }
    return config, state


@cache
def _model(name: str, decoder: str) -> Any:
    from sam_jax.checkpoint.config_json import from_json
    from sam_jax.checkpoint.names import from_official
    from sam_jax.checkpoint.strict import flatten, unflatten
    from sam_jax.models import abstract_params, build
    from sam_jax.types import Model

    text, state = _weights(name)
    config = from_json(text)
    fields = dataclasses.replace(config.decoder, **json.loads(decoder))
    module = build(dataclasses.replace(config, decoder=fields))
    found = from_official(state)
    expected = flatten(abstract_params(module))
    assert found.keys() <= expected.keys()
    filled = {path: found.get(path, np.zeros(x.shape, x.dtype)) for path, x in expected.items()}
    return Model(params=jax.tree.map(jnp.asarray, unflatten(filled)), module=module)


@pytest.fixture(scope="session")
def golden() -> Callable[[str, str], Case]:
    """`golden(part, case)`: a recorded call with the model that was called."""

    def read(part: str, case: str) -> Case:
        groups: dict[str, dict[str, Any]] = {"in": {}, "out": {}, "": {}}
        with np.load(FOLDER / f"{part}.npz") as file:
            for key in file.files:
                if key.startswith(f"{case}/"):
                    kind, _, name = key.removeprefix(f"{case}/").rpartition("/")
                    array = file[key]
                    is_half = array.dtype == np.float16
                    groups[kind][name] = array.astype(np.float32) if is_half else array
        assert groups["out"], f"{part}.npz has no case {case!r}"
        extra = {name: array.item() for name, array in groups[""].items()}
        model = _model(extra.pop("model"), extra.pop("decoder", "{}"))
        return Case(groups["in"], groups["out"], extra, model)

    return read
