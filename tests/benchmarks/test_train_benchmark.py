"""The training benchmark: its table, its batches, and that both sides are asked for the same."""

import math
import sys

import numpy as np
import pytest

from benchmarks import train
from benchmarks.train import Row, Side
from benchmarks.train_case import SHAPES, arrays
from benchmarks.train_ours import recipe_of, share_of_waiting


def test_a_ratio_above_one_is_faster() -> None:
    ours = Side(prepare=60.0, steps=[1.0, 2.0, 4.0], cpu=[3.0, 3.0, 3.0], peak_mb=100.0)
    peer = Side(prepare=1.0, steps=[6.0, 5.0, 7.0], cpu=[9.0, 8.0, 7.0], peak_mb=200.0)
    cells = Row("sam2.1-hiera-nano", "images", "float32", ours, peer, 0.125).cells()
    assert cells[2:] == [
        "float32",
        "0.500 (0.250-1.000)",
        "0.167 (0.143-0.200)",
        "3.00",
        "3.00",
        "8.00",
        "60",
        "100",
        "200",
        "12.5%",
    ]


def test_without_a_peer_there_is_no_ratio() -> None:
    ours = Side(prepare=60.0, steps=[1.0], cpu=[3.0], peak_mb=100.0)
    cells = Row("sam2.1-hiera-nano", "videos", "float32", ours, None, None).cells()
    assert [cells[i] for i in (4, 5, 7, 10, 11)] == [""] * 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--batches", "x"], "no batch .'x'.; there are images"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--models", "nano"], "unknown model 'nano'"),
        (["--peer", "/gone/python"], "no Python at /gone/python: run `make oracle`"),
    ],
)
def test_refusals(args: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *args])
    with pytest.raises(SystemExit, match=message):
        train.main()


@pytest.mark.parametrize("name", list(SHAPES))
def test_every_object_of_a_batch_is_there_from_the_first_frame_on(name: str) -> None:
    shape = SHAPES[name]
    images, masks = arrays(shape, 64)
    assert images.shape == (shape.frames, shape.clips, 64, 64, 3)
    assert masks.shape == (shape.frames, shape.clips * shape.objects, 64, 64)
    assert masks.any((2, 3)).all()
    assert all(
        np.array_equal(a, b) for a, b in zip(arrays(shape, 64), (images, masks), strict=True)
    )


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_recipe_asks_for_what_the_batch_holds(name: str) -> None:
    case = {"model": "sam2.1-hiera-nano", "folder": "", "batch": name, "dtype": "float32"}
    recipe = recipe_of(case)
    streams = {"images": recipe.images, "videos": recipe.videos}
    stream = streams.pop(name)
    assert list(streams.values()) == [None]
    assert stream is not None
    shape = SHAPES[name]
    assert (stream.batch, stream.frames, stream.objects) == (
        shape.clips,
        shape.frames,
        shape.objects,
    )
    assert stream.prompts.corrections == shape.corrections


def test_waiting_is_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that takes 3 s for each batch, and steps of 1 s."""
    now = 0.0

    def clock() -> float:
        return now

    def batches():
        nonlocal now
        while True:
            now += 3
            yield None

    def step(_: object) -> None:
        nonlocal now
        now += 1

    monkeypatch.setattr("benchmarks.train_ours.time.perf_counter", clock)
    assert share_of_waiting(batches(), step, 5) == (15.0, 20.0)


@pytest.mark.oracle
def test_the_official_code_takes_steps(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a batch of the smallest model; the same weights are then better at it."""
    torch = pytest.importorskip("torch", reason="torch is not installed: run `make oracle`")
    import sys

    from benchmarks import peer, train_peer

    for name in ("training.trainer", "training.utils.data_utils"):
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))
    checkpoint = tmp_path / "nano.pt"
    peer.write("sam2.1-hiera-nano", str(checkpoint))
    run = train_peer.prepare(
        {
            "model": "sam2.1-hiera-nano",
            "checkpoint": str(checkpoint),
            "batch": "images",
            "dtype": "float32",
        }
    )
    torch.manual_seed(0)  # of the clicks
    first, *_, last = [float(run()) for _ in range(4)]  # type: ignore[arg-type]
    assert math.isfinite(first) and last < first
