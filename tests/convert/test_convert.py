"""`python -m convert`: round trips, strictness, and what happens to the output."""

import dataclasses
import functools
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from convert import __main__ as cli
from sam_jax import models
from sam_jax.checkpoint import config_json, detect, native, strict, torch_file
from sam_jax.checkpoint.huggingface import from_huggingface
from sam_jax.checkpoint.names import from_official, to_official
from sam_jax.config import WordsConfig
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO

RELEASED = [name for name in PRESETS if name != "sam2.1-hiera-nano"]
SAM1 = [name for name in RELEASED if name.startswith("sam-")]
State = dict[str, np.ndarray]
_EXPECTED = functools.cache(cli._expected)  # tracing a module takes seconds


@pytest.fixture(autouse=True)
def _trace_each_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_expected", _EXPECTED)


@pytest.fixture(scope="module")
def official(random_params: Callable[..., Any]) -> State:
    """Random weights of the nano model under official names."""
    params = strict.flatten(random_params(models.build(SAM2_1_HIERA_NANO)))
    state = to_official(params, SAM2_1_HIERA_NANO)
    state["no_mem_embed"].flat[:3] = (np.nan, -0.0, np.inf)  # exact to the bit, whatever the bits
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


@pytest.fixture
def source(tmp_path: Path, official: State) -> Path:
    torch_file.write(tmp_path / "in.pt", official)
    return tmp_path / "in.pt"


def convert(*arguments: object) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def assert_same(a: State, b: State) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.shape == b[name].shape and array.dtype == b[name].dtype, name
        assert array.tobytes() == b[name].tobytes(), name


def read_official(path: Path) -> State:
    return torch_file.state_dict(torch_file.read(path), path)


@pytest.mark.parametrize(
    "steps",
    [
        ["a.safetensors"],
        ["hf"],
        ["hf.safetensors --to hf"],
        ["official.safetensors --to official"],
        ["a.safetensors", "hf", "b.safetensors", "official.safetensors --to official"],
    ],
    ids=str,
)
def test_round_trips_are_exact_to_the_bit(
    steps: list[str], source: Path, tmp_path: Path, official: State
) -> None:
    last = source
    for step in steps:
        name, *options = step.split()
        convert(last, tmp_path / name, *options)
        last = tmp_path / name
    convert(last, tmp_path / "out.pt")
    assert_same(read_official(tmp_path / "out.pt"), official)
    assert list(torch_file.read(tmp_path / "out.pt")) == ["model"]


def test_what_is_written_is_what_was_asked_for(source: Path, tmp_path: Path) -> None:
    kinds = {
        "native safetensors file": ["a.safetensors"],
        "safetensors file with official names": ["b.safetensors", "--to", "official"],
        "safetensors file with Hugging Face names": ["c.safetensors", "--to", "hf"],
        "folder with Hugging Face names": ["d"],
        "PyTorch file with official names": ["e.pth"],
    }
    for kind, (name, *options) in kinds.items():
        convert(source, tmp_path / name, *options)
        assert detect.read(tmp_path / name).kind == kind
    assert sorted(os.listdir(tmp_path / "d")) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "d" / "config.json").read_text())["model_type"] == "sam2_video"


def test_it_says_what_it_did(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(source, tmp_path / "a.safetensors")
    line = capsys.readouterr().out
    assert "in.pt: PyTorch file with official names, model sam2.1-hiera-nano, " in line
    assert line.endswith(f"-> {tmp_path / 'a.safetensors'}: native\n")


def test_a_note_where_transformers_cannot_follow(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(source, tmp_path / "hf")  # nano has narrower memories
    assert "note: transformers cannot build this model: it fixes memory.dim at 64, here 32" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("target", ["out.pt", "out"])
def test_what_reads_text_stays_here(
    target: str,
    tmp_path: Path,
    official: State,
    random_params: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = WordsConfig(("red",), width=8, depth=1, num_heads=2)
    config = dataclasses.replace(SAM2_1_HIERA_NANO, text_dim=8, words=words)
    added = strict.flatten(random_params(models.build(config)))
    native.write(tmp_path / "text.safetensors", config, added | from_official(official))
    convert(tmp_path / "text.safetensors", tmp_path / target)
    assert "note: left out: all that reads text" in capsys.readouterr().out
    convert(tmp_path / target, tmp_path / "back.pt")
    assert_same(read_official(tmp_path / "back.pt"), official)


def test_half_precision_becomes_float32(source: Path, tmp_path: Path, official: State) -> None:
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in official.items()}
    torch_file.write(source, half)
    convert(source, tmp_path / "out.pt")
    expected = {name: array.astype(np.float32) for name, array in half.items()}
    assert_same(read_official(tmp_path / "out.pt"), expected)


def test_a_model_of_ones_own(source: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SAM2_1_HIERA_NANO, name="mine", image_size=512)
    (tmp_path / "mine.json").write_text(config_json.to_json(config))
    convert(source, tmp_path / "a.safetensors", "--config", tmp_path / "mine.json")
    assert detect.read(tmp_path / "a.safetensors").config == config


# All released models. Full-size names; a number per array, repeated by stride, so no memory: the
# files are not written, only mapped.


@pytest.mark.parametrize("target", ["native", "official", "hf"])
@pytest.mark.parametrize("model", RELEASED)
def test_released_models_match_and_come_back(
    model: str, target: str, recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, config = recorded("official", model), PRESETS[model]
    found = detect.Checkpoint("recorded list", config, from_official(state))
    written: dict[str, Any] = {}
    monkeypatch.setattr(cli, "locate", Path)
    monkeypatch.setattr(detect, "read", lambda path, config: found)
    monkeypatch.setattr(native, "write_safetensors", lambda p, arrays, m: written.update(arrays))
    monkeypatch.setattr(torch_file, "write", lambda p, arrays, key: written.update({key: arrays}))
    suffix = ".pt" if target == "official" else ".safetensors"
    convert("anything", tmp_path / f"out{suffix}", "--to", target)
    if target == "native":
        back = to_official(written, config)
    elif target == "official":
        back = written[None if model in SAM1 else "model"]
    else:
        back = from_huggingface(written)
    assert {name: (array.shape, array.flat[0]) for name, array in back.items()} == {
        name: (array.shape, array.flat[0]) for name, array in state.items()
    }


# Bad input


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main([str(argument) for argument in arguments]) == 1
    return capsys.readouterr().err


def test_missing_and_unexpected_names_write_nothing(
    tmp_path: Path, official: State, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(official) | {"extra": np.zeros(1, np.float32)}
    del state["no_obj_ptr"]
    torch_file.write(tmp_path / "in.pt", state)
    message = error_of(capsys, tmp_path / "in.pt", tmp_path / "out.safetensors")
    assert "- no_obj_ptr (1, 128)" in message and "+ extra (1,)" in message
    assert os.listdir(tmp_path) == ["in.pt"]


def test_existing_output_is_kept(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"precious")
    assert "out.safetensors exists; --overwrite replaces it" in error_of(capsys, source, out)
    assert out.read_bytes() == b"precious"
    convert(source, out, "--overwrite")
    assert detect.read(out).kind == "native safetensors file"


def test_existing_files_of_a_folder_are_kept(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "notes.txt").touch()
    convert(source, tmp_path / "hf")
    message = error_of(capsys, source, tmp_path / "hf")
    assert "model.safetensors, " in message and "config.json exists; --overwrite" in message
    assert (tmp_path / "hf" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("nowhere/out.pt", [], "nowhere does not exist"),
        ("out.pt", ["--to", "native"], "native ends in .safetensors"),
        ("out", ["--to", "official"], "official ends in .pt or .pth or .safetensors"),
        ("out.pt", ["--to", "hf"], "hf is a folder, or ends in .safetensors"),
        ("out.bin", [], "hf is a folder, or ends in .safetensors; native ends in"),
        ("file", [], "file is a file, and hf is a folder"),
        ("folder.pt", ["--overwrite"], "it is a folder"),
    ],
)
def test_bad_outputs_are_found_out_before_reading(
    output: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.pt").mkdir()
    assert message in error_of(capsys, "not/there.pt", tmp_path / output, *options)


def test_suffixes_in_capitals(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "a.PT")
    convert(source, tmp_path / "b.SAFETENSORS")
    assert detect.read(tmp_path / "a.PT").kind == "PyTorch file with official names"
    assert detect.read(tmp_path / "b.SAFETENSORS").kind == "native safetensors file"


def test_folders_with_a_dot(source: Path, tmp_path: Path) -> None:
    (tmp_path / "old.bin").mkdir()
    for name in ("sam2.1-hf", "old.bin"):
        convert(source, tmp_path / name)
        assert detect.read(tmp_path / name).kind == "folder with Hugging Face names"


@pytest.mark.parametrize("output", ["out.safetensors", "out.pt", "hf"])
def test_a_full_disk_leaves_nothing(
    output: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow beyond
    try:
        message = error_of(capsys, source, tmp_path / output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"cannot write {tmp_path / output}" in message and "File too large" in message
    assert os.listdir(tmp_path) == ["in.pt"]


def test_missing_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(capsys, tmp_path / "in.pt", tmp_path / "out.pt")
    assert message.startswith("error: no such file or folder: ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n", "is no JSON file: it is not text"),
        (b"hello", ": model config is not JSON"),
        (b"{}", ": model config must be an object of a family"),
    ],
)
def test_a_bad_config_is_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    config = tmp_path / "config.png"
    config.write_bytes(content)
    said = error_of(capsys, source, tmp_path / "out.safetensors", "--config", config)
    assert said.startswith(f"error: --config {config}") and message in said
    assert not (tmp_path / "out.safetensors").exists()


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "python -m convert sam2.1_hiera_tiny.pt tiny.safetensors\n" in text
    assert "--to native|official|hf" in text
