"""The benchmark beside the official code: parts, table, refusals."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import ours
from benchmarks.parts import PARTS, chosen
from benchmarks.table import HEADER, Row
from sam_jax.presets import PRESETS


def test_a_ratio_above_one_is_faster() -> None:
    cells = Row("decoder-1", "float32", [0.01, 0.02, 0.04], [0.05], 2.5, 1000, 2000).cells()
    assert len(cells) == len(HEADER)
    assert cells == ["decoder-1", "float32", "20 (10-40)", "50", "2.50", "2.5", "1000", "2000"]
    assert Row("start-warm", "float32", [1.0], [2.0]).cells()[4:] == ["2.00", "", "", ""]


def test_parts_are_chosen_by_how_they_begin() -> None:
    assert chosen(()) == list(PARTS)
    assert chosen(("memory", "decoder-1")) == ["decoder-1", "memory-attention", "memory-encoder"]
    assert chosen(("video-1",)) == ["video-1"]  # not video-16
    with pytest.raises(ValueError, match="no part begins with 'encode-'; there are encoder-tiny"):
        chosen(("video", "encode-"))
    assert {part.model for part in PARTS.values()} <= PRESETS.keys()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--part", "x"], "no part begins with 'x'"),
        (["--dtype", "float16"], "--dtype is float32, bfloat16 or both"),
        (["--turns", "0"], "--turns must be at least 1, got 0"),
        (["--video", "gone.mp4"], "--video gone.mp4: no such file"),
        (["--peer", "/gone/python"], "no Python at /gone/python: run `make oracle`"),
        (["--peer", "/bin/false"], "--peer /bin/false made no weights .*make oracle"),
        (["--peer", "/bin", "--part", "encoder-tiny"], "--peer /bin made no weights"),
        (
            ["--part", "everything-vit-b", "--dtype", "bfloat16"],
            "everything-vit-b: not measured in bfloat16",
        ),
    ],
)
def test_refusals(args: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *args])
    with pytest.raises(SystemExit, match=message):
        command.main()


@pytest.mark.parametrize(
    "part", ["encoder-tiny", "decoder-64", "memory-attention", "memory-encoder"]
)
def test_our_side_runs(part: str, small_tracker: Callable[..., Any], tmp_path: Path) -> None:
    """The same cases on a small model; the peer's side needs the official code."""
    import sam_jax

    file = tmp_path / "small.safetensors"
    sam_jax.save(small_tracker(), file)
    case = PARTS[part].case | {"checkpoint": str(file), "dtype": "float32"}
    found = jax.tree.leaves(ours.prepare(case)())
    assert found and all(np.isfinite(np.asarray(leaf)).all() for leaf in found)
