import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.images import as_rgb, read_image, to_model_input, upsample_logits

SCENE = np.stack(
    [*np.mgrid[:24, :40] * np.array([10, 6])[:, None, None], np.indices((24, 40)).sum(0) * 3], -1
).astype(np.uint8)
GREY = SCENE[..., 1]


def write(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and then holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


# --- reading ---


def test_paths_and_open_files_read_alike(tmp_path):
    path = write(tmp_path / "a.png", Image.fromarray(SCENE))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        image = read_image(source)
        assert image.dtype == np.uint8
        assert image.flags.writeable
        np.testing.assert_array_equal(image, SCENE)


def test_greyscale_is_repeated(tmp_path):
    for mode in ("L", "1"):
        picture = Image.fromarray(GREY).convert(mode)
        image = read_image(write(tmp_path / "a.png", picture))
        np.testing.assert_array_equal(
            image, np.array(picture.convert("L"))[..., None].repeat(3, -1)
        )


def test_transparency_is_dropped_not_composited(tmp_path):
    pixels = np.dstack([SCENE, np.zeros((24, 40), np.uint8)])  # wholly transparent
    np.testing.assert_array_equal(
        read_image(write(tmp_path / "a.png", Image.fromarray(pixels))), SCENE
    )


def test_palettes_with_transparency_read_without_a_warning(tmp_path):
    picture = Image.fromarray(SCENE).quantize(8)
    path = write(tmp_path / "a.png", picture, transparency=bytes([0, 128, 255]))
    np.testing.assert_array_equal(read_image(path), np.array(picture.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_is_scaled_not_clipped(tmp_path, suffix):
    deep = GREY.astype(np.uint16) * 257
    deep[0, :3] = [0, 128, 129]  # 129 / 257 rounds up
    image = read_image(write(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    assert image[0, :3, 0].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(image[1:], GREY[1:, :, None].repeat(3, -1))


def test_cmyk(tmp_path):
    picture = Image.new("CMYK", (4, 3), (0, 255, 255, 0))
    image = read_image(write(tmp_path / "a.jpg", picture))
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.png", Image.fromarray(SCENE), exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(SCENE, turns))


def test_one_pixel_and_first_frame(tmp_path):
    dot = np.full((1, 1, 3), 7, np.uint8)
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", Image.fromarray(dot))), dot)
    frames = [Image.new("RGB", (3, 2), color) for color in ("red", "blue")]
    path = write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path), np.array(frames[0]))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.img is empty \(0 bytes\)"),
        (b"GIF, I swear", r"a\.img is not an image in a format that Pillow reads"),
        (b"\x89PNG\r\n\x1a\nwhat is this", r"a\.img cannot be read as an image|is not an image"),
        (png_header(5, 5), r"a\.img is damaged or of an unsupported kind \(PNG, mode RGB\)"),
        (
            png_header(30_000, 30_000),
            r"a\.img has 30000 x 30000 = 900,000,000 pixels, more than the limit of 200,000,000; "
            r"shrink it \(or, in Python, pass max_pixels=900000000\)",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.img"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", Image.fromarray(SCENE.repeat(9, 0).repeat(9, 1)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"a\.{suffix} (is damaged|cannot be read|is not an im)"):
        read_image(path)


def test_decoders_that_may_be_tried(tmp_path):
    path = write(tmp_path / "a.png", Image.fromarray(SCENE))
    np.testing.assert_array_equal(read_image(path, formats=("JPEG", "PNG")), SCENE)
    with pytest.raises(ValueError, match=r"a\.png is not an image in one of JPEG, WEBP"):
        read_image(path, formats=("JPEG", "WEBP"))


def test_size_limit_is_an_argument_and_leaves_pillow_alone(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", Image.fromarray(SCENE))
    with pytest.raises(ValueError, match="40 x 24 = 960 pixels, more than the limit of 959"):
        read_image(path, max_pixels=959)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would refuse above 20
    np.testing.assert_array_equal(read_image(path, max_pixels=960), SCENE)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4), np.float32), "floating-point pixels have no agreed range"),
        (np.full((3, 4), 70_000, np.int32), "32-bit pixels have no agreed range"),
        (np.full((3, 4), -1, np.int32), "32-bit pixels have no agreed range"),
    ],
)
def test_pixels_without_a_range_are_refused(tmp_path, values, message):
    path = write(tmp_path / "a.tiff", Image.fromarray(values))
    with pytest.raises(ValueError, match=rf"a\.tiff is damaged or of an unsupported.*{message}"):
        read_image(path)


# --- arrays and PIL images ---


def test_as_rgb_takes_arrays_and_pil_images():
    assert as_rgb(SCENE) is SCENE
    np.testing.assert_array_equal(as_rgb(Image.fromarray(SCENE)), SCENE)
    np.testing.assert_array_equal(as_rgb(Image.fromarray(GREY)), GREY[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"greyscale shape \(4, 5\); repeat it: np.repeat"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"one \[h w 3\] array, got shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"image has no pixels: shape \(0, 5, 3\)"),
        (np.zeros((4, 5, 4), np.uint8), r"got \(4, 5, 4\); drop alpha: image\[..., :3\]"),
        (np.zeros((4, 5, 2), np.uint8), r"must be \[h w 3\], got shape \(4, 5, 2\)$"),
        (np.zeros((3, 4, 5), np.uint8), r"channels go last: np.moveaxis\(image, 0, -1\)"),
        (np.zeros((4, 5, 3), np.float32), r"uint8 in 0..255, got float32; if it holds 0..1 use"),
        (np.zeros((4, 5, 3), bool), r"uint8 in 0..255, got bool"),
        (Image.new("RGB", (0, 3)), "image has no pixels: 0 x 3"),
        ("photo.jpg", r"must be one \[h w 3\] array, got shape \(\)"),
    ],
)
def test_as_rgb_refuses(image, message):
    with pytest.raises(ValueError, match=message):
        as_rgb(image)


# --- resizing ---


def triangle_weights(n_in: int, n_out: int) -> np.ndarray:
    """Antialiased bilinear resizing as a matrix, from the definition, in float64."""
    ratio = n_in / n_out
    reach = max(ratio, 1)
    distance = np.arange(n_in) + 0.5 - (np.arange(n_out)[:, None] + 0.5) * ratio
    weights = np.maximum(0, 1 - np.abs(distance) / reach)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("shape", [(24, 40), (1, 1), (150, 97), (64, 64), (1, 300)])
def test_model_input_is_antialiased_bilinear(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    result = to_model_input(image, 64)
    rows, columns = triangle_weights(shape[0], 64), triangle_weights(shape[1], 64)
    expected = np.einsum("yh,hwc,xw->yxc", rows, image / 255, columns)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_model_input_takes_what_predictors_are_given():
    np.testing.assert_array_equal(
        to_model_input(Image.fromarray(SCENE), 32), to_model_input(SCENE, 32)
    )
    with pytest.raises(ValueError, match=r"uint8 in 0\.\.255, got float64"):
        to_model_input(SCENE / 255, 32)


def bilinear(low: np.ndarray, height: int, width: int) -> np.ndarray:
    """Plain bilinear interpolation, half-pixel centres, borders repeated, in float64."""

    def along(values: np.ndarray, n_out: int) -> np.ndarray:  # last axis
        n_in = values.shape[-1]
        at = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
        return np.stack([np.interp(at, np.arange(n_in), line) for line in values], 0)

    return np.stack([along(along(mask, width).T, height).T for mask in low.astype(float)])


@pytest.mark.parametrize("shape", [(120, 180), (48, 64), (33, 17), (5, 7), (1, 1)])
def test_logits_are_interpolated_without_antialiasing(shape):
    low = np.random.default_rng(0).uniform(-30, 30, (2, 32, 48)).astype(np.float32)
    result = upsample_logits(low, *shape)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, bilinear(low, *shape), atol=1e-3)  # torch's own is no nearer


def test_logits_keep_their_leading_axes():
    low = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32)
    result = upsample_logits(low, 20, 30)
    assert result.shape == (3, 2, 20, 30)
    np.testing.assert_array_equal(result[2, 1], upsample_logits(low[2, 1], 20, 30))
    assert upsample_logits(low[:0], 20, 30).shape == (0, 2, 20, 30)


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(1200, 1800), (480, 640), (1, 1), (100, 3000)])
def test_equal_to_torch(shape):
    torch = pytest.importorskip("torch")
    interpolate = torch.nn.functional.interpolate
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*shape, 3), np.uint8)
    planes = torch.from_numpy(np.moveaxis(image, -1, 0)[None].astype(np.float32) / 255)
    expected = interpolate(planes, (1024, 1024), mode="bilinear", antialias=True)
    result = to_model_input(image, 1024)
    np.testing.assert_allclose(result, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)
    low = random.uniform(-30, 30, (2, 256, 256)).astype(np.float32)
    expected = interpolate(torch.from_numpy(low[None]), shape, mode="bilinear")[0].numpy()
    np.testing.assert_allclose(upsample_logits(low, *shape), expected, atol=1e-5)


def test_the_photo_reads(media):
    assert read_image(os.path.join(media, "truck.jpg")).shape == (1200, 1800, 3)
