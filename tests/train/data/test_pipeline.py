"""Batches depend on the recipe and their number, and on nothing else."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from train.config import Recipe, Source, Stream
from train.data.pipeline import Loader, make_loader
from train.data.video import BadSource
from train.types import Batch

SIZE = 32


@pytest.fixture
def recipe(tmp_path: Path, davis: Path, sa1b: Path) -> Recipe:
    """Pictures, three of four times, and clips."""
    pictures = Source(kind="sa1b", root=str(sa1b))
    videos = Source(kind="davis", root=str(davis))
    return Recipe(
        model="any",
        folder=str(tmp_path / "run"),
        steps=1,
        images=Stream(source=pictures, batch=4, frames=1, objects=5, largest=0.9),
        videos=Stream(source=videos, batch=2, frames=3, objects=3, reverse=0.5),
        image_share=0.75,
        workers=0,
        seed=5,
    )


def take(loader: Loader, count: int) -> list[Batch]:
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


def assert_equal(one: list[Batch], two: list[Batch]) -> None:
    for a, b in zip(one, two, strict=True):
        for name in ("images", "masks", "valid"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_batches(recipe: Recipe) -> None:
    batches = take(make_loader(recipe, SIZE), 40)
    pictures = [batch for batch in batches if batch.images.shape[0] == 1]
    clips = [batch for batch in batches if batch.images.shape[0] == 3]
    assert (len(pictures), len(clips)) == (30, 10)
    for batch, b, o in ((pictures[0], 4, 5), (clips[0], 2, 3)):
        t = len(batch.images)
        assert batch.images.shape == (t, b, SIZE, SIZE, 3)
        assert batch.masks.shape == (t, b * o, SIZE, SIZE)
        assert (batch.images.dtype, batch.masks.dtype, batch.valid.dtype) == (np.uint8, bool, bool)
        assert batch.masks[0].any((1, 2)).tolist() == batch.valid.tolist()
        assert not batch.masks[:, ~batch.valid].any()
        assert batch.valid.reshape(b, o).any(1).all()
        assert not batch.valid.all()  # there are two objects at most
    assert len({batch.images.tobytes() for batch in batches}) == 40


def test_masks_lie_on_their_own_clip(recipe: Recipe) -> None:
    for batch in take(make_loader(recipe, SIZE), 6):
        o = batch.masks.shape[1] // batch.images.shape[1]
        for n in np.flatnonzero(batch.valid):
            colour = batch.images[0, n // o][batch.masks[0, n]].astype(int).mean(0)
            assert np.ptp(colour) > 60 or (colour < 110).all()  # red or blue or made grey


def test_processes_that_read_change_nothing(recipe: Recipe) -> None:
    alone = take(make_loader(recipe, SIZE), 5)
    helped = take(make_loader(dataclasses.replace(recipe, workers=1), SIZE), 5)
    assert_equal(alone, helped)


def test_restored_loader_goes_on(recipe: Recipe) -> None:
    whole = take(make_loader(recipe, SIZE), 9)
    first = make_loader(recipe, SIZE)
    begun = [next(first) for _ in range(4)]
    state = json.loads(json.dumps(first.get_state()))
    first.close()
    second = make_loader(recipe, SIZE)
    next(second)
    second.set_state(state)
    assert_equal(whole, begun + take(second, 5))


def test_parts_of_processes_make_the_batch(recipe: Recipe) -> None:
    whole = take(make_loader(recipe, SIZE), 5)
    parts = [take(make_loader(recipe, SIZE, process_index=i, process_count=2), 5) for i in (0, 1)]
    together = [
        Batch(
            images=np.concatenate([a.images, b.images], 1),
            masks=np.concatenate([a.masks, b.masks], 1),
            valid=np.concatenate([a.valid, b.valid]),
        )
        for a, b in zip(*parts, strict=True)
    ]
    assert_equal(whole, together)


def test_all_videos_are_seen_equally_often_and_in_another_order(tmp_path: Path) -> None:
    from train.data.pipeline import Prepare, _batches

    source = Source(kind="synthetic")
    stream = Stream(source=source, batch=2, frames=1, objects=1)
    prepare = Prepare([None] * 6, stream, SIZE, (0, 0), tmp_path / "skipped")  # nothing is opened
    numbers = _batches(prepare, 0, 1)._parent  # before `prepare`
    epochs = [[n for k in range(3) for _, n in numbers[3 * e + k]] for e in range(4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [p for k in range(6) for p, _ in numbers[k]] == list(range(12))


def test_broken_samples_are_replaced_and_named(recipe: Recipe, davis: Path) -> None:
    recipe = dataclasses.replace(recipe, images=None)
    for t in range(6):
        (davis / f"JPEGImages/480p/clip1/{t:05d}.jpg").write_bytes(b"\xff\xd8 cut")
    loader = make_loader(recipe, SIZE)
    assert loader.skipped() == 0
    batches = take(loader, 6)
    assert all(batch.valid.any() for batch in batches)
    lines = (Path(recipe.folder) / "skipped.jsonl").read_text().splitlines()
    assert loader.skipped() == len(lines) >= 2
    entry = json.loads(lines[0])
    assert (entry["source"], entry["sample"]) == (f"davis {davis}", "clip1")
    assert "clip1" in entry["problem"] and ".jpg" in entry["problem"]
    assert_equal(batches, take(make_loader(recipe, SIZE), 6))
    assert_equal(batches, take(make_loader(dataclasses.replace(recipe, workers=1), SIZE), 6))


def test_nothing_but_broken_samples(recipe: Recipe, sa1b: Path) -> None:
    for file in sa1b.glob("*.json"):
        file.write_text("{}")
    recipe = dataclasses.replace(recipe, videos=None)
    with pytest.raises(BadSource, match=r"100 samples of the sa1b .* last: .*sa_\d.json has"):
        take(make_loader(recipe, SIZE), 1)


def test_synthetic_world(recipe: Recipe) -> None:
    stream = Stream(source=Source(kind="synthetic"), batch=1, frames=2, objects=2)
    recipe = dataclasses.replace(recipe, images=None, videos=stream)
    one, two = take(make_loader(recipe, SIZE), 2)
    assert one.images.shape == (2, 1, SIZE, SIZE, 3)
    assert not np.array_equal(one.images, two.images)


def test_bad_recipes(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="a batch of 2 clips cannot be divided among 4"):
        make_loader(recipe, SIZE, process_index=0, process_count=4)
    with pytest.raises(ValueError, match=r"image_share .* got 1.5"):
        make_loader(dataclasses.replace(recipe, image_share=1.5), SIZE)
    only = make_loader(dataclasses.replace(recipe, image_share=1.0), SIZE)
    assert {len(batch.images) for batch in take(only, 6)} == {1}
