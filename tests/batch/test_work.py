"""What comes of pictures and clips is what the predictors answer, with few programs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax.batch import run
from sam_jax.batch.asker import Asker
from sam_jax.batch.clips import ClipTracker
from sam_jax.batch.clock import Clock
from sam_jax.batch.inputs import open_inputs
from sam_jax.batch.ledger import Outcome, cut
from sam_jax.batch.pictures import Prompted, answer_pictures
from sam_jax.batch.prompts import Row, read_prompts
from sam_jax.io.images import read_image
from sam_jax.ops import rle
from sam_jax.sharding import make_mesh


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Any]) -> Any:
    return small_tracker()


@pytest.fixture
def job(make_job: Callable[..., Any], tmp_path: Path) -> Any:
    job = make_job(tmp_path, pictures=5, lengths=(3, 20, 1, 17))
    whole = np.zeros((40, 60), bool)
    whole[10:30, 20:50] = True
    Image.fromarray(whole).save(tmp_path / "mask.png")
    given = np.zeros((56, 66), bool)  # of clip1
    given[10:30, 20:50] = True
    masks = [
        {"input": "p000.png", "object": 3, "mask": "mask.png", "points": [[25, 15]]},
        {"input": "clip1", "object": 9, "frame": 17, "mask": rle.encode(given)},
        {"input": "clip1", "object": 9, "frame": 19, "points": [[30, 25]]},
    ]
    job.write([*job.rows, *masks])
    return job


def parts(job: Any, model: Any) -> tuple[Asker, Any, list[Any], Any]:
    inputs = open_inputs(str(job.inputs))
    rows = read_prompts(job.prompts.read_bytes(), "prompts.jsonl")
    items = run.prompted_items(inputs, rows, "prompts.jsonl")
    return Asker(model, str(job.prompts.parent)), inputs, items, make_mesh(jax.devices()[:1])


def masks_of(line: dict[str, Any]) -> dict[int, np.ndarray]:
    return {entry["object"]: rle.decode(entry["segmentation"]) for entry in line["masks"]}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and (a != b).mean() < 2e-3  # batches round otherwise


def pictures(job: Any, model: Any, size: int) -> tuple[list[Outcome], Prompted]:
    asker, inputs, items, mesh = parts(job, model)
    shards = [shard for shard in cut(items, 4) if not shard.is_clips]
    answers = Prompted(asker, inputs, mesh, size)
    with ThreadPoolExecutor(2) as host:
        return list(answer_pictures(shards, answers, Clock(), host)), answers


def test_pictures_are_answered_as_by_the_predictor(job: Any, model: Any) -> None:
    """In batches of two, the last of a shard with one; of five sizes, by one program and two."""
    (job.inputs / "p002.png").write_bytes(b"no picture")
    found, answers = pictures(job, model, size=2)
    assert [outcome.name for outcome in found] == [f"p{i:03d}.png" for i in range(5)]
    assert found[2].reason is not None and "p002.png is not an image" in found[2].reason
    assert answers._encode._cache_size() == 1
    assert answers._decode._cache_size() == 3  # up to 4, 1 and 2 objects, of which 4 have a mask
    predictor = sam_jax.ImagePredictor(model)
    for outcome in (found[0], found[3]):
        (line,) = outcome.lines
        pixels = read_image(job.inputs / outcome.name)
        assert line["input"] == outcome.name and line["size"] == list(pixels.shape[:2])
        masks = masks_of(line)
        predictor.set_image(pixels)
        for row in (row for row in job.rows if row["input"] == outcome.name):
            points = row["points"]
            labels = row.get("labels", [1] * len(points))
            wanted, ious, _ = predictor.predict(
                points, labels, row.get("box"), multimask_output=False
            )
            number = row.get("object", 1)
            assert 0.02 < wanted[0].mean() < 0.98 and same(masks[number], wanted[0] > 0)
            (entry,) = (e for e in line["masks"] if e["object"] == number)
            assert entry["predicted_iou"] == pytest.approx(float(ious[0]), abs=2e-3)
            assert entry["area"] == masks[number].sum()
    assert not same(masks_of(found[0].lines[0])[3], masks_of(found[0].lines[0])[1])


def tracked(job: Any, model: Any, size: int) -> tuple[dict[str, Outcome], ClipTracker]:
    asker, inputs, items, mesh = parts(job, model)
    shards = [shard for shard in cut(items, 10) if shard.is_clips]
    with ThreadPoolExecutor(2) as host:
        tracker = ClipTracker(asker, inputs, mesh, size, Clock(), host)
        outcomes = list(tracker(shards))
    assert [outcome.name for outcome in outcomes] == [item.name for item in shards[0].items]
    return {outcome.name: outcome for outcome in outcomes}, tracker


def streamed(model: Any, frames: Sequence[np.ndarray], ask: Any) -> list[dict[int, Any]]:
    stream = sam_jax.Stream(model, 2, num_frames=len(frames))
    for number, frame, prompt in ask:
        stream.add(number, frame=frame, **prompt)
    return [stream.step(frame) for frame in frames]


def test_clips_are_tracked_as_by_a_stream(job: Any, model: Any) -> None:
    """Four of them in two slots, and a broken one between; all by one program."""
    file = job.inputs / "clip2" / "00000.png"
    file.write_bytes(file.read_bytes()[:100])
    found, tracker = tracked(job, model, size=2)
    assert tracker._track._cache_size() == 1
    reason = found["clip2"].reason
    assert reason is not None and "00000.png is damaged" in reason and not found["clip2"].lines
    given = np.zeros((56, 66), bool)
    given[10:30, 20:50] = True
    asks = {
        "clip0": [(1, 0, {"points": [[35, 25]], "labels": [1]})],
        "clip1": [
            (1, 0, {"points": [[33, 28]], "labels": [1]}),
            (9, 17, {"mask": given}),
            (7, 18, {"box": [4, 6, 40, 30]}),
            (9, 19, {"points": [[30, 25]], "labels": [1]}),
        ],
        "clip3": [
            (1, 0, {"points": [[29, 34]], "labels": [1]}),
            (7, 15, {"box": [4, 6, 40, 30]}),
        ],
    }
    for name, ask in asks.items():
        frames = [read_image(file) for file in sorted((job.inputs / name).iterdir())]
        expected = streamed(model, frames, ask)
        lines = found[name].lines
        assert [line["frame"] for line in lines] == list(range(len(frames)))
        for line, wanted in zip(lines, expected, strict=True):
            masks = masks_of(line)
            assert list(masks) == sorted(wanted) and line["input"] == name
            for entry in line["masks"]:
                answer = wanted[entry["object"]]
                assert same(masks[entry["object"]], answer.mask), (name, line["frame"], entry)
                assert entry["predicted_iou"] == pytest.approx(answer.iou, abs=5e-3)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("gone.png", "No such file"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "the mask has the size .*, the picture"),
        ({"size": 3, "counts": {}}, "the mask has the size 3, the picture"),
        ({"size": [4, 6], "counts": {}}, "must be lists of numbers"),
        ({"size": [4, 6], "counts": [24]}, "the mask is empty"),
    ],
)
def test_a_mask_that_is_none_is_refused_with_its_line(
    mask: Any, message: str, model: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"prompt in line 7: .*{message}"):
        Asker(model, str(tmp_path)).mask(Row(line=7, mask=mask), (4, 6))


def test_a_prompt_beyond_the_end_breaks_the_clip_only(job: Any, model: Any) -> None:
    job.write([
        {"input": "clip0", "points": [[10, 10]]},
        {"input": "clip0", "frame": 3, "points": [[10, 10]]},
        {"input": "clip2", "points": [[500, 10]]},
    ])  # fmt: skip
    found, _ = tracked(job, model, size=1)
    reason = found["clip0"].reason
    assert reason == "prompt in line 2: there is no frame 3, the clip has 3: 0 to 2"
    reason = found["clip2"].reason
    assert reason is not None and "prompt in line 3: point_coords has (500, 10), outside" in reason
