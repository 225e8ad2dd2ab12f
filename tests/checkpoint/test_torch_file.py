"""PyTorch files written and read without torch, and compared with torch."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from sam_jax.checkpoint import torch_file
from sam_jax.checkpoint.error import CheckpointError

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "half": np.array([1, -2.5], np.float16),
    "bfloat16": np.array([[1, -2.5]], ml_dtypes.bfloat16),
    "double": np.array([1e300]),
    "index": np.array([2**40], np.int64),
    "bytes": np.array([0, 255], np.uint8),
    "flags": np.array([True, False]),
    "scalar": np.array(3, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_read_equals_written(tmp_path: Path) -> None:
    torch_file.write(tmp_path / "a.pt", ARRAYS)
    value = torch_file.read(tmp_path / "a.pt")
    assert list(value) == ["model"]
    read = torch_file.state_dict(value, "a.pt")
    assert list(read) == list(ARRAYS)
    assert all(same(read[name], array) for name, array in ARRAYS.items())
    assert not read["matrix"].flags.writeable


def test_bare_dict_for_sam1(tmp_path: Path) -> None:
    torch_file.write(tmp_path / "a.pth", {"w": ARRAYS["matrix"]}, key=None)
    assert list(torch_file.read(tmp_path / "a.pth")) == ["w"]


def test_data_is_stored_plain_and_aligned_to_64_bytes(tmp_path: Path) -> None:
    torch_file.write(tmp_path / "a.pt", ARRAYS)
    content = (tmp_path / "a.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        assert file.testzip() is None
        for info in file.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            header = content[info.header_offset : info.header_offset + 30]
            sizes = np.frombuffer(header[26:30], "<u2")
            start = info.header_offset + 30 + int(sizes.sum())
            assert start % 64 == 0, info.filename


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    add = torch_file._add

    def full_disk(file: zipfile.ZipFile, name: str, data: Any) -> None:
        add(file, name, data)
        if name == "data/1":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch_file, "_add", full_disk)
    with pytest.raises(ValueError, match=r"cannot write .*a\.pt: .*No space left"):
        torch_file.write(path, ARRAYS)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.pt"]


def test_write_refuses_a_dtype_torch_has_no_storage_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write w: PyTorch has no storage of uint32"):
        torch_file.write(tmp_path / "a.pt", {"w": np.zeros(2, np.uint32)})
    assert not os.listdir(tmp_path)


def test_write_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the folder .*nowhere does not exist"):
        torch_file.write(tmp_path / "nowhere" / "a.pt", ARRAYS)


def test_compressed_members(tmp_path: Path) -> None:
    torch_file.write(tmp_path / "a.pt", ARRAYS)
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    read = torch_file.read(tmp_path / "b.pt")["model"]
    assert all(same(read[name], array) for name, array in ARRAYS.items())


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"zip file without data\.pkl"):
        torch_file.read(tmp_path / "a.pt")


def test_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch_file.write(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"a\.pt is damaged or cut short"):
        torch_file.read(path)


def test_a_flipped_bit_in_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch_file.write(path, {"w": np.full(100, 7, np.float32)})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(7).tobytes() * 100) + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="'data/0' do not match their checksum"):
        torch_file.read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured as Linux counts it")
def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    size = 200 << 20
    path = tmp_path / "big.pt"
    state = {f"w{i}": np.broadcast_to(np.float32(i), (size // 32,)) for i in range(8)}
    torch_file.write(path, state)
    program = f"""
import re
from sam_jax.checkpoint import torch_file
def peak():  # kilobytes; ru_maxrss would start from the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
arrays = torch_file.read({str(path)!r})["model"]
assert sum(float(array.sum()) for array in arrays.values()) == 28 * {size // 32}
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert run.returncode == 0, run.stderr
    read = int(run.stdout) * 1024
    assert 0.9 * size < read < 1.2 * size  # pages of the mapped file, which the system may drop


@pytest.mark.oracle
def test_torch_reads_what_we_write(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch_file.write(path, ARRAYS)
    for mmap in (False, True):
        read = torch.load(path, weights_only=True, mmap=mmap)["model"]
        assert list(read) == list(ARRAYS)
        for name, array in ARRAYS.items():
            value = read[name]
            assert tuple(value.shape) == array.shape
            numbers = value.float().numpy().astype(array.dtype) if "16" in name else value.numpy()
            assert same(numbers, array), name


@pytest.mark.oracle
def test_we_read_what_torch_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "base": base,
        "transposed": base.t(),
        "strided": base[1:, ::2],
        "expanded once": base[:1].expand(1, 4),
        "parameter": torch.nn.Parameter(base.clone()),
        "half": base.half(),
        "long": base.long(),
        "uint8": base.byte(),
        "bool": base > 3,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "a.pt"
    optimizer = torch.optim.AdamW([state["parameter"]])
    state["parameter"].grad = base
    optimizer.step()
    values = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 1, "loss": None}
    torch.save(values | {"shape": base.shape}, path)
    read = torch_file.read(path)
    for name, value in state.items():
        assert same(read["model"][name], value.detach().numpy()), name
    torch.save({"bfloat16": base.bfloat16()}, path)
    again = torch_file.read(path)["bfloat16"]
    assert again.dtype == ml_dtypes.bfloat16
    assert np.array_equal(again.astype(np.float32), base.numpy())


@pytest.mark.oracle
def test_old_torch_format_is_recognised(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before version 1\.6"):
        torch_file.read(tmp_path / "a.pt")
