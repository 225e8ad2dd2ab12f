"""Where a picture lies on the model input, and what comes back from there."""

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.canvas import Canvas
from sam_jax.io.images import to_model_input, upsample_logits
from sam_jax.ops.colour import MEAN

SCENE = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)


def test_squashed_is_all_over_the_square():
    canvas = Canvas(90, 160, 64, keep_aspect=False)
    assert canvas.covered == (64, 64)
    np.testing.assert_array_equal(canvas.paint(SCENE), to_model_input(SCENE, 64))
    np.testing.assert_array_equal(canvas.to_input(np.array([[1, 0.5]])), [[64, 32]])
    low = np.random.default_rng(1).standard_normal((2, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(canvas.to_picture(low), upsample_logits(low, 90, 160))


@pytest.mark.parametrize(
    ("height", "width", "covered"),
    [(90, 160, (36, 64)), (160, 90, (64, 36)), (64, 64, (64, 64)), (10, 3, (64, 19))],
)
def test_the_longer_side_fills_the_square(height, width, covered):
    assert Canvas(height, width, 64, keep_aspect=True).covered == covered


def test_a_line_keeps_a_pixel():
    assert Canvas(1, 5000, 64, keep_aspect=True).covered == (1, 64)


def test_the_rest_is_the_mean_colour():
    painted = Canvas(90, 160, 64, keep_aspect=True).paint(Image.fromarray(SCENE))
    expected = Image.fromarray(SCENE).resize((64, 36), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(painted[:36], np.asarray(expected, np.float32) / 255)
    assert painted.dtype == np.float32
    assert (painted[36:] == np.array(MEAN, np.float32)).all()


def test_a_square_picture_is_painted_on_8_bit_values_too():
    square = SCENE[:90, :90]
    painted = Canvas(90, 90, 64, keep_aspect=True).paint(square)
    values = painted * 255
    np.testing.assert_allclose(values, values.round(), atol=1e-4)


def test_places_go_where_their_pixels_go():
    """A bright dot lies around its place on the input."""
    dark = np.zeros((90, 160, 3), np.uint8)
    dark[60:64, 100:104] = 255
    canvas = Canvas(90, 160, 128, keep_aspect=True)
    painted = canvas.paint(dark)[: canvas.covered[0], :, 0]
    y, x = (np.indices(painted.shape) * painted).sum((1, 2)) / painted.sum()
    place = canvas.to_input(np.array([102 / 160, 62 / 90]))
    np.testing.assert_allclose(place, [x + 0.5, y + 0.5], atol=0.1)


def test_logits_lose_what_lies_outside_the_picture():
    low = np.full((3, 1, 16, 16), -5, np.float32)
    low[:, :, :9] = 5  # the picture's rows; below it is the filling
    canvas = Canvas(90, 160, 64, keep_aspect=True)
    back = canvas.to_picture(low)
    assert back.shape == (3, 1, 90, 160) and back.dtype == np.float32
    assert (back[..., :-8, :] == 5).all() and (back > -5).all()
    assert canvas.to_picture(low[:0]).shape == (0, 1, 90, 160)


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_logits_of_the_picture_at_another_size(keep_aspect):
    low = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float32)
    canvas = Canvas(90, 160, 64, keep_aspect)
    shrunk = canvas.to_picture(low, (45, 80))
    assert shrunk.shape == (2, 45, 80)
    between = canvas.to_picture(low).reshape(2, 45, 2, 80, 2).mean((2, 4))
    assert np.abs(shrunk - between).mean() < 0.1  # the same places
    np.testing.assert_array_equal(canvas.to_picture(low, (90, 160)), canvas.to_picture(low))


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(1200, 1800), (640, 480), (33, 700), (100, 100)])
def test_equal_to_segment_anything(shape):
    torch = pytest.importorskip("torch")
    from convert import official

    official.require()
    from segment_anything.modeling import Sam
    from segment_anything.utils.transforms import ResizeLongestSide

    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*shape, 3), np.uint8)
    theirs = ResizeLongestSide(1024)
    canvas = Canvas(*shape, 1024, keep_aspect=True)
    resized = theirs.apply_image(image)
    rows, columns = canvas.covered
    assert resized.shape == (rows, columns, 3)
    np.testing.assert_array_equal(canvas.paint(image)[:rows, :columns], resized / np.float32(255))
    xy = random.uniform(0, 1, (5, 2))
    expected = theirs.apply_coords(xy * shape[::-1], shape)
    np.testing.assert_allclose(canvas.to_input(xy), expected, rtol=1e-6)

    encoder = torch.nn.Module()
    encoder.img_size = 1024
    sam = Sam(encoder, torch.nn.Module(), torch.nn.Module())
    low = random.uniform(-30, 30, (2, 1, 256, 256)).astype(np.float32)
    expected = sam.postprocess_masks(torch.from_numpy(low), (rows, columns), shape)
    np.testing.assert_allclose(canvas.to_picture(low), expected.numpy(), atol=5e-5)
