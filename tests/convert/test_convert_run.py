"""`python -m convert RUN_FOLDER OUT`: what was trained here, for everyone else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors import safe_open

import sam_jax
from convert import __main__ as cli
from sam_jax import models
from sam_jax.checkpoint import strict, torch_file
from sam_jax.checkpoint.config_json import to_json
from sam_jax.checkpoint.names import from_official
from sam_jax.image import encode_image
from sam_jax.ops.colour import MEAN, STD
from sam_jax.presets import SAM2_1_HIERA_NANO


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> dict[str, np.ndarray]:
    return strict.flatten(random_params(models.build(SAM2_1_HIERA_NANO)))


@pytest.fixture
def run(tmp_path: Path, params: dict[str, np.ndarray]) -> Path:
    """After 5 steps, in which only the decoder was trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = json.loads(to_json(SAM2_1_HIERA_NANO))
    (folder / "model.json").write_text(json.dumps({"config": config, "lora": None}))
    trained = {k: jnp.asarray(x) for k, x in params.items() if k.startswith("mask_decoder")}
    fixed = {k: jnp.asarray(x) for k, x in params.items() if k not in trained}
    state = {"trained": trained, "fixed": fixed, "ema": {}, "optimizer": trained, "step": 5}
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        manager.save(5, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))
    return folder


def convert(*arguments: object) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def test_into_a_native_file(
    run: Path, tmp_path: Path, params: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(run, tmp_path / "out.safetensors")
    line = capsys.readouterr().out
    assert "run: training run, weights after 5 steps, model sam2.1-hiera-nano, 359 arrays" in line
    model = sam_jax.load(tmp_path / "out.safetensors")
    assert model.config == SAM2_1_HIERA_NANO
    for name, x in strict.flatten(model.params).items():
        np.testing.assert_array_equal(x, params[name], err_msg=name)


def test_into_a_pytorch_file(run: Path, tmp_path: Path, params: Any) -> None:
    convert(run, tmp_path / "out.pt")
    state = torch_file.state_dict(torch_file.read(tmp_path / "out.pt"), "out.pt")
    back = from_official(state)
    assert back.keys() == params.keys()
    for name, x in back.items():
        np.testing.assert_array_equal(x, params[name], err_msg=name)


def test_halves_are_half_as_large_and_say_where_they_are_from(
    run: Path, tmp_path: Path, params: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "recipe.json").write_text('{"steps": 5}')
    (run / "scores.jsonl").write_text('{"step": 3}\n{"step": 5}\n')
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    convert(run, whole)
    convert(run, half, "--half")
    assert half.stat().st_size < 0.51 * whole.stat().st_size
    for name, x in strict.flatten(sam_jax.load(half).params).items():
        assert x.dtype == jnp.float32
        np.testing.assert_array_equal(x, params[name].astype(np.float16), err_msg=name)
    with safe_open(half, "numpy") as file:
        assert json.loads(file.metadata()["recipe"]) == {"steps": 5}
        assert json.loads(file.metadata()["scores"]) == {"step": 5}
    assert cli.main([str(run), str(tmp_path / "half.pt"), "--half"]) == 1
    assert "--half is for native files" in capsys.readouterr().err


def test_an_unfinished_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "5").rename(run / "checkpoints" / "5.orbax-checkpoint-tmp")
    assert cli.main([str(run), str(tmp_path / "out.pt")]) == 1
    assert "run has no finished checkpoint yet" in capsys.readouterr().err
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.oracle
def test_the_official_code_computes_what_was_trained(run: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from convert import official

    convert(run, tmp_path / "out.pt")
    theirs = official.build_sam2(SAM2_1_HIERA_NANO, seed=0)
    saved = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    theirs.load_state_dict(saved, strict=True)
    image = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    ours = encode_image(sam_jax.load(run), jnp.asarray(image))
    normal = (image - MEAN) / STD
    with torch.no_grad():
        found = theirs.forward_image(torch.tensor(normal, dtype=torch.float32).permute(0, 3, 1, 2))
    for a, b in zip((*ours.high_res, ours.embed), found["backbone_fpn"], strict=True):
        np.testing.assert_allclose(a, b.permute(0, 2, 3, 1), atol=1e-4)
