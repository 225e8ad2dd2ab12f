"""SAM 1 behind the predictors: pictures keep their shape, boxes stay open, nothing is tracked."""

import numpy as np
import pytest

import sam_jax
from sam_jax import video
from sam_jax.io.canvas import Canvas
from sam_jax.predictors.prompts import check_prompts
from sam_jax.presets import SAM2_1_HIERA_NANO
from sam_jax.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NOT_A_POINT


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor(small_sam):
    return sam_jax.ImagePredictor(small_sam)


def test_wide_and_tall_pictures_get_masks_of_their_size(predictor) -> None:
    for height, width in ((30, 80), (80, 30)):
        predictor.set_image(photo(height, width))
        masks, ious, low = predictor.predict([[5, 6]], [1])
        assert masks.shape == (3, height, width) and ious.shape == (3,)
        assert low.shape == (3, 24, 24)
        boxes = np.array([[0, 0, 20, 20], [5, 5, 30, 30]])
        assert predictor.predict(box=boxes)[0].shape == (2, 3, height, width)


def test_batches_are_what_pictures_are_alone(small_sam, predictor) -> None:
    images = [photo(30, 80), photo(64, 64)]
    batch = sam_jax.ImagePredictor(small_sam)
    batch.set_image_batch(images)
    points, labels = [np.array([[9, 9]])] * 2, [np.array([1])] * 2
    masks, ious, _ = batch.predict_batch(points, labels, return_logits=True)
    for i, image in enumerate(images):
        predictor.set_image(image)
        alone, iou, _ = predictor.predict(points[i], labels[i], return_logits=True)
        np.testing.assert_allclose(masks[i], alone, atol=2e-4)
        np.testing.assert_allclose(ious[i], iou, atol=1e-5)


def test_low_resolution_logits_are_not_clamped(small_sam) -> None:
    import jax

    params = jax.tree.map(lambda x: x, small_sam.params)  # a new tree of the same arrays
    for i in range(4):
        head = params["mask_decoder"][f"output_hypernetworks_mlps_{i}"]["layers_2"]
        head["kernel"] = 1000 * head["kernel"]
    predictor = sam_jax.ImagePredictor(small_sam.replace(params=params))
    predictor.set_image(photo(30, 80))
    assert np.abs(predictor.predict([[9, 9]], [1])[2]).max() > 33


def test_boxes_have_no_closing_token_and_clicks_have(small_sam) -> None:
    box, click = [10, 20, 50, 60], ([[30.0, 40.0]], [1])

    def labels(config, *prompts) -> list[int]:
        canvas = Canvas(80, 96, config.image_size, config.keep_aspect)
        checked = check_prompts(*prompts, None, canvas=canvas, normalize_coords=True, config=config)
        return checked.labels[0].tolist()

    corners = [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]
    sam1, sam2 = small_sam.config, SAM2_1_HIERA_NANO
    assert labels(sam1, *click, None) == labels(sam2, *click, None) == [1, NOT_A_POINT]
    assert labels(sam1, None, None, box) == corners
    assert labels(sam2, None, None, box) == [*corners, NOT_A_POINT]
    assert labels(sam1, *click, box) == [*corners, 1]


def test_places_scale_alike_along_both_sides(small_sam) -> None:
    config = small_sam.config
    canvas = Canvas(48, 192, config.image_size, config.keep_aspect)
    checked = check_prompts(
        [[40, 20]], [1], None, None, canvas=canvas, normalize_coords=True, config=config
    )
    np.testing.assert_allclose(checked.points[0, 0], [20, 10])


def test_videos_are_refused(small_sam) -> None:
    message = "small-sam is a SAM 1 model: .* no memory to track with. Take a SAM 2 model"
    for call in (
        lambda: sam_jax.VideoPredictor(small_sam),
        lambda: sam_jax.Stream(small_sam),
        lambda: video.init_state(small_sam, 1),
    ):
        with pytest.raises(ValueError, match=message):
            call()
