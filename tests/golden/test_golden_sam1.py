"""SAM 1 at tiny width: its encoder, and a photo with prompts, against the official code."""

import jax
import jax.numpy as jnp
import pytest

from sam_jax import ImagePredictor
from sam_jax.image import encode_image
from sam_jax.models.vit import relative_rows

PROMPTS = ["click", "two_clicks", "box", "boxes", "box_and_click", "mask"]


@pytest.mark.parametrize("case", ["windowed", "global"])
def test_golden_block(golden, case: str) -> None:
    case = golden("vit_block", case)
    index = case.extra["index"]
    case.check(x=case.run(lambda m, x: m.image_encoder.blocks[index](x), case.inputs["x"]))


def test_golden_encoder(golden) -> None:
    case = golden("vit", "encoder")
    image = jnp.asarray(case.inputs["image"], jnp.float32)[None] / 255
    features = jax.jit(encode_image)(case.model, image)
    assert features.high_res == ()
    case.check(embed=features.embed)


@pytest.mark.parametrize("size", [5, 8, 13])
def test_golden_relative_positions_of_other_sizes(golden, size: int) -> None:
    case = golden("vit", f"relative_{size}")
    case.check(rows=relative_rows(jnp.asarray(case.inputs["table"]), size))


@pytest.fixture(scope="module")
def predictor(golden):
    case = golden("vit_end_to_end", "image")
    predictor = ImagePredictor(case.model)
    predictor.set_image(case.inputs["image"])
    return predictor


def test_golden_embedding(golden, predictor) -> None:
    embed = predictor.get_image_embedding().transpose(0, 2, 3, 1)
    golden("vit_end_to_end", "image").check(embed=embed)


@pytest.mark.parametrize("count", ["one", "three"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_golden_prediction(golden, predictor, prompt: str, count: str) -> None:
    case = golden("vit_end_to_end", f"{prompt}_{count}")
    full, iou, logits = predictor.predict(
        **case.inputs, multimask_output=case.extra["multimask"], return_logits=True
    )
    case.check(full=full[..., ::9, ::9], iou=iou, logits=logits[..., ::4, ::4], atol=3e-5)
