"""Our own files, and safetensors in general."""

import json
import os
import resource
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from sam_jax.checkpoint import native
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.presets import SAM2_1_HIERA_NANO

PARAMS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "b": np.array([1.5], np.float32),
}


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    native.write(path, SAM2_1_HIERA_NANO, PARAMS)
    arrays, metadata = native.read_safetensors(path)
    assert metadata["sam_jax"] == "1" and native.is_native(metadata)
    assert native.read_config(path, metadata) == SAM2_1_HIERA_NANO
    assert arrays.keys() == PARAMS.keys()
    assert all(np.array_equal(arrays[name], value) for name, value in PARAMS.items())
    assert os.listdir(tmp_path) == [path.name]
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode  # readable by whom any new file is


def test_bfloat16_in_safetensors(tmp_path: Path) -> None:
    value = np.array([[1, -2.5]], ml_dtypes.bfloat16)
    native.write_safetensors(tmp_path / "a", {"w": value}, {})
    arrays, metadata = native.read_safetensors(tmp_path / "a")
    assert arrays["w"].dtype == ml_dtypes.bfloat16
    assert np.array_equal(arrays["w"], value)
    assert not native.is_native(metadata)


def test_a_newer_version(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="native format '2', this sam_jax reads '1'"):
        native.read_config("a", {"sam_jax": "2"})


@pytest.mark.parametrize("config", ["", "{", json.dumps({"family": "sam2", "colour": 1})])
def test_a_broken_config(config: str) -> None:
    with pytest.raises(CheckpointError, match=r"^some\.safetensors: .*config"):
        native.read_config("some.safetensors", {"sam_jax": "1", "config": config})


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 50, b"\x10\0\0\0\0\0\0\0{", b"\x0b\0\0\0\0\0\0\0{not json}}"],
)
def test_a_broken_header(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.safetensors is not a readable safetensors file"):
        native.read_safetensors(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.safetensors"):
        native.read_safetensors(tmp_path / "a.safetensors")


def test_a_read_only_place(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"cannot write .*folder\.safetensors: it is a folder"):
        native.write(tmp_path / "folder.safetensors", SAM2_1_HIERA_NANO, PARAMS)


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file may grow beyond
    try:
        with pytest.raises(ValueError, match=r"cannot write .*a\.safetensors: .*File too large"):
            native.write_safetensors(path, {"w": np.zeros(10_000, np.float32)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]
