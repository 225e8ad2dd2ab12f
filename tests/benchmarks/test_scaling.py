"""How cost grows: what workers are asked, what is made of their answers, table, plot, refusals."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scaling, scaling_ours, scaling_plot
from benchmarks.scaling_table import (
    FLOWS_HEADER,
    SIZES_HEADER,
    Line,
    Point,
    costs,
    flow_row,
    read,
    relative,
    size_rows,
    slope,
    write,
)
from benchmarks.worker import Worker

REPO = Path(__file__).resolve().parents[2]
CLIP = str(REPO / "docs" / "media" / "clip.mp4")
SIZES = Line(
    "objects",
    "video.step",
    "nano",
    "float32",
    "a machine",
    [
        Point(2, [0.1, 0.2, 0.3], [0.2, 0.2, 0.2], 100, 1, 2, 3),
        Point(8, [0.4, 0.6, 1.5], [0.6, 0.6, 0.6], 150, 10, 20, 30),
    ],
)
FILES = {"results": "json", "plot": "png", "markdown": "md"}
CLIPS = replace(SIZES, part="frames", what="video.track", points=[Point(9, [], [], None, 4, 5, 6)])
FLOW = replace(
    SIZES,
    part="frames",
    what="Stream",
    flow=True,
    points=[
        Point(
            10 * (i + 1),
            [0.1 + 0.001 * i, 0.1 + 0.001 * i, 9.0],
            [0.25 - 0.001 * i],
            200.0 + 0.1 * i,
            programs=5,
        )
        for i in range(11)
    ],
)


def test_turns_are_compared_with_those_beside_them() -> None:
    assert relative([2.0, 20.0, 9.0], [1.0, 10.0, 3.0]) == (2.0, 2.0, 3.0)


def test_a_slope_is_the_change_over_the_whole_length() -> None:
    rising = [100 + 2 * i for i in range(11)]
    assert slope(rising) == pytest.approx((2000 / 110,) * 3)
    rising[5] = 1e6  # one value does not matter
    assert slope(rising).change == pytest.approx(2000 / 110, rel=0.1)
    assert slope([7.0] * 20) == (0, 0, 0)


def test_sizes_are_rows_relative_to_the_smallest() -> None:
    assert costs(SIZES) == [1, pytest.approx(4)]
    rows = size_rows(SIZES, times=False)
    assert all(len(row) == len(SIZES_HEADER) for row in rows)
    assert [row[3:] for row in rows] == [
        ["2", "1.00", "1.00", "1.00", "100", "1.0", "2.0", "3.0"],
        ["8", "4.00 (3.00-5.00)", "1.00", "3.00", "150", "10.0", "20.0", "30.0"],
    ]
    assert size_rows(SIZES, times=True)[1][-1] == "600.0 (400.0-1500.0)"
    by_pixels = size_rows(replace(SIZES, power=2), times=False)
    assert [row[5] for row in by_pixels] == ["1.00", "0.25"]


def test_what_did_not_run_has_bytes_only() -> None:
    assert costs(CLIPS) == [None]
    assert size_rows(CLIPS, times=True)[0][3:] == ["9", *[""] * 4, "4.0", "5.0", "6.0", ""]


def test_a_flow_is_one_row() -> None:
    assert costs(FLOW)[-1] == pytest.approx(1.1 / 1.05)
    row = flow_row(FLOW, times=False)
    assert len(row) == len(FLOWS_HEADER)
    changes = ["+9.5 (+9.5 to +9.5)", "-4.1 (-4.1 to -4.1)", "+0.5 (+0.5 to +0.5)"]
    assert row[3:] == ["110", *changes, "200", "201", "0"]
    assert flow_row(FLOW, times=True)[-1] == "100.0, 110.0"


def test_results_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [SIZES, CLIPS, FLOW])
    assert read(tmp_path / "a.json") == [SIZES, CLIPS, FLOW]
    for text in ("", "[1]", '[{"part": "objects"}]', '{"a": 1}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match="holds no results of this command"):
            read(tmp_path / "a.json")


def test_a_plot_of_every_part_and_the_same_each_time(tmp_path: Path) -> None:
    parts = [SIZES, replace(SIZES, what="other"), replace(SIZES, part="size", power=2), CLIPS, FLOW]
    scaling_plot.draw(parts, tmp_path / "a.svg")
    scaling_plot.draw(parts, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert all(word in text for word in ("objects", "as the pixels", "frames of one stream"))


def test_what_a_worker_answers_becomes_points() -> None:
    told = {"arguments_mb": 1, "temporaries_mb": 2, "output_mb": 3, "programs": 4}
    turn = {"seconds": 0.5, "cpu_seconds": 0.5, "peak_mb": 9, "now_mb": 8, "each": [0.1]} | told
    assert scaling.size_point(2, [turn, turn, turn], ran=True) == Point(
        2, [0.5, 0.5], [0.5, 0.5], 9, 1, 2, 3, 4
    )
    assert scaling.size_point(2, [turn], ran=False) == Point(2, [], [], None, 1, 2, 3, 4)
    assert scaling.stretches([turn, turn, turn], 10) == [
        Point(10, [0.1], [0.05], 8, programs=4),
        Point(20, [0.1], [0.05], 8, programs=4),
    ]


def test_every_plan_is_for_a_run_that_there_is() -> None:
    plans = list(scaling.plans(scaling.Options()))
    assert {case["run"] for plan in plans for case in plan.cases.values()} == set(scaling_ours.RUNS)
    assert [plan.line.part for plan in plans if plan.line.flow] == ["frames", "pictures"]
    assert all(len(plan.cases) == 1 for plan in plans if plan.line.flow)
    (sizes,) = (plan for plan in plans if plan.line.part == "objects")
    assert list(sizes.cases) == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "sam-vit-base"], "sam-vit-base is a SAM 1 model"),
        (["--dtype", "float16"], "--dtype is float32 or bfloat16, got float16"),
        (["--objects", "4", "2"], r"--objects takes numbers from 1 on, rising, got \(4, 2\)"),
        (["--batch", "0"], "--batch takes numbers from 1 on"),
        (["--size", "100"], "image_size must be a positive multiple of 32, got 100"),
        (["--frames", "19"], "--frames must be at least 20, got 19"),
        (["--turns", "0"], "--turns must be at least 1, got 0"),
        (["--plot", "a.txt"], r"--plot a.txt: name a file that ends in .svg or .png"),
        (["--markdown", "gone/a.md"], "the folder gone does not exist"),
        (["--results", CLIP], "holds no results of this command"),
        (["--what", "--plot", "a.svg"], "nothing to measure or to draw"),
    ],
)
def test_refusals(args: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", *args])
    with pytest.raises(SystemExit, match=message):
        scaling.main()


@pytest.mark.parametrize(
    "case",
    [
        {"run": "step", "objects": 2},
        {"run": "encode", "pictures": 2},
        {"run": "stream", "video": CLIP, "items": 3},
        {"run": "pictures", "items": 2},
        {"run": "batch", "pictures": 2},
    ],
    ids=lambda case: case["run"],
)
def test_the_worker_runs(
    case: dict[str, Any], small_tracker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_ours, "random_model", lambda config, dtype: small_tracker())
    case |= {"model": "sam2.1-hiera-nano", "dtype": "float32"}
    run, known = scaling_ours.prepare(case)
    run()
    run()
    if case["run"] in ("stream", "pictures"):
        assert len(known["each"]) == case["items"] and min(known["each"]) > 0
    elif case["run"] != "batch":
        assert set(known) == {"arguments_mb", "temporaries_mb", "output_mb"}
        assert min(known.values()) > 0


def test_what_a_clip_needs_beside_frames_and_answers_does_not_grow(
    small_tracker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_ours, "random_model", lambda config, dtype: small_tracker())
    case = {"run": "track", "model": "sam2.1-hiera-nano", "dtype": "float32"}
    short, long = (scaling_ours.prepare(case | {"frames": t})[1] for t in (3, 2048))
    assert long["temporaries_mb"] == pytest.approx(short["temporaries_mb"], abs=0.1)
    assert long["output_mb"] > 100 * short["output_mb"]


def test_a_worker_is_a_process() -> None:
    """`serve` and the counting of compiled programs, on the smallest case."""
    cores = len(os.sched_getaffinity(0))  # fewer would be taken from the other tests, too
    worker = Worker(sys.executable, "benchmarks.scaling_ours", cores)
    case = {"run": "encode", "model": "sam2.1-hiera-nano", "size": 64, "pictures": 1}
    prepared = worker.ask({"do": "prepare", "case": case | {"dtype": "float32"}})
    turn = worker.ask({"do": "run"})
    worker.close()
    assert turn["programs"] == prepared["programs"] > 0
    assert turn["peak_mb"] >= turn["now_mb"] > 50 and 0 < turn["seconds"] < 5
    assert prepared["temporaries_mb"] > 0.1


def test_the_command_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Turns go from process to process; what was measured before is in the table and the plot."""
    asked = []

    class Told:
        """A worker whose time and memory are known."""

        def __init__(self, python: str, module: str, threads: int) -> None:
            assert (python, module, threads) == (sys.executable, "benchmarks.scaling_ours", 1)

        def ask(self, request: dict[str, Any]) -> dict[str, Any]:
            self.case = request.get("case") or self.case
            n = self.case["pictures"]
            asked.append((request["do"], self.case["run"], n))
            told = {"seconds": 0.1 * n, "cpu_seconds": 0.2 * n, "peak_mb": 100 + n, "programs": 1}
            return told | {"arguments_mb": n, "temporaries_mb": 2 * n, "output_mb": 3 * n}

        def close(self) -> None:
            asked.append(("close", self.case["run"], self.case["pictures"]))

    monkeypatch.setattr(scaling, "Worker", Told)
    files = {name: tmp_path / f"all.{end}" for name, end in FILES.items()}
    write(files["results"], [FLOW])
    sizes = ["--what", "batch", "--batch", "1", "4", "--turns", "2", "--threads", "1"]
    paths = [f"--{name}={file}" for name, file in files.items()]
    monkeypatch.setattr(sys, "argv", ["scaling", *sizes, *paths])
    scaling.main()
    each = ["prepare", "run", "run", "close"]
    assert asked == [(do, run, n) for run in ("encode", "batch") for do in each for n in (1, 4)]
    lines = read(files["results"])
    assert [line.what for line in lines] == ["Stream", "encode_image", "predict_batch"]
    assert [point.seconds for point in lines[1].points] == [[0.1] * 2, [0.4] * 2]
    text = files["markdown"].read_text()
    row = "| batch | encode_image | sam2.1-hiera-nano, float32 | 4 | 4.00 (4.00-4.00) | 1.00 | 4.00"
    assert f"{row} | 104 | 4.0 | 8.0 | 12.0 |" in text and "| frames | Stream | " in text
    assert "ms" not in text  # of one machine, on one day
    assert files["plot"].stat().st_size > 10_000
