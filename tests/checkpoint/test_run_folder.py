"""The folder of a training run as a model: written as a training loop does, read back."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import sam_jax
from sam_jax import models
from sam_jax.checkpoint import strict
from sam_jax.checkpoint.config_json import to_json
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.run_folder import merge_lora, read_run_folder
from sam_jax.presets import SAM2_1_HIERA_NANO

SCALE = 2.0  # alpha / rank
KERNEL = "memory_attention/layers_0/self_attn/q_proj/kernel"
Flat = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Flat:
    return strict.flatten(random_params(models.build(SAM2_1_HIERA_NANO)))


def state_of(params: Flat, step: int, *, averaged: bool) -> dict[str, Any]:
    """A state in which the decoder and one kernel's additions are trained, to `step`."""
    random = np.random.default_rng(step)
    trained = {k: jnp.asarray(x + step) for k, x in params.items() if k.startswith("mask_decoder")}
    trained[f"{KERNEL}/lora_a"] = jnp.asarray(random.standard_normal((128, 2)), jnp.float32)
    trained[f"{KERNEL}/lora_b"] = jnp.asarray(random.standard_normal((2, 128)), jnp.float32)
    return {
        "trained": trained,
        "fixed": {k: jnp.asarray(x) for k, x in params.items() if k not in trained},
        "ema": {k: 0.5 * x for k, x in trained.items()} if averaged else {},
        "optimizer": (jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, trained)),
        "step": step,
    }


def write(folder: Path, states: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    config = json.loads(to_json(SAM2_1_HIERA_NANO))
    description = {"config": config, "lora": {"alpha": 4.0, "rank": 2}}
    (folder / "model.json").write_text(json.dumps(description))
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        for state in states:
            items = {"state": ocp.args.StandardSave(state), "data": ocp.args.JsonSave({"a": 1})}
            manager.save(state["step"], args=ocp.args.Composite(**items))
    return folder


@pytest.fixture(scope="module")
def run(params: Flat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    states = [state_of(params, step, averaged=True) for step in (9, 10)]
    return write(tmp_path_factory.mktemp("runs") / "mine", states)


def expected(params: Flat, step: int, *, averaged: bool) -> Flat:
    state = state_of(params, step, averaged=averaged)
    weights = state["ema"] if averaged else state["trained"]
    flat = {k: np.asarray(weights.get(k, x)) for k, x in params.items()}
    a, b = np.asarray(weights[f"{KERNEL}/lora_a"]), np.asarray(weights[f"{KERNEL}/lora_b"])
    return flat | {KERNEL: params[KERNEL] + SCALE * a @ b}


def assert_same(found: Flat, wanted: Flat) -> None:
    assert found.keys() == wanted.keys()
    for name, x in found.items():
        np.testing.assert_allclose(x, wanted[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_the_average_of_the_latest_step(run: Path, params: Flat) -> None:
    found = read_run_folder(run)
    assert (found.config, found.step, found.averaged) == (SAM2_1_HIERA_NANO, 10, True)
    assert_same(found.params, expected(params, 10, averaged=True))
    assert {type(x) for x in found.params.values()} == {np.ndarray}


def test_what_was_trained_where_there_is_no_average(tmp_path: Path, params: Flat) -> None:
    found = read_run_folder(write(tmp_path / "mine", [state_of(params, 3, averaged=False)]))
    assert (found.step, found.averaged) == (3, False)
    assert_same(found.params, expected(params, 3, averaged=False))


def test_it_loads_as_a_model(run: Path, params: Flat, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "sam_jax"):
        model = sam_jax.load(run)
    assert model.config == SAM2_1_HIERA_NANO
    flat = {name: np.asarray(x) for name, x in strict.flatten(model.params).items()}
    assert_same(flat, expected(params, 10, averaged=True))
    assert "training run, averaged weights after 10 steps, model sam2.1-hiera-nano" in caplog.text


def test_additions_go_to_their_own_kernel() -> None:
    kernel, a, b = np.ones((3, 2)), np.full((3, 1), 2.0), np.full((1, 2), 3.0)
    flat = {"x/kernel": kernel, "x/kernel/lora_a": a, "x/kernel/lora_b": b, "y": kernel}
    merged = merge_lora(flat, 0.5)
    assert merged.keys() == {"x/kernel", "y"}
    np.testing.assert_array_equal(merged["x/kernel"], np.full((3, 2), 4.0))
    assert merged["y"] is kernel


# Bad input


def test_what_a_killed_run_left_is_passed_over(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(run, folder)
    (folder / "checkpoints" / "11.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    assert read_run_folder(folder).step == 10
    for step in ("9", "10"):
        shutil.rmtree(folder / "checkpoints" / step)
    with pytest.raises(
        CheckpointError, match=r"killed has no finished checkpoint yet: .*holds \['"
    ):
        read_run_folder(folder)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(CheckpointError, match=r"no finished checkpoint yet.*holds nothing"):
        sam_jax.load(folder)


def test_other_folders_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not the folder of a training run: it has no model"):
        read_run_folder(tmp_path)
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor"):
        sam_jax.load(tmp_path)


def test_a_run_that_only_began_has_no_checkpoint_yet(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"has no finished checkpoint yet: .* holds nothing"):
        sam_jax.load(tmp_path)
    (tmp_path / "checkpoints").rmdir()
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(ValueError, match=r"model.json does not describe a model: FileNotFound"):
        sam_jax.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not describe a model: JSONDecodeError"),
        ("[]", "does not describe a model: TypeError"),
        ('{"config": {"family": "x"}, "lora": null}', "must be an object of a family"),
        ('{"config": CONFIG}', "does not describe a model: KeyError"),
        ('{"config": CONFIG, "lora": {"alpha": 1, "rank": 0}}', "ZeroDivisionError"),
        ('{"config": CONFIG, "lora": 3}', "does not describe a model: TypeError"),
    ],
)
def test_a_damaged_description(text: str, message: str, tmp_path: Path) -> None:
    text = text.replace("CONFIG", to_json(SAM2_1_HIERA_NANO))
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_run_folder(tmp_path)


def test_a_damaged_checkpoint(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run, folder)
    # Damage further inside makes orbax's threads complain after the error, into other tests.
    (folder / "checkpoints" / "10" / "state" / "_METADATA").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"state is damaged or not of a run: .*earlier step"):
        read_run_folder(folder)
    shutil.rmtree(folder / "checkpoints" / "10" / "state")
    with pytest.raises(CheckpointError, match="damaged or not of a run"):
        read_run_folder(folder)


def test_additions_without_a_scale(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(values | {"lora": None}))
    with pytest.raises(CheckpointError, match=f"has low-rank additions, {KERNEL}/lora_a and"):
        read_run_folder(folder)


def test_without_orbax(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(CheckpointError, match=r'pip install "sam_jax\[train\]"'):
        read_run_folder(run)
