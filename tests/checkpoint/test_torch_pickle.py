"""The pickle inside a PyTorch file: what PyTorch may write there, and what an attacker might.

Written by hand, opcode by opcode, because torch is not needed to run these tests.
"""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_jax.checkpoint import torch_file, torch_pickle
from sam_jax.checkpoint.error import CheckpointError


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


def test_attributes_of_a_state_dict_mean_nothing(tmp_path: Path) -> None:
    state = glob("collections.OrderedDict") + b")R" + push("w") + tensor() + b"s"
    read = read_pickle(tmp_path, state + push({"_metadata": {"": {"version": 1}}}) + b"b")
    assert list(read) == ["w"] and not vars(read)


@pytest.mark.parametrize("name", ["torch._utils._rebuild_tensor_v2", "collections.OrderedDict"])
def test_attributes_of_anything_else_are_refused(name: str, tmp_path: Path) -> None:
    function = torch_pickle._GLOBALS["torch._utils", "_rebuild_tensor_v2"]
    state = b"N" + push({"__defaults__": (1, 2)}) + b"\x86"
    with pytest.raises(CheckpointError, match=r"sets attributes of .*; nothing was set"):
        read_pickle(tmp_path, glob(name) + state + b"b")
    assert function.__defaults__ is None


NESTED = push(()) + b"2\x86" * 60  # a tuple of 2 ** 60 tuples, by reference


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (b"}" + NESTED + b"Ns", "a key of type tuple"),
        (b"}(" + push("a") + b"N" + NESTED + b"Nu", "a key of type tuple"),
        (b"(" + NESTED + b"Nd", "a key of type tuple"),
        (glob("collections.OrderedDict") + b"]" + NESTED + b"N\x86a\x85R", "is damaged: TypeError"),
        (b"\x8f(" + NESTED + b"\x90", "holds a set"),
        (b"(" + NESTED + b"\x91", "holds a set"),
        (b"\x96" + (1 << 50).to_bytes(8, "little"), "holds a set or bytearray"),
        (tensor(offset=()).replace(push(()), NESTED, 1), "ill-formed tensor"),
        (NESTED + b"Q", "is damaged|unknown storage"),
        (b"(" + push("storage") + glob("torch.FloatStorage") + NESTED + b"NK\x06tQ", "unknown sto"),
    ],
)
def test_short_pickles_that_mean_endless_work(attack: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_pickle(tmp_path, attack)


def test_a_description_beyond_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_file, "_MAX_DESCRIPTION", 100)
    with pytest.raises(CheckpointError, match=r"'data\.pkl' of 104 bytes describes more than"):
        read_pickle(tmp_path, push(None) + b"0N" * 50)


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
