"""A model from a name or a file, and back into a file."""

import dataclasses
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import models
from sam_jax.checkpoint import hub, native, strict, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.names import to_official
from sam_jax.image import encode_image
from sam_jax.load import load, locate, save
from sam_jax.presets import SAM2_1_HIERA_NANO
from sam_jax.types import Model


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Any:
    return random_params(models.build(SAM2_1_HIERA_NANO))


@pytest.fixture
def official(tmp_path: Path, params: Any) -> Path:
    """The nano model as Meta would have published it."""
    path = tmp_path / "nano.pt"
    torch_file.write(path, to_official(strict.flatten(params), SAM2_1_HIERA_NANO))
    return path


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert jax.tree.all(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b))


def test_load_an_official_file(
    official: Path, params: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sam_jax"):
        model = load(official)
    assert model.config == SAM2_1_HIERA_NANO
    assert model.module.dtype == jnp.float32  # on CPU
    assert_same(model.params, params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model.params))
    assert f"{official}: PyTorch file with official names, model sam2.1-hiera-nano" in caplog.text


def test_save_then_load(tmp_path: Path, params: Any) -> None:
    config = dataclasses.replace(SAM2_1_HIERA_NANO, name="mine", image_size=128)
    model = Model(jax.tree.map(jnp.asarray, params), models.build(config))
    save(model, tmp_path / "mine.safetensors")
    again = load(str(tmp_path / "mine.safetensors"))
    assert again.config == config
    assert_same(again.params, params)


def test_load_by_name(official: Path, params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "fetch", lambda name: {"sam2.1-hiera-nano": official}[name])
    assert_same(load("sam2.1-hiera-nano").params, params)


def test_load_survives_its_file(official: Path, params: Any) -> None:
    model = load(official)
    with official.open("r+b") as file:  # in place, as torch.save overwrites
        file.write(b"\0" * official.stat().st_size)
    assert_same(model.params, params)


def test_dtype_is_for_computing_only(official: Path) -> None:
    model = load(official, dtype=jnp.bfloat16)
    assert model.module.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {np.dtype(np.float32)}


def test_image_size(official: Path) -> None:
    assert load(official, image_size=512).config.image_size == 512
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 32, got 500"):
        load(official, image_size=500)


def test_sharding(official: Path, params: Any) -> None:
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    replicated = jax.sharding.NamedSharding(mesh, jax.P())
    for sharding in (replicated, jax.tree.map(lambda _: replicated, params)):
        model = load(official, sharding=sharding)
        assert {leaf.sharding for leaf in jax.tree.leaves(model.params)} == {replicated}
        assert_same(model.params, params)


def test_missing_and_unexpected_names(tmp_path: Path, params: Any) -> None:
    state = to_official(strict.flatten(params), SAM2_1_HIERA_NANO)
    del state["no_mem_embed"]
    state |= {"extra.weight": np.zeros((2, 3), np.float32), "no_obj_ptr": np.zeros((1, 7))}
    torch_file.write(tmp_path / "a.pt", state)
    with pytest.raises(ValueError) as error:
        load(tmp_path / "a.pt")
    message = str(error.value)
    assert "a.pt does not match the model (1 missing, 1 unexpected, 1 of other shape" in message
    assert "\n  - no_mem_embed (1, 1, 128)" in message
    assert "\n  + extra/kernel (3, 2)" in message
    assert "\n  ~ no_obj_ptr: expected (1, 128), found (1, 7)" in message


def test_image_only_huggingface_weights_name_what_they_lack(tmp_path: Path, params: Any) -> None:
    """`Sam2Model` of transformers has no memory; its file is not a whole model."""
    flat = strict.flatten(params)
    memory = ("memory_", "maskmem", "no_obj_ptr", "obj_ptr", "no_mem_pos", "mask_downsample")
    image = {path: array for path, array in flat.items() if not path.startswith(memory)}
    torch_file.write(tmp_path / "a.pt", to_official(image, SAM2_1_HIERA_NANO))
    with pytest.raises(ValueError, match=r"(?s)\d+ missing, 0 unexpected.*- maskmem_tpos_enc"):
        load(tmp_path / "a.pt")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    for x in ("folder/name", "tiny.pt", "tiny.safetensors", tmp_path / "name"):
        with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*taken for a path"):
            load(x)


def test_a_name_that_is_not_known() -> None:
    message = r"Did you mean 'sam2\.1-hiera-tiny'\?.*'sam2\.1-hiera-tny' was taken for a name"
    with pytest.raises(ValueError, match=message):
        load("sam2.1-hiera-tny")


def test_something_on_disk_wins_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    native.write("sam2.1-hiera-tiny", SAM2_1_HIERA_NANO, {"w": np.zeros(1, np.float32)})
    assert locate("sam2.1-hiera-tiny") == Path("sam2.1-hiera-tiny")


def test_damaged_numbers_do_not_load(tmp_path: Path, params: Any) -> None:
    flat = strict.flatten(params)
    flat["no_obj_ptr"] = np.full_like(flat["no_obj_ptr"], np.nan)
    native.write(tmp_path / "a.safetensors", SAM2_1_HIERA_NANO, flat)
    with pytest.raises(CheckpointError, match="- no_obj_ptr has NaN or infinite values"):
        load(tmp_path / "a.safetensors")


def test_an_alias_is_the_name_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    monkeypatch.setattr(hub, "fetch", lambda name: fetched.append(name) or tmp_path)
    assert locate("sam-vit-b") == tmp_path
    assert fetched == ["sam-vit-base"]


def test_sam1_in_the_official_form_at_its_own_and_at_another_size(
    tmp_path: Path, small_sam: Model
) -> None:
    """A bare .pth: names and layouts of segment_anything; tables keep their size in the tree."""
    config = small_sam.config
    flat = strict.flatten(jax.tree.map(np.asarray, small_sam.params))
    torch_file.write(tmp_path / "sam.pth", to_official(flat, config))
    images = jnp.asarray(np.random.default_rng(0).random((1, 128, 128, 3), np.float32))
    for side in (96, 128):
        model = load(tmp_path / "sam.pth", config=config, image_size=side)
        assert model.config.image_size == side
        assert_same(model.params, small_sam.params)
        embed = encode_image(model, images[:, :side, :side]).embed
        assert embed.shape == (1, side // 16, side // 16, 32)
        assert bool(jnp.isfinite(embed).all())


def test_a_path_below_home(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/nano.pt") == locate(Path("~/nano.pt")) == official


def test_a_repository_for_a_name(tmp_path: Path) -> None:
    message = r"'facebook/sam2\.1-hiera-tiny'.*Did you mean the model name 'sam2\.1-hiera-tiny'\?"
    with pytest.raises(FileNotFoundError, match=message):
        load("facebook/sam2.1-hiera-tiny")


def test_arguments_of_other_types(tmp_path: Path) -> None:
    """In a process of its own, without the type checks of the test suite."""
    program = """
import sys
import sam_jax
for call in (
    lambda: sam_jax.load(None),
    lambda: sam_jax.load(b"a.pt"),
    lambda: sam_jax.save({"params": 1}, sys.argv[1]),
    lambda: sam_jax.load("sam2.1-hiera-nano", image_size=512.0),
    lambda: sam_jax.load("sam2.1-hiera-nano", image_size="512"),
):
    try:
        call()
    except (TypeError, ValueError) as error:
        print(type(error).__name__, error)
"""
    path = tmp_path / "a.safetensors"
    run = subprocess.run(
        [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
    )
    size = "ValueError image_size: only whole numbers from 1 to 8192 are possible, got "
    accepted = "TypeError a model is a name (str) or a path (str or Path), got "
    assert run.stdout.splitlines() == [
        f"{accepted}None",
        f"{accepted}b'a.pt'",
        "TypeError save takes a sam_jax.Model, got dict",
        f"{size}512.0",
        f"{size}'512'",
    ]
    assert not path.exists()
