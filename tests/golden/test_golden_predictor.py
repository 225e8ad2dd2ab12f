"""From a photo and prompts to masks with a tiny model, against the official image predictor."""

import pytest

from sam_jax import ImagePredictor

PROMPTS = ["click", "two_clicks", "box", "boxes", "box_and_click", "mask"]


@pytest.fixture(scope="module")
def predictor(golden):
    case = golden("end_to_end", "image")
    predictor = ImagePredictor(case.model)
    predictor.set_image(case.inputs["image"])
    return predictor


def test_golden_embedding(golden, predictor) -> None:
    embed = predictor.get_image_embedding().transpose(0, 2, 3, 1)
    golden("end_to_end", "image").check(embed=embed)


@pytest.mark.parametrize("count", ["one", "three"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_golden_prediction(golden, predictor, prompt: str, count: str) -> None:
    case = golden("end_to_end", f"{prompt}_{count}")
    _, iou, logits = predictor.predict(**case.inputs, multimask_output=case.extra["multimask"])
    # Images are resized by Pillow here and by PyTorch there: the inputs differ by rounding.
    case.check(iou=iou, logits=logits[..., ::4, ::4], atol=3e-5)
