"""Finding out what a file or folder is, from its content."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_jax import models
from sam_jax.checkpoint import detect, native, strict, torch_file
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.huggingface import to_huggingface
from sam_jax.checkpoint.names import from_official, to_official
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO

RELEASED = [name for name in PRESETS if name != "sam2.1-hiera-nano"]
State = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> State:
    """Random parameters of the nano model, flat."""
    return strict.flatten(random_params(models.build(SAM2_1_HIERA_NANO)))


@pytest.fixture(scope="module")
def official(params: State) -> State:
    return to_official(params, SAM2_1_HIERA_NANO)


def save(path: Path, state: State) -> Path:
    """Sharded over two files as transformers does, if `path` has no suffix."""
    if path.suffix == ".pt":
        torch_file.write(path, state)
    elif path.suffix == ".safetensors":
        native.write_safetensors(path, state, {"format": "pt"})
    else:
        path.mkdir()
        parts = {f"model-0000{i + 1}-of-00002.safetensors": list(state)[i::2] for i in range(2)}
        for file, names in parts.items():
            native.write_safetensors(path / file, {name: state[name] for name in names}, {})
        index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "folder"])
@pytest.mark.parametrize("scheme", ["official", "Hugging Face"])
def test_every_container_with_every_scheme(
    name: str, scheme: str, tmp_path: Path, params: State, official: State
) -> None:
    state = official if scheme == "official" else to_huggingface(official, SAM2_1_HIERA_NANO)
    found = detect.read(save(tmp_path / name, state))
    containers = {"a.pt": "PyTorch file", "a.safetensors": "safetensors file", "folder": "folder"}
    assert found.kind == f"{containers[name]} with {scheme} names"
    assert found.config == SAM2_1_HIERA_NANO
    assert found.params.keys() == params.keys()
    assert all(np.array_equal(found.params[path], params[path]) for path in params)


def test_native_file_whatever_its_suffix(tmp_path: Path, params: State) -> None:
    config = dataclasses.replace(SAM2_1_HIERA_NANO, name="mine", image_size=512)
    native.write(tmp_path / "a.pt", config, params)
    found = detect.read(tmp_path / "a.pt")
    assert found.kind == "native safetensors file"
    assert found.config == config
    assert all(np.array_equal(found.params[path], params[path]) for path in params)


@pytest.mark.parametrize("first", [b"\x80", b"P"])
def test_a_header_as_long_as_another_kinds_first_byte(first: bytes, tmp_path: Path) -> None:
    """A safetensors file begins with the length of its header, a pickle with \\x80."""
    path, seen = tmp_path / "a", set()
    for longer in range(0, 264, 8):
        native.write(path, dataclasses.replace(SAM2_1_HIERA_NANO, name="a" * (longer + 1)), {})
        seen.add(path.read_bytes()[:1])
        assert detect.read(path).kind == "native safetensors file"
    assert first in seen


def test_single_file_folder(tmp_path: Path, official: State) -> None:
    save(tmp_path / "model.safetensors", to_huggingface(official, SAM2_1_HIERA_NANO))
    (tmp_path / "config.json").write_text("{}")
    assert detect.read(tmp_path).kind == "folder with Hugging Face names"


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_other_precisions_become_float32(
    name: str, dtype: Any, tmp_path: Path, official: State
) -> None:
    state = {key: array.astype(dtype) for key, array in official.items()}
    found = detect.read(save(tmp_path / name, state)).params
    expected = from_official(state)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert all(np.array_equal(found[key], expected[key].astype(np.float32)) for key in expected)


def test_float32_of_a_torch_file_stays_in_the_file(tmp_path: Path, official: State) -> None:
    found = detect.read(save(tmp_path / "a.pt", official)).params
    assert not any(array.flags.owndata or array.flags.writeable for array in found.values())


@pytest.mark.parametrize("model", RELEASED)
def test_names_identify_the_released_models(model: str, recorded) -> None:
    assert detect.identify(from_official(recorded("official", model))) == PRESETS[model]


# Bad input


def read_error(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        detect.read(path)
    return str(error.value)


def test_unknown_architecture_lists_what_was_seen_and_what_is_known(
    tmp_path: Path, official: State
) -> None:
    state = {name: array for name, array in official.items() if ".blocks.6." not in name}
    path = save(tmp_path / "a.pt", state)
    message = read_error(path)
    assert "it looks like SAM 2.1, width 32, 6 blocks" in message
    assert "sam2-hiera-large: SAM 2.0, width 144, 48 blocks" in message
    assert "sam-vit-huge: SAM, width 1280, 32 blocks" in message
    assert "pass its config=" in message
    assert "python -m convert FILE OUT.safetensors --config CONFIG.json" in message
    assert detect.read(path, config=SAM2_1_HIERA_NANO).config == SAM2_1_HIERA_NANO


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    path = save(tmp_path / "resnet.pt", {"conv1.weight": np.zeros((1, 1), np.float32)})
    message = read_error(path)
    assert "resnet.pt holds no SAM model: among its 1 names none starts with" in message
    assert "conv1.weight" in message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("module.image_encoder.trunk.pos_embed", "the prefix 'module.' removed from the names"),
        ("image_encoder/trunk/pos_embed", "names of sam_jax, without the config that sam_jax.save"),
    ],
)
def test_names_that_are_nearly_right(name: str, hint: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors", {"x": np.zeros(1), name: np.zeros(1, np.float32)})
    assert hint in read_error(path)


def test_a_photo_called_pt(tmp_path: Path, docs_media: Path) -> None:
    photo = next(docs_media.glob("*.jpg")).read_bytes()
    (tmp_path / "photo.pt").write_bytes(photo)
    assert "photo.pt is not a checkpoint: neither" in read_error(tmp_path / "photo.pt")
    assert r"starts with b'\xff\xd8\xff" in read_error(tmp_path / "photo.pt")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    assert read_error(tmp_path / "a.pt").endswith("It is empty")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*a\.pt"):
        detect.read(tmp_path / "a.pt")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    message = read_error(tmp_path)
    assert "holds neither model.safetensors nor model.safetensors.index.json" in message
    assert "config.json" in message


def test_an_integer_parameter(tmp_path: Path, official: State) -> None:
    state = official | {"no_mem_embed": np.zeros((1, 1, 128), np.int64)}
    message = read_error(save(tmp_path / "a.pt", state))
    assert "no_mem_embed has dtype int64; a parameter must be floating point" in message


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "", ".."])
def test_an_index_that_leaves_its_folder(shard: str, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": shard}})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "names files outside its folder" in read_error(tmp_path)


@pytest.mark.parametrize("index", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_a_broken_index(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "is not an index of shards" in read_error(tmp_path)


def test_a_missing_shard(tmp_path: Path, official: State) -> None:
    save(tmp_path / "folder", official)
    os.remove(tmp_path / "folder" / "model-00002-of-00002.safetensors")
    assert "lacks model-00002-of-00002.safetensors, which" in read_error(tmp_path / "folder")


SMALL = {
    "image_encoder.trunk.pos_embed": np.ones((1, 2, 3, 3), np.float32),
    "image_encoder.trunk.blocks.0.attn.qkv.weight": np.ones((6, 2), np.float16),
    "no_mem_embed": np.ones((1, 1, 2), np.float32),
}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["a.pt", "a.safetensors", "native"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
    cut=st.none() | st.floats(0, 1),
)
def test_damaged_files_raise_nothing_but_clear_errors(
    kind: str, flips: list[tuple[float, int]], cut: float | None, tmp_path: Path
) -> None:
    path = tmp_path / kind
    if kind == "native":
        native.write(path, SAM2_1_HIERA_NANO, from_official(SMALL))
    else:
        save(path, SMALL)
    content = bytearray(path.read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    damaged = tmp_path / f"damaged_{kind}"
    damaged.write_bytes(content if cut is None else content[: int(cut * len(content))])
    try:
        detect.read(damaged, config=SAM2_1_HIERA_NANO)
    except ValueError as error:
        assert str(error)
