"""Objects cut out for CLIP, their embeddings on disk, and batches that are given them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_jax.clip import load_clip
from train import embed as command
from train.config import Augment, Prompting, Recipe, Source, Stream
from train.data.embeddings import cut_out, variant
from train.data.pipeline import make_loader
from train.data.sources import open_source
from train.data.video import BadSource
from train.embed import Embed, embed

WIDTH = 24


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(1, 256, (40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:34] = True
    return image, mask


def test_the_square_is_around_the_box() -> None:
    image, mask = scene()
    crop, part = cut_out(image, mask, factor=1.0, blank=False)
    np.testing.assert_array_equal(crop, image[10:20, 27:37])
    np.testing.assert_array_equal(part, mask[10:20, 27:37])
    crop, part = cut_out(image, mask, factor=2.0, blank=False)
    np.testing.assert_array_equal(crop, image[5:25, 22:42])
    assert part.sum() == mask.sum()


def test_what_is_outside_of_the_mask_or_the_picture_is_black() -> None:
    image, mask = scene()
    crop, part = cut_out(image, mask, factor=1.5, blank=True)
    assert not crop[~part].any() and crop[part].all()
    corner = np.zeros_like(mask)
    corner[:4, :10] = True
    crop, part = cut_out(image, corner, factor=2.0, blank=False)
    assert crop.shape == (20, 20, 3)
    np.testing.assert_array_equal(crop[8:, 5:], image[:12, :15])
    assert not crop[:8].any() and not crop[:, :5].any() and part.sum() == 40
    whole, part = cut_out(image, np.ones_like(mask), factor=2.0, blank=False)  # larger than it
    np.testing.assert_array_equal(whole[part].reshape(image.shape), image)


def test_variants_are_fixed_from_1_to_2_and_half_of_them_blank() -> None:
    ways = [variant("sa_1", number, index) for number in range(60) for index in range(4)]
    factors, blanks = zip(*ways, strict=True)
    assert 1 <= min(factors) < 1.1 and 1.9 < max(factors) < 2
    assert 0.4 < np.mean(blanks) < 0.6
    assert variant("sa_1", 3, 1) == ways[13] != variant("sa_2", 3, 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, clip_folder: Callable[..., Path]) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def options(sa1b: Path, clip: Path, tmp_path: Path) -> Embed:
    """Objects have 100 and 144 pixels; the third covers all."""
    source = Source(kind="sa1b", root=str(sa1b))
    return Embed(source=source, out=tmp_path / "e", clip=clip, variants=3, least_area=101)


def test_embeddings_are_those_of_what_was_cut_out(options: Embed) -> None:
    assert embed(options) == 3
    with np.load(options.out / "sa_1.npz") as file:
        ids, found = file["ids"].tolist(), file["embeddings"]
    assert ids == [1, 3] and found.shape == (2, 3, WIDTH)  # the second is too small
    video = next(v for v in open_source(options.source, size=0, frames=1) if v.name == "sa_1")
    factor, blank = variant("sa_1", 3, 1)
    crop, part = cut_out(video.image(0), video.masks(0)[3], factor=factor, blank=blank)
    (expected,) = load_clip(options.clip).embed_images([crop], [part])
    np.testing.assert_allclose(found[1, 1], expected, atol=2e-3)
    assert abs(found[0] - found[1]).max() > 0.01


def test_it_goes_on_where_it_stopped(options: Embed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embed(replace(options, samples=2)) == 2
    before = {path.name: path.read_bytes() for path in options.out.glob("*.npz")}
    opened = []
    monkeypatch.setattr(command, "_embed", lambda clip, video, *_: opened.append(video.name) or 1)
    assert embed(options) == 1 and len(opened) == 1
    assert f"{opened[0]}.npz" not in before
    assert {path.name: path.read_bytes() for path in options.out.glob("*.npz")} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": 2}, "holds About.*variants=3.*, not About.*variants=2.*: use another folder"),
        ({"source": Source(kind="synthetic")}, "no end: say how many --samples"),
        ({"clip": Path("nowhere")}, "nowhere is missing"),
    ],
)
def test_refusals(options: Embed, changes: dict[str, Any], message: str) -> None:
    about = {"clip": options.clip.name, "width": WIDTH, "variants": 3, "least_area": 101}
    options.out.mkdir()
    (options.out / "embeddings.json").write_text(json.dumps(about))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        embed(replace(options, **changes))


@pytest.mark.parametrize("name", ["variants", "least_area"])
def test_numbers_that_cannot_be_meant(options: Embed, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        replace(options, **{name: 0})


@pytest.fixture
def recipe(options: Embed, tmp_path: Path) -> Recipe:
    images = Stream(
        source=options.source,
        batch=2,
        frames=1,
        objects=4,
        prompts=Prompting(point_share=1, text_share=0.8),
        augment=Augment(flip=0.5, rotation=0, shear=0, grey=0),
    )
    return Recipe(
        model="any",
        folder=str(tmp_path / "run"),
        steps=1,
        images=images,
        text_dim=WIDTH,
        embeddings=str(options.out),
        workers=0,
    )


def test_batches_have_the_embeddings_of_their_objects(options: Embed, recipe: Recipe) -> None:
    embed(options)
    loader = make_loader(recipe, 32)
    batches = [next(loader) for _ in range(6)]
    loader.close()
    every = []
    for path in options.out.glob("*.npz"):
        with np.load(path) as file:
            every.append(file["embeddings"])
    known = np.concatenate(every)
    used = set()
    for batch in batches:
        assert batch.text.shape == (8, WIDTH) and batch.tokens.shape == (0, 0)
        assert batch.valid[batch.named].all() and not batch.text[~batch.named].any()
        small = batch.valid & ~batch.named  # the object of 100 pixels
        assert batch.named.sum() == 4 and small.sum() in (1, 2)  # hidden in one of the pictures
        np.testing.assert_allclose(np.linalg.norm(batch.text[batch.named], axis=1), 1, rtol=1e-5)
        for n in np.flatnonzero(batch.named):
            likeness = known.astype(np.float32) @ batch.text[n]
            o, way = np.unravel_index(likeness.argmax(), likeness.shape)
            assert likeness.max() > 0.999
            assert (o % 2 == 1) == (batch.masks[0, n].all())  # the one that covers all is second
            used.add(int(way))
    assert used == {0, 1, 2}


def test_what_is_missing_is_named(options: Embed, recipe: Recipe) -> None:
    with pytest.raises(BadSource, match=r"no folder of embeddings, as `python -m train.embed`"):
        make_loader(recipe, 32)
    embed(options)
    with pytest.raises(BadSource, match="embeddings 24 wide, and text_dim is 8"):
        make_loader(replace(recipe, text_dim=8), 32)
    for path in options.out.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:50])
    loader = make_loader(recipe, 32)
    with pytest.raises(ValueError, match=r"has no embeddings of sa_\d .*goes on where it stopped"):
        next(loader)
    loader.close()
