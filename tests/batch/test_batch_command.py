"""`sam-jax batch` itself: files, refusals, several processes, and kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_jax.cli import main
from sam_jax.io import storage
from sam_jax.ops import rle

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(make_job: Callable[..., Any], tmp_path: Path) -> Any:
    return make_job(tmp_path, pictures=5, lengths=(3, 6))


def batch(job: Any, model: Path, *args: str, output: str = "out") -> int:
    """Of everything, in the pictures that are no frames of clips."""
    if "--everything" in args:
        where, prompts = f"{job.inputs}/*.png", []
    else:
        where, prompts = str(job.inputs), ["--prompts", str(job.prompts)]
    return main([
        "batch", where, *prompts, "--output", output, "--model", str(model),
        "--no-cache", "--inputs-per-file", "2", *args,
    ])  # fmt: skip


def results(folder: str) -> dict[str, bytes]:
    """What must be the same whatever happened on the way."""
    names = [name for name in storage.files_in(folder) if "/" not in name]
    return {name: storage.read(storage.join(folder, name)) for name in names}


def lines(folder: str) -> list[dict[str, Any]]:
    files = results(folder).items()
    return [
        json.loads(line)
        for name, data in files
        if name.startswith("results")
        for line in data.splitlines()
    ]


def test_a_job_a_second_time_and_another_one(job: Any, model_file: Path, capsys: Any) -> None:
    job.write([*job.rows, {"input": "gone.jpg", "points": [[1, 1]]}])
    (job.inputs / "p001.png").write_bytes(b"")
    assert batch(job, model_file) == 0
    out = capsys.readouterr().out
    assert "6 pictures and 2 clips in 4 files; 0 were there already" in out
    assert "pictures/s" in out and "frames/s" in out and "the device idled" in out
    assert "2 inputs are broken: see out/errors.jsonl" in out
    found = lines("out")
    assert [line["input"] for line in found if "frame" not in line] == [
        f"p{i:03d}.png" for i in (0, 2, 3, 4)
    ]
    assert sum(line["input"] == "clip1" for line in found) == 6
    errors = [json.loads(line) for line in results("out")["errors.jsonl"].splitlines()]
    assert [error["input"] for error in errors] == ["p001.png", "gone.jpg"]
    assert "is empty (0 bytes)" in errors[0]["reason"] and "no such input" in errors[1]["reason"]

    before, times = results("out"), {f: f.stat().st_mtime_ns for f in Path("out").glob("results*")}
    os.unlink("out/results-00001-of-00004.jsonl")
    assert batch(job, model_file) == 0
    assert "3 were there already" in capsys.readouterr().out
    assert results("out") == before
    kept = [f for f, t in times.items() if f.stat().st_mtime_ns == t]
    assert len(kept) == 3

    job.write(job.rows)
    assert batch(job, model_file) == 2
    message = capsys.readouterr().err
    assert "out holds another job, which differs in inputs.count" in message
    assert "settings.prompts" in message and results("out") == before


def test_array_record_and_a_bucket_hold_the_same(job: Any, model_file: Path) -> None:
    from array_record.python import array_record_module

    job.write(job.rows[:3])
    assert batch(job, model_file) == 0
    assert batch(job, model_file, "--format", "array_record", output="records") == 0
    records = []
    for file in sorted(Path("records").glob("results.array_record-*")):
        records += array_record_module.ArrayRecordReader(str(file)).read_all()
    assert [json.loads(record) for record in records] == lines("out") and len(records) == 2

    bucket = f"memory://{uuid.uuid4().hex}"
    for name in storage.files_in(str(job.inputs)):
        storage.write(f"{bucket}/in/{name}", (job.inputs / name).read_bytes())
    storage.write(f"{bucket}/prompts.jsonl", job.prompts.read_bytes())
    arguments = ["--prompts", f"{bucket}/prompts.jsonl", "--output", f"{bucket}/out"]
    arguments += ["--model", str(model_file), "--no-cache", "--inputs-per-file", "2"]
    assert main(["batch", f"{bucket}/in", *arguments]) == 0
    assert lines(f"{bucket}/out") == lines("out")
    assert main(["batch", f"{bucket}/in/*.png", *arguments]) == 0  # the same inputs, said otherwise


def test_everything_in_pictures(job: Any, model_file: Path) -> None:
    settings = ("--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0")
    assert batch(job, model_file, "--everything", *settings) == 0
    found = lines("out")
    assert [line["input"] for line in found] == [f"p{i:03d}.png" for i in range(5)]
    masks = [mask for line in found for mask in line["masks"]]
    assert len(masks) > 5 and {"segmentation", "stability_score", "point_coords"} <= masks[0].keys()
    assert rle.area(masks[0]["segmentation"]) == masks[0]["area"]


def command(job: Any, model: Path, *args: str, output: str) -> list[str]:
    program = "import sys; from sam_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    prompts = ["--prompts", str(job.prompts)]
    settings = ["--output", output, "--model", str(model), "--no-cache", "--inputs-per-file", "8"]
    return [sys.executable, "-c", program, "batch", str(job.inputs), *prompts, *settings, *args]


def spread(job: Any, model: Path, program: str, *args: str) -> None:
    settings = ["--model", str(model), "--no-cache", "--inputs-per-file", "8"]
    subprocess.run(
        [sys.executable, "-c", program, str(job.inputs), str(job.prompts), *settings, *args],
        check=True,
        cwd=Path.cwd(),
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )


def overlap(a: dict[str, Any], b: dict[str, Any]) -> float:
    one, two = (rle.decode(mask["segmentation"]) for mask in (a, b))
    return (one & two).sum() / (one | two).sum() if (one | two).any() else 1.0


FOUR_DEVICES = """
import sys, jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
from sam_jax.cli import main
inputs, prompts, *settings = sys.argv[1:]
assert main(["batch", inputs, "--prompts", prompts, "--output", "spread", *settings]) == 0
everything = ["--everything", "--points-per-side", "3", "--pred-iou-thresh", "0",
              "--stability-score-thresh", "0"]
assert main(["batch", inputs + "/*.png", "--output", "spread_all", *everything, *settings]) == 0
assert jax.device_count() == 4
"""


def test_four_devices_find_what_one_does(job: Any, model_file: Path) -> None:
    """Five pictures and two clips: devices without any have nothing to do."""
    spread(job, model_file, FOUR_DEVICES)
    assert batch(job, model_file, "--inputs-per-file", "8") == 0
    everything = ("--everything", "--points-per-side", "3", "--pred-iou-thresh", "0")
    everything += ("--stability-score-thresh", "0", "--inputs-per-file", "8")
    assert batch(job, model_file, *everything, output="all") == 0
    for one, many in (("out", "spread"), ("all", "spread_all")):
        a, b = lines(one), lines(many)
        assert [(x["input"], x.get("frame")) for x in a] == [
            (x["input"], x.get("frame")) for x in b
        ]
        found = [
            overlap(*pair)
            for x, y in zip(a, b, strict=True)
            for pair in zip(x["masks"], y["masks"], strict=True)
        ]
        assert len(found) > 5 and np.mean(found) > 0.99 and min(found) > 0.9


@pytest.fixture
def start(model_file: Path) -> Iterator[Callable[..., list[subprocess.Popen]]]:
    """`start(job, output)`: two processes that share a job. None outlives the test."""
    begun: list[subprocess.Popen] = []

    def two(job: Any, output: str) -> list[subprocess.Popen]:
        begun.extend(
            subprocess.Popen(
                command(job, model_file, "--shard", share, output=output),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"PYTHONPATH": str(REPO)},
            )
            for share in ("0/2", "1/2")
        )
        return begun[-2:]

    yield two
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.timeout(900)  # five starts, each of which takes a minute on a busy machine
def test_two_processes_killed_and_started_again(
    make_job: Callable[..., Any], tmp_path: Path, model_file: Path, start: Callable[..., Any]
) -> None:
    """SIGKILL in the middle of the work; the union is what one process gives undisturbed."""
    (tmp_path / "many").mkdir()
    job = make_job(tmp_path / "many", pictures=120, lengths=(3, 20, 5, 9))
    (job.inputs / "p011.png").write_bytes(b"torn")
    assert batch(job, model_file, "--inputs-per-file", "8", output="whole") == 0
    expected = results("whole")
    assert len(expected) == 18  # 15 files of pictures, one of clips, errors and the manifest

    out = Path("killed")
    processes = start(job, str(out))
    while len(list(out.glob("results-*"))) < 3:
        assert all(process.poll() is None for process in processes), "ended before the kill"
        time.sleep(0.002)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()
    done = {file: file.stat().st_mtime_ns for file in out.glob("results-*")}
    assert 3 <= len(done) < 16
    assert all(expected[file.name] == file.read_bytes() for file in done)

    processes = start(job, str(out))
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert results(str(out)) == expected
    assert all(file.stat().st_mtime_ns == changed for file, changed in done.items())
    assert any("all 2 processes: " in text and "all files are there" in text for text in said)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--everything", "--prompts", "x"), "give --prompts FILE, or --everything .*; got both"),
        ((), "give --prompts FILE, or --everything .*; got neither"),
        (("--prompts", "x", "--points-per-side", "4"), "--points-per-side is for --everything"),
        (("--everything", "--text-encoder", "x"), "--text-encoder is for text in --prompts"),
        (("--everything", "--inputs-per-file", "0"), "--inputs-per-file must be at least 1, got 0"),
        (("--everything", "--output", ""), "the name of the output is empty"),
        (("--everything", "--batch-size", "0"), "--batch-size must be at least 1, got 0"),
        (("--everything", "--shard", "2/2"), "--shard '2/2' must be I/N, process I of N, from 0"),
        (("--everything", "--shard", "1"), "--shard '1' must be I/N"),
        (("--everything", "--shard", "auto"), "--shard auto: .*Outside of a TPU pod, SLURM or MPI"),
        (("--prompts", "none.jsonl"), "none.jsonl: No such file"),
    ],
)
def test_refused(args: tuple[str, ...], message: str, job: Any, capsys: Any) -> None:
    assert main(["batch", str(job.inputs), "--output", "out", *args]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert re.search(message, text), text
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input": "x.png", "text": "a"}], "none of the 1 inputs that .* names is there, such as"),
        ([{"input": "p000.png", "frame": 2, "text": "a"}], "line 1: p000.png is a picture and has"),
        ([{"input": "p000.png", "text": "a cup"}], "line 1: the model .* has no text projection"),
    ],
)
def test_refused_prompts(rows: Any, message: str, job: Any, model_file: Path, capsys: Any) -> None:
    job.write(rows)
    assert batch(job, model_file) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert re.search(message, text), text
    assert not Path("out").exists()


def test_help_explains_and_has_examples(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    text = capsys.readouterr().out
    for part in (
        "sam-jax batch photos/ --prompts prompts.jsonl --output out",
        '{"input": "a.jpg", "object": 2, "box": [425, 600, 700, 875]}',
        "--shard 1/2",
        "gs://bucket/photos",
        "OUT/errors.jsonl",
    ):
        assert part in text
