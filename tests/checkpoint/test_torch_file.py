"""Reading and writing PyTorch files without torch, untrusted ones included."""

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_jax.checkpoint import torch_file
from sam_jax.checkpoint.files import CheckpointError

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


def glob(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return b"c" + f"{module}\n{attribute}\n".encode()


def push(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(
    *,
    count: int = 6,
    offset: Any = 0,
    size: Any = (2, 3),
    stride: Any = (3, 1),
    kind: str = "torch.FloatStorage",
) -> bytes:
    """What torch.save writes for a tensor on storage 0."""
    storage = b"(" + push("storage") + glob(kind) + push("0") + push("cpu") + push(count) + b"tQ"
    rest = push(offset) + push(size) + push(stride) + b"\x89" + glob("collections.OrderedDict")
    return glob("torch._utils._rebuild_tensor_v2") + b"(" + storage + rest + b")RtR"


def archive(path: Path, pickled: bytes, **members: bytes) -> Path:
    """A PyTorch file around hand-written opcodes; storage 0 holds 0..5 as float32."""
    content = {"data.pkl": b"\x80\x02" + pickled + b".", "byteorder": b"little"}
    content["data/0"] = np.arange(6, dtype=np.float32).tobytes()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (content | members).items():
            file.writestr(f"archive/{name}", data)
    return path


def read_pickle(folder: Path, pickled: bytes, **members: bytes) -> Any:
    return torch_file.read(archive(folder / "made.pt", pickled, **members))


# Round trip


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
    with pytest.raises(CheckpointError, match=r"cannot write .*a\.pt: .*No space left"):
        torch_file.write(path, ARRAYS)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.pt"]


def test_write_refuses_a_dtype_torch_has_no_storage_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot write w: PyTorch has no storage of uint32"):
        torch_file.write(tmp_path / "a.pt", {"w": np.zeros(2, np.uint32)})
    assert not os.listdir(tmp_path)


def test_write_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the folder .*nowhere does not exist"):
        torch_file.write(tmp_path / "nowhere" / "a.pt", ARRAYS)


# What PyTorch writes and we do not


def test_views_and_shared_storages(tmp_path: Path) -> None:
    views = {
        "whole": tensor(),
        "transposed": tensor(size=(3, 2), stride=(1, 3)),
        "last row, every other": tensor(offset=3, size=(1, 2), stride=(3, 2)),
    }
    body = b"}(" + b"".join(push(name) + code for name, code in views.items()) + b"u"
    read = read_pickle(tmp_path, body)
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(read["whole"], whole)
    assert np.array_equal(read["transposed"], whole.T)
    assert np.array_equal(read["last row, every other"], whole[1:, ::2])
    assert np.shares_memory(read["whole"], read["transposed"])


def test_parameters_sizes_and_untyped_storages(tmp_path: Path) -> None:
    parameter = glob("torch._utils._rebuild_parameter") + b"(" + tensor() + b"\x88)tR"
    size = glob("torch.Size") + push(((2, 3),)) + b"R"
    untyped = tensor(count=24, size=(24,), stride=(1,), kind="torch.storage.UntypedStorage")
    body = b"}(" + push("p") + parameter + push("s") + size + push("u") + untyped + b"u"
    read = read_pickle(tmp_path, body)
    assert np.array_equal(read["p"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert read["s"] == (2, 3)
    assert read["u"].tobytes() == np.arange(6, dtype=np.float32).tobytes()


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


def test_trainer_output(tmp_path: Path) -> None:
    rest = {"epoch": 3, "loss": None, "steps": {"train": 7}, "time_elapsed": 1.5, "best": [1, 2]}
    body = b"}(" + push("model") + b"}" + push("w") + tensor() + b"s"
    body += b"".join(push(key) + push(value) for key, value in rest.items()) + b"u"
    value = read_pickle(tmp_path, body)
    assert {key: value[key] for key in rest} == rest
    assert list(torch_file.state_dict(value, "x")) == ["w"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"state": 1, "epoch": 2}, r"x holds a int under 'state', not a tensor; .*'epoch'"),
        ([1, 2], "x holds a list, not named tensors"),
        ({}, r"x holds a dict with keys \[\], not named tensors"),
        ({"model": 5}, r"x holds a dict with keys \['model'\], not named tensors"),
    ],
)
def test_no_state_dict(value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        torch_file.state_dict(value, "x")


# Untrusted files

TOUCH = "touch marker"
PAYLOADS = {
    "posix.system": glob("posix.system") + push((TOUCH,)) + b"R",
    "os.system": b"\x8c\x02os\x8c\x06system\x93" + push((TOUCH,)) + b"R",  # STACK_GLOBAL
    "builtins.eval": b"(" + push("1") + b"ibuiltins\neval\n",  # INST
    "builtins.exec": b"(" + glob("builtins.exec") + push("1") + b"o",  # OBJ
    "torch.load": glob("torch.load"),
    "torch._utils._rebuild_tensor_v2.__globals__": b"\x8c\x0ctorch._utils"
    b"\x8c\x1e_rebuild_tensor_v2.__globals__\x93",
    "numpy.core.multiarray.scalar": glob("numpy.core.multiarray.scalar"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_other_names_are_refused_and_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"asks for {name}, .*nothing was run"):
        read_pickle(tmp_path, b"}" + push("model") + PAYLOADS[name] + b"s")
    assert os.listdir(tmp_path) == ["made.pt"]


def test_the_payload_would_have_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"\x80\x02" + PAYLOADS["posix.system"] + b".")
    assert os.listdir(tmp_path) == ["marker"]


@pytest.mark.parametrize(
    "attack",
    [
        {"offset": 1},
        {"size": (3, 3)},
        {"stride": (4, 1)},
        {"size": (10**15,), "stride": (0,)},
        {"size": (2**62, 4), "stride": (0, 0)},
        {"offset": 2**63},
        {"offset": 6, "size": (1,), "stride": (1,)},
    ],
)
def test_views_beyond_their_storage_are_refused(attack: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit its storage of 6 elements"):
        read_pickle(tmp_path, tensor(**attack))


@pytest.mark.parametrize(
    "attack",
    [
        {"offset": -1},
        {"stride": (-1, 1)},
        {"size": (-2, 3)},
        {"size": (2.0, 3)},
        {"offset": "0"},
        {"stride": (1,)},
    ],
)
def test_ill_formed_views_are_refused(attack: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="ill-formed tensor"):
        read_pickle(tmp_path, tensor(**attack))


def test_storage_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="storage 0 holds 24 bytes, not 7 elements of float32"
    ):
        read_pickle(tmp_path, tensor(count=7))


def test_big_endian(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has byte order 'big', not 'little'"):
        read_pickle(tmp_path, tensor(), byteorder=b"big")


def test_legacy_format_says_how_to_save_again(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    with pytest.raises(CheckpointError, match=r"before version 1\.6.*weights_only=True\), NEW\)"):
        torch_file.read(path)


def test_a_missing_storage(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", b"\x80\x02" + tensor() + b".")
    with pytest.raises(CheckpointError, match="is damaged: it has no member 'data/0'"):
        torch_file.read(path)


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


def test_a_garbled_pickle(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is damaged: "):
        read_pickle(tmp_path, b"}RRRR")


BODY = b"}(" + push("a") + tensor() + push("b") + tensor(offset=3, size=(3,), stride=(1,)) + b"u"


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(BODY) - 1), st.integers(0, 2), st.binary(max_size=9)),
        min_size=1,
        max_size=5,
    )
)
def test_garbled_pickles_raise_nothing_but_clear_errors(
    edits: list[tuple[int, int, bytes]], tmp_path: Path
) -> None:
    body = bytearray(BODY)
    for place, length, replacement in edits:
        body[place : place + length] = replacement
    try:
        read_pickle(tmp_path, bytes(body))
    except CheckpointError as error:
        assert str(error)


# Memory


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


# Against torch itself


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
