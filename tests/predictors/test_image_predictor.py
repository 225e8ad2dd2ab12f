import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax.io.images import upsample_logits
from sam_jax.models import build
from sam_jax.predictors import image as predictor_module
from sam_jax.presets import SAM2_1_HIERA_NANO
from sam_jax.types import Model


@pytest.fixture(scope="module")
def model(random_params):
    module = build(SAM2_1_HIERA_NANO)
    return Model(params=random_params(module), module=module)


def photo(height=120, width=200, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def predictor(model):
    predictor = sam_jax.ImagePredictor(model)
    predictor.set_image(photo())
    return predictor


def test_shapes_and_dtypes_of_one_object(predictor):
    masks, ious, low = predictor.predict(point_coords=[[50, 60]], point_labels=[1])
    assert masks.shape == (3, 120, 200) and masks.dtype == np.float32
    assert set(np.unique(masks)) <= {0, 1}
    assert ious.shape == (3,) and ious.dtype == np.float32
    assert low.shape == (3, 64, 64) and abs(low).max() <= 32
    masks, ious, low = predictor.predict(box=[10, 20, 90, 100], multimask_output=False)
    assert masks.shape == (1, 120, 200) and ious.shape == (1,) and low.shape == (1, 64, 64)
    logits, _, _ = predictor.predict(
        box=[10, 20, 90, 100], multimask_output=False, return_logits=True
    )
    np.testing.assert_array_equal(logits > 0, masks > 0)


def test_several_objects_get_a_leading_axis_and_what_they_would_get_alone(predictor):
    boxes = np.array([[10, 20, 90, 100], [0, 0, 200, 120], [30, 5, 60, 50]])
    masks, ious, low = predictor.predict(box=boxes, return_logits=True)
    assert masks.shape == (3, 3, 120, 200) and ious.shape == (3, 3) and low.shape == (3, 3, 64, 64)
    for i, box in enumerate(boxes):
        alone, iou, _ = predictor.predict(box=box, return_logits=True)
        np.testing.assert_allclose(masks[i], alone, atol=1e-4)
        np.testing.assert_allclose(ious[i], iou, atol=1e-5)


def test_previous_logits_are_a_prompt(predictor):
    click = {"point_coords": [[50, 60]], "point_labels": [1]}
    _, _, low = predictor.predict(**click)
    again, _, _ = predictor.predict(**click, mask_input=low[:1], return_logits=True)
    plain, _, _ = predictor.predict(**click, return_logits=True)
    assert abs(again - plain).max() > 1e-3
    only_mask, _, _ = predictor.predict(mask_input=low[0])
    assert only_mask.shape == (3, 120, 200)


def test_one_mask_serves_all_boxes_and_one_click_all_masks(predictor):
    boxes = np.array([[10, 20, 90, 100], [0, 0, 200, 120], [30, 5, 60, 50]])
    low = np.random.default_rng(0).normal(0, 5, (3, 1, 64, 64))
    shared = predictor.predict(box=boxes, mask_input=low[0], return_logits=True)[0]
    tiled = predictor.predict(box=boxes, mask_input=low[[0, 0, 0]], return_logits=True)[0]
    np.testing.assert_array_equal(shared, tiled)
    clicked = predictor.predict([[5, 5]], [1], mask_input=low, return_logits=True)[0]
    alone = predictor.predict([[5, 5]], [1], mask_input=low[2], return_logits=True)[0]
    np.testing.assert_allclose(clicked[2], alone, atol=1e-4)


def test_shapes_of_boxes_that_the_official_predictor_takes(predictor):
    plain = predictor.predict(box=[10, 20, 90, 100])[0]
    for box in ([[10, 20, 90, 100]], [[[10, 20, 90, 100]]], [[10, 20], [90, 100]]):
        np.testing.assert_array_equal(predictor.predict(box=box)[0], plain)
    empty = np.zeros((0, 2))
    with_empty = predictor.predict(empty, np.zeros(0), box=[10, 20, 90, 100])[0]
    np.testing.assert_array_equal(with_empty, plain)


def test_results_are_the_callers_to_change(predictor):
    for array in predictor.predict([[5, 5]], [1]):
        array[0] = 0


def test_masks_of_another_size(predictor):
    masks, ious, low = predictor.predict([[50, 60]], [1], output_size=(60, 100))
    _, same_ious, same_low = predictor.predict([[50, 60]], [1])
    np.testing.assert_array_equal(ious, same_ious)
    np.testing.assert_array_equal(low, same_low)
    np.testing.assert_array_equal(masks, upsample_logits(low, 60, 100) > 0)


def test_thresholds_do_not_recompile(predictor):
    predictor.predict([[5, 5]], [1])
    before = predictor_module._predict._cache_size()
    for threshold in (0.5, np.float32(1.0), -2.0):
        predictor.mask_threshold = threshold
        masks, _, _ = predictor.predict([[5, 5]], [1])
        logits, _, _ = predictor.predict([[5, 5]], [1], return_logits=True)
        np.testing.assert_array_equal(masks, logits > threshold)
    assert predictor_module._predict._cache_size() == before


def test_coordinates_are_pixels_or_fractions(predictor):
    pixels = predictor.predict([[50, 60]], [1], return_logits=True)[0]
    fractions = predictor.predict([[0.25, 0.5]], [1], return_logits=True, normalize_coords=False)[0]
    np.testing.assert_allclose(pixels, fractions, atol=1e-5)


def test_batch_of_images_of_different_sizes_and_prompts_is_one_program(model):
    images = [photo(120, 200, 1), photo(64, 48, 2), photo(300, 90, 3)]
    points = [np.array([[[20, 30]], [[40, 50]]]), np.array([[5, 6], [7, 8]]), None]
    labels = [np.array([[1], [1]]), np.array([1, 0]), None]
    boxes = [None, None, np.array([1, 2, 80, 200])]
    batch = sam_jax.ImagePredictor(model)
    batch.set_image_batch(images)
    before = predictor_module._predict._cache_size()
    masks, ious, low = batch.predict_batch(points, labels, boxes, return_logits=True)
    assert predictor_module._predict._cache_size() <= before + 1
    assert [m.shape for m in masks] == [(2, 3, 120, 200), (3, 64, 48), (3, 300, 90)]
    single = sam_jax.ImagePredictor(model)
    for i, picture in enumerate(images):
        single.set_image(picture)
        m, iou, logits = single.predict(points[i], labels[i], boxes[i], return_logits=True)
        np.testing.assert_allclose(masks[i], m, atol=2e-4)
        np.testing.assert_allclose(ious[i], iou, atol=1e-5)
        np.testing.assert_allclose(low[i], logits, atol=2e-4)


def test_clicking_compiles_a_few_programs_only(predictor):
    before = predictor_module._predict._cache_size()
    for count in range(1, 21):
        clicks = np.random.default_rng(count).uniform(0, 100, (count, 2))
        predictor.predict(clicks, np.ones(count, int))
    assert predictor_module._predict._cache_size() - before <= 5  # 2, 4, 8, 16, 32 points


def test_holes_and_sprinkles_are_removed_from_the_masks_only(model):
    plain, clean = (
        sam_jax.ImagePredictor(model, max_hole_area=a, max_sprinkle_area=a) for a in (0.0, 4000.0)
    )
    results = []
    for predictor in (plain, clean):
        predictor.set_image(photo())
        results.append(predictor.predict([[50, 60]], [1], return_logits=True))
    assert abs(results[0][0] - results[1][0]).max() > 1
    np.testing.assert_array_equal(results[0][2], results[1][2])


def test_embedding_is_channels_first_and_pil_images_are_taken(model, predictor):
    assert predictor.get_image_embedding().shape == (1, 128, 16, 16)
    other = sam_jax.ImagePredictor(model)
    other.set_image(Image.fromarray(photo()))
    np.testing.assert_array_equal(predictor.get_image_embedding(), other.get_image_embedding())


def test_calls_out_of_order(model):
    predictor = sam_jax.ImagePredictor(model)
    with pytest.raises(RuntimeError, match="call set_image first"):
        predictor.predict([[1, 2]], [1])
    with pytest.raises(ValueError, match="image_list is empty"):
        predictor.set_image_batch([])
    predictor.set_image_batch([photo()])
    with pytest.raises(RuntimeError, match="call predict_batch"):
        predictor.predict([[1, 2]], [1])
    with pytest.raises(ValueError, match="point_coords_batch has 2 entries for 1 images"):
        predictor.predict_batch([[[1, 2]], [[1, 2]]], [[1]])
    with pytest.raises(ValueError, match="image 0 of the batch: no prompt"):
        predictor.predict_batch([None])
    predictor.set_image(photo())
    with pytest.raises(RuntimeError, match="call predict, or set_image_batch"):
        predictor.predict_batch([[[1, 2]]], [[1]])
    predictor.reset_predictor()
    with pytest.raises(RuntimeError, match="no image is set"):
        predictor.get_image_embedding()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "no prompt"),
        ({"point_labels": [1]}, "point_labels without point_coords"),
        ({"point_coords": [[1, 2]]}, "point_coords without point_labels"),
        ({"point_coords": [1, 2], "point_labels": [1]}, r"must be \[p, 2\].*\(2,\)"),
        ({"point_coords": np.zeros((0, 2)), "point_labels": []}, "no prompt"),
        ({"point_coords": [[1, 2]], "point_labels": [1, 0]}, r"shape \(1,\), one label a point"),
        ({"point_coords": [[1, 2]], "point_labels": [7]}, "point_labels has 7"),
        ({"point_coords": [[1, np.nan]], "point_labels": [1]}, "NaN or infinite"),
        ({"point_coords": [["a", "b"]], "point_labels": [1]}, "point_coords must be numbers"),
        ({"point_coords": [[201, 5]], "point_labels": [1]}, r"\(201, 5\), outside .* 200 x 120"),
        ({"point_coords": [[5, -1]], "point_labels": [1]}, r"\(5, -1\), outside the image"),
        ({"box": [1, 2, 3]}, r"box must be \[4\]"),
        ({"box": [50, 20, 10, 60]}, r"box \[50.0, 20.0, 10.0, 60.0\] is empty or inverted"),
        ({"box": [10, 20, 50, 20]}, "empty or inverted"),
        ({"box": [10, 20, 500, 60]}, r"box has \(500, 60\), outside"),
        ({"mask_input": np.zeros((1, 256, 256))}, r"\[1, 64, 64\].*got shape \(1, 256, 256\)"),
        ({"mask_input": np.full((1, 64, 64), np.inf)}, "mask_input has a value that is NaN"),
        (
            {"point_coords": [[[1, 2]]] * 3, "point_labels": [[1]] * 3, "box": [[1, 2, 3, 4]] * 2},
            "prompts disagree in number: {'points': 3, 'boxes': 2}",
        ),
    ],
)
def test_bad_prompts_are_refused(predictor, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 5), np.uint8), "greyscale"),
        (np.zeros((5, 5, 4), np.uint8), "drop alpha"),
        (np.zeros((5, 5, 3), np.float32), "must be uint8"),
    ],
)
def test_bad_images_are_refused_and_leave_no_old_features(predictor, image, message):
    with pytest.raises(ValueError, match=message):
        predictor.set_image(image)
    with pytest.raises(RuntimeError, match="no image is set"):
        predictor.predict([[1, 2]], [1])


def test_one_pixel_is_an_image(model):
    predictor = sam_jax.ImagePredictor(model)
    predictor.set_image(np.zeros((1, 1, 3), np.uint8))
    masks, _, _ = predictor.predict([[0.5, 0.5]], [1])
    assert masks.shape == (3, 1, 1)
