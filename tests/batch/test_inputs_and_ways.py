"""`sam-jax batch` of lists and data sets, by phrases, stopped by hand, as a process of several."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import sam_jax
from sam_jax.batch.inputs import DataSet, open_inputs
from sam_jax.cli import main
from sam_jax.config import WordsConfig
from sam_jax.types import Model
from train.build import Build, build
from train.config import Source

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(make_job: Callable[..., Any], tmp_path: Path) -> Any:
    return make_job(tmp_path, pictures=3, lengths=(3,))


def batch(where: str, model: Path, prompts: str, *args: str, output: str = "out") -> int:
    settings = ["--model", str(model), "--output", output, "--no-cache"]
    return main(["batch", where, "--prompts", prompts, *settings, *args])


def lines(folder: str) -> list[dict[str, Any]]:
    files = sorted(Path(folder).glob("results-*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_list_is_relative_to_where_it_lies(job: Any, model_file: Path) -> None:
    (job.inputs / "mine.txt").write_text("p002.png\n\n  clip0 \np000.png\n")
    found = open_inputs(str(job.inputs / "mine.txt"))
    assert set(found.sizes) == {"p002.png", "clip0", "p000.png"}
    job.write([row for row in job.rows if row["input"] != "p001.png"])
    assert batch(str(job.inputs / "mine.txt"), model_file, str(job.prompts)) == 0
    assert batch(str(job.inputs), model_file, str(job.prompts), output="folder") == 0
    assert lines("out") == lines("folder") and len(lines("out")) == 2 + 3
    (job.inputs / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"no files in .*none.txt"):
        open_inputs(str(job.inputs / "none.txt"))


def test_a_folder_of_frames_in_a_list_is_as_large_as_its_frames(
    job: Any, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a job does not go on over other frames than it was begun with."""
    mine = job.inputs / "mine.txt"
    mine.write_text("clip0\nnot_there\n")
    frames = list((job.inputs / "clip0").iterdir())
    size = sum(frame.stat().st_size for frame in frames)
    assert open_inputs(str(mine)).sizes == {"clip0": size, "not_there": 0}
    job.write([row for row in job.rows if row["input"] == "clip0"])
    assert batch(str(mine), model_file, str(job.prompts)) == 0
    (job.inputs / "clip0" / "later.jpg").write_bytes(frames[0].read_bytes())
    assert batch(str(mine), model_file, str(job.prompts)) == 2
    assert "differs in inputs.sha256" in capsys.readouterr().err


def test_a_list_of_names_as_they_are(tmp_path: Path) -> None:
    """With the mark that some editors put first, and names that are not UTF-8."""
    os.mkdir(b"in")
    for name in (b"in/a.png", b"in/\xff.png"):
        Path(os.fsdecode(name)).write_bytes(b"xx")
    Path("in/list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\n\xff.png\r\n")
    assert open_inputs("in/list.txt").sizes == {"a.png": 2, "\udcff.png": 2}


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    Path("a[1].png").write_bytes(b"xx")
    assert open_inputs("a[1].png").sizes == {"a[1].png": 2}
    assert open_inputs(str(tmp_path / "a[1].png")).sizes == {"a[1].png": 2}


def test_clips_of_a_data_set(model_file: Path) -> None:
    build(Build(source=Source(kind="synthetic"), out=Path("set"), samples=2, frames=3, size=64))
    row = {"input": "train/1", "points": [[30, 30]]}
    Path("prompts.jsonl").write_text(json.dumps(row) + "\n")
    assert batch("set", model_file, "prompts.jsonl") == 0
    assert [(line["input"], line["frame"]) for line in lines("out")] == [
        ("train/1", 0), ("train/1", 1), ("train/1", 2),
    ]  # fmt: skip
    inputs = open_inputs("set")
    assert isinstance(inputs, DataSet) and list(inputs.sizes) == ["train/0", "train/1"]
    with pytest.raises(ValueError, match="no example train/2 in set: it is SPLIT/NUMBER"):
        inputs.clip("train/2").__enter__()


def test_pictures_of_a_data_set(drifting: Callable[..., np.ndarray]) -> None:
    """As most data sets of pictures have them: an image, and more that is of no interest."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module
    from PIL import Image

    pictures = drifting(2, 20, 30)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Tensor(shape=(), dtype=np.object_), "label": tfds.features.Text()}
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir="set",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        dataset_name="photos",
        split="train",
        filetype_suffix="array_record",
    )
    Path("set").mkdir()
    writer = array_record_module.ArrayRecordWriter(
        str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1"
    )
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        writer.write(features.serialize_example({"image": file.getvalue(), "label": "a"}))
    writer.close()
    split = tfds.core.SplitInfo("train", [2], 1, template)
    tfds.folder_dataset.write_metadata(
        data_dir="set",
        features=features,
        split_infos=[split],
        filename_template=template.template,
        check_data=False,
    )
    inputs = open_inputs("set")
    assert list(inputs.sizes) == ["train/0", "train/1"] and not inputs.is_clip("train/0")
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(inputs.picture(f"train/{i}"), picture)


def test_phrases_of_a_model_that_knows_words(job: Any, small_tracker: Callable[..., Any]) -> None:
    model = small_tracker(words=WordsConfig(("red", "circle"), width=24, depth=1))
    sam_jax.save(model, "words.safetensors")
    job.write([
        {"input": "p000.png", "text": "red circle"},
        {"input": "p000.png", "object": 2, "text": "circle"},
        {"input": "p001.png", "text": "red", "points": [[9, 9]]},
    ])  # fmt: skip
    assert batch(str(job.inputs), Path("words.safetensors"), str(job.prompts)) == 0
    first, second = lines("out")
    assert [mask["object"] for mask in first["masks"]] == [1, 2]
    assert first["masks"][0] != first["masks"][1] | {"object": 1}
    assert len(second["masks"]) == 1

    job.write([{"input": "p000.png", "text": "red cat"}])
    status = batch(str(job.inputs), Path("words.safetensors"), str(job.prompts), output="other")
    assert status == 0 and lines("other") == []
    (error,) = map(json.loads, Path("other/errors.jsonl").read_text().splitlines())
    assert error["input"] == "p000.png"
    assert "'cat', which is none of the 2 words" in error["reason"]


def test_another_text_encoder_is_another_job(
    job: Any, small_tracker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    sam_jax.save(small_tracker(text_dim=24), "text.safetensors")
    job.write([{"input": "p000.png", "text": "a cat"}, {"input": "p001.png", "text": "a dog"}])

    def status(seed: int) -> int:
        table = np.random.default_rng(seed).standard_normal((256, 24), np.float32)

        def embed_text(phrases: list[str]) -> np.ndarray:
            return np.stack([table[list(phrase.encode())].mean(0) for phrase in phrases])

        clip = SimpleNamespace(embed_text=embed_text, model=Model({"table": table}, None))
        monkeypatch.setattr("sam_jax.clip.load_clip", lambda folder: clip)
        model = Path("text.safetensors")
        return batch(str(job.inputs), model, str(job.prompts), "--text-encoder", "clip")

    assert status(seed=0) == status(seed=0) == 0
    assert [line["input"] for line in lines("out")] == ["p000.png", "p001.png"]
    assert status(seed=1) == 2
    assert "another job, which differs in settings.text_encoder" in capsys.readouterr().err


def command(job: Any, model: Path, *args: str) -> list[str]:
    program = "import sys; from sam_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    given = ["batch", str(job.inputs), "--prompts", str(job.prompts), "--model", str(model)]
    return [sys.executable, "-c", program, *given, "--output", "out", "--no-cache", *args]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    make_job: Callable[..., Any], tmp_path: Path, model_file: Path
) -> None:
    (tmp_path / "many").mkdir()
    job = make_job(tmp_path / "many", pictures=60, lengths=())
    run = command(job, model_file, "--inputs-per-file", "4")
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    process = subprocess.Popen(run, stderr=subprocess.PIPE, text=True, env=environment)
    while not list(Path("out").glob("results-*")):
        assert process.poll() is None, "ended before the signal"
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "the same command goes on where this one was" in said and "Traceback" not in said
    done = {file: file.stat().st_mtime_ns for file in Path("out").glob("results-*")}
    assert 1 <= len(done) < 15
    subprocess.run(run, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert [line["input"] for line in lines("out")] == [f"p{i:03d}.png" for i in range(60)]
    assert all(file.stat().st_mtime_ns == changed for file, changed in done.items())


def test_the_share_of_a_process_of_several_is_found_out(job: Any, model_file: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(REPO),
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
    }
    run = command(job, model_file, "--shard", "auto", "--inputs-per-file", "1")
    processes = [
        subprocess.Popen(
            run,
            env=environment | {"JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert all(f"process {i} of 2 does 2" in text for i, text in enumerate(said)), said
    assert {line["input"] for line in lines("out")} == {row["input"] for row in job.rows}


def test_the_share_without_others_is_all(job: Any) -> None:
    from sam_jax.cli.batch import _share

    assert not jax.distributed.is_initialized()
    assert _share(None) == (0, 1) and _share("3/4") == (3, 4)
