import json

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.masks import (
    mask_entry,
    read_mask,
    read_mask_picture,
    write_coco,
    write_npz,
    write_png,
    write_rle,
)
from sam_jax.ops import rle

SIZE = (48, 64)  # height, width
MASK = np.zeros(SIZE, bool)
MASK[12:36, 16:48] = True
IOUS = np.array([0.875], np.float32)


def test_png_holds_0_and_255(tmp_path):
    write_png(tmp_path / "a.png", MASK)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.array(picture), MASK * np.uint8(255))


def test_rle_file(tmp_path):
    write_rle(tmp_path / "a.json", MASK[None], IOUS, extra=[{"object": 3}])
    (entry,) = json.loads((tmp_path / "a.json").read_text())
    np.testing.assert_array_equal(rle.decode(entry.pop("segmentation")), MASK)
    assert entry == {
        "area": 24 * 32,
        "bbox": [16, 12, 32, 24],
        "predicted_iou": 0.875,
        "object": 3,
    }


def test_coco_file_with_names(tmp_path):
    entries = [mask_entry(MASK, 0.5), mask_entry(~MASK, 0.25), mask_entry(MASK, 0.75)]
    write_coco(tmp_path / "a.json", "a.png", SIZE, entries, names=["cup", "rest", "cup"])
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["categories"] == [{"id": 1, "name": "cup"}, {"id": 2, "name": "rest"}]
    assert [entry["category_id"] for entry in data["annotations"]] == [1, 2, 1]
    assert [entry["predicted_iou"] for entry in data["annotations"]] == [0.5, 0.25, 0.75]
    write_coco(tmp_path / "a.json", "a.png", SIZE, [])
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["categories"] == [{"id": 1, "name": "object"}] and data["annotations"] == []


def test_npz_file_is_a_mask_prompt_again(tmp_path):
    logits = np.random.default_rng(0).standard_normal((1, 16, 16)).astype(np.float32)
    write_npz(tmp_path / "a.npz", MASK[None], IOUS, logits=logits)
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["masks"], MASK[None])
        np.testing.assert_array_equal(arrays["ious"], IOUS)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npz", 16, SIZE), logits[0])


def test_of_several_logits_the_best_are_the_prompt(tmp_path):
    logits = np.random.default_rng(0).standard_normal((3, 16, 16)).astype(np.float32)
    ious = np.array([0.5, 0.9, 0.7], np.float32)
    write_npz(tmp_path / "a.npz", np.repeat(MASK[None], 3, 0), ious, logits=logits)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npz", 16, SIZE), logits[1])


def test_suffixes_may_be_upper_case(tmp_path):
    with (tmp_path / "a.NPY").open("wb") as file:
        np.save(file, MASK)
    assert read_mask(tmp_path / "a.NPY", 16, SIZE)[8, 8] == 10


def test_pictures_are_rotated_as_photos_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    corner = np.zeros(SIZE[::-1], bool)
    corner[32:, :12] = True  # bottom left as stored, top left as seen
    Image.fromarray(corner).save(tmp_path / "a.png", exif=exif)
    logits = read_mask(tmp_path / "a.png", 16, SIZE)
    assert logits[0, 0] == 10
    assert logits[0, 15] == logits[15, 0] == logits[15, 15] == -10


def picture(kind: str) -> Image.Image:
    bright = np.where(MASK, 200, 30).astype(np.uint8)
    if kind == "palette":  # the first colour is the background, whatever it looks like
        image = Image.fromarray(MASK.astype(np.uint8)).convert("P")
        image.putpalette([250, 250, 250, 10, 10, 10])
        return image
    if kind == "RGB":
        return Image.fromarray(bright).convert("RGB")
    white = np.full((*SIZE, 3), 255, np.uint8)
    arrays = {
        "0/1": MASK.astype(np.uint8),
        "0/255": MASK * np.uint8(255),
        "bright and dim": bright,
        "one bit": MASK,
        "16 bit": MASK * np.uint16(40_000),
        "alpha": np.dstack([white, MASK * np.uint8(255)]),
    }
    return Image.fromarray(arrays[kind])


@pytest.mark.parametrize(
    "kind", ["0/1", "0/255", "bright and dim", "one bit", "RGB", "16 bit", "alpha", "palette"]
)
def test_pictures_of_every_kind_become_logits(tmp_path, kind):
    picture(kind).save(tmp_path / "a.png")
    logits = read_mask(tmp_path / "a.png", 16, SIZE)
    assert logits.dtype == np.float32
    expected = np.full((16, 16), -10.0)
    expected[4:12, 4:12] = 10
    np.testing.assert_array_equal(logits[5:11, 5:11], 10)  # away from the antialiased border
    np.testing.assert_array_equal(np.sign(logits), np.sign(expected))


def test_borders_are_antialiased(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[:, :30] = True  # the border lies in the middle of a low-resolution pixel
    np.save(tmp_path / "a.npy", mask)
    logits = read_mask(tmp_path / "a.npy", 16, (64, 64))
    np.testing.assert_allclose(logits[0, 7], 0, atol=1e-5)
    assert (np.diff(logits[0]) <= 0).all()
    assert logits[0, 0] == 10
    assert logits[0, 15] == -10


def test_arrays_of_logits_are_taken_as_they_are(tmp_path):
    logits = np.random.default_rng(0).standard_normal((16, 16))
    np.save(tmp_path / "a.npy", logits)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy", 16, SIZE), logits.astype("f4"))
    np.savez(tmp_path / "a.npz", anything=logits[None])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npz", 16, SIZE), logits.astype("f4"))


def refused(tmp_path, message: str, suffix: str = "npy") -> None:
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / f"a.{suffix}", 16, SIZE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.zeros((2, 16, 16)),
            r"floats of shape \(2, 16, 16\), but logits for this model are .*of several save one",
        ),
        (np.zeros(SIZE, np.float32), r"floats of shape \(48, 64\).*a full-size mask as bool"),
        (np.full((16, 16), np.nan), "holds logits that are not finite"),
        (
            np.ones((16, 16), bool),
            r"shape \(16, 16\) \(height, width\), but the image has \(48, 64",
        ),
        (np.zeros(SIZE, bool), "is empty: no pixel is set"),
        (np.zeros(SIZE, complex), "must hold booleans, integers or floats, got complex128"),
        (np.array([{}]), "cannot be read as a numpy array: Object arrays cannot be loaded"),
    ],
)
def test_arrays_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    refused(tmp_path, message)


def test_files_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"text")
    refused(tmp_path, r"a\.png cannot be read as a picture", "png")
    (tmp_path / "a.npz").write_bytes(b"PK but not a zip file")
    refused(tmp_path, r"a\.npz cannot be read as a numpy array", "npz")
    np.savez(tmp_path / "a.npz", one=MASK, two=MASK)
    refused(tmp_path, r"it has arrays \['one', 'two'\] and none is called logits", "npz")
    Image.fromarray(MASK[:, :-1]).save(tmp_path / "a.png")
    refused(tmp_path, r"shape \(48, 63\) \(height, width\), but the image has \(48, 64\)", "png")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_mask(tmp_path / "nowhere.png", 16, SIZE)


@pytest.mark.parametrize("kind", ["0/1", "bright and dim", "16 bit", "alpha", "palette"])
def test_pictures_at_their_own_size(tmp_path, kind):
    picture(kind).save(tmp_path / "a.png")
    mask = read_mask_picture(tmp_path / "a.png", SIZE, number=7)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK)


def test_one_object_of_a_palette_picture(tmp_path):
    values = np.zeros(SIZE, np.uint8)
    values[:10] = 3
    values[20:, 5:] = 8
    image = Image.fromarray(values)
    image.putpalette(bytes(range(256)) * 3)
    image.save(tmp_path / "a.png")
    for number in (3, 8):
        found = read_mask_picture(tmp_path / "a.png", SIZE, number=number)
        np.testing.assert_array_equal(found, values == number)
    np.testing.assert_array_equal(read_mask_picture(tmp_path / "a.png", SIZE), values > 0)
    with pytest.raises(ValueError, match=r"a\.png holds the objects 3, 8 and no 1"):
        read_mask_picture(tmp_path / "a.png", SIZE, number=1)


def test_the_best_mask_of_an_npz(tmp_path):
    masks = np.stack([~MASK, MASK])
    ious = np.array([0.5, 0.75], np.float32)
    write_npz(tmp_path / "a.npz", masks, ious, logits=np.zeros((2, 16, 16), np.float32))
    np.testing.assert_array_equal(read_mask_picture(tmp_path / "a.npz", SIZE), MASK)
    np.save(tmp_path / "a.npy", MASK)
    np.testing.assert_array_equal(read_mask_picture(tmp_path / "a.npy", SIZE), MASK)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((16, 16), np.float32), "holds floats, but here a mask has the frame's size"),
        (np.ones((16, 16), bool), r"shape \(16, 16\) \(height, width\), but the image has"),
        (np.zeros(SIZE, bool), "is empty: no pixel is set"),
    ],
)
def test_arrays_that_are_no_masks_of_the_size(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=message):
        read_mask_picture(tmp_path / "a.npy", SIZE)


def test_a_mask_picture_lies_where_its_photo_does(tmp_path):
    """In the upper left corner for a model that keeps the shape of pictures."""
    mask = np.zeros((32, 64), bool)
    mask[:, :32] = True
    write_png(tmp_path / "a.png", mask)
    logits = read_mask(tmp_path / "a.png", 16, (32, 64), keep_aspect=True)
    assert (logits[:7, :7] == 10).all()
    assert (logits[9:] == -10).all() and (logits[:, 9:] == -10).all()
    squashed = read_mask(tmp_path / "a.png", 16, (32, 64))
    assert (squashed[:, :7] == 10).all()
