"""The whole image path at full size, on real photos, against the official predictors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.presets import PRESETS

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def pair(official):
    """sam2.1-hiera-tiny with the same random weights, ours and theirs."""
    from convert import verify

    return verify.random_pair(PRESETS["sam2.1-hiera-tiny"])


@pytest.fixture(scope="module")
def vit_pair(official):
    """sam-vit-base with the same random weights, ours and theirs."""
    from convert import verify

    return verify.random_pair(PRESETS["sam-vit-base"])


@pytest.fixture(scope="module")
def photo(request: pytest.FixtureRequest, docs_media: Path) -> Callable[[int, int], np.ndarray]:
    """`photo(width, height)`: truck.jpg, or the demo's photo where it is not at hand."""
    try:
        path = request.getfixturevalue("media") / "truck.jpg"
    except pytest.skip.Exception:
        path = docs_media / "coffee.jpg"
    picture = Image.open(path).convert("RGB")

    def resized(width: int, height: int) -> np.ndarray:
        same = picture.size == (width, height)
        return np.array(picture if same else picture.resize((width, height)))

    return resized


@pytest.mark.parametrize(("width", "height"), [(1800, 1200), (640, 480)])
def test_tiny_equals_the_official_predictor(pair, photo, width: int, height: int) -> None:
    from convert import verify

    errors = list(verify.compare(*pair, photo(width, height)))
    stages = {error.stage for error in errors}
    assert stages == verify.LIMITS.keys()
    assert sum(error.stage == "mask logits" for error in errors) == 12  # 6 prompts, 1 and 3 masks
    wrong = [str(error) for error in errors if not error.accepted]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("width", "height"), [(1800, 1200), (480, 640)])
def test_vit_b_equals_the_official_predictor(vit_pair, photo, width: int, height: int) -> None:
    from convert import verify

    errors = list(verify.compare(*vit_pair, photo(width, height)))
    stages = {error.stage for error in errors}
    assert stages == verify.LIMITS.keys() - {"stride 4", "stride 8", "object score"}
    assert sum(error.stage == "mask logits" for error in errors) == 12
    wrong = [str(error) for error in errors if not error.accepted]
    assert not wrong, "\n".join(wrong)


def test_the_comparison_sees_a_wrong_model(official, photo) -> None:
    """One bias moved by 0.01 is reported, and only where it acts."""
    import jax

    from convert import verify

    model, theirs = verify.random_pair(PRESETS["sam2.1-hiera-nano"])
    params = jax.tree.map(lambda x: x, model.params)  # a new tree of the same arrays
    head = params["mask_decoder"]["iou_prediction_head"]["layers_2"]
    head["bias"] = head["bias"] + 0.01
    wrong = list(verify.compare(model.replace(params=params), theirs, photo(640, 480)))
    assert {error.stage for error in wrong if not error.accepted} == {"IoU"}


def test_the_command_on_an_official_file(official, tmp_path: Path, capsys) -> None:
    """A .pt as the official code saves it: our reader, names and modules, end to end."""
    import torch

    from convert import verify

    theirs = official.perturb(official.build_sam2(PRESETS["sam2.1-hiera-nano"], seed=3), seed=3)
    torch.save({"model": theirs.state_dict()}, tmp_path / "nano.pt")
    assert verify.main([str(tmp_path / "nano.pt"), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### sam2.1-hiera-nano, coffee.jpg 600 x 400")
    assert "| worst | " in printed and "| 8 boxes, 3 masks | " in printed


def test_the_command_refuses(official, tmp_path: Path, capsys) -> None:
    from convert import verify

    for arguments, message in (
        ([], "give a checkpoint, or --random MODEL"),
        (["--random", "sam2.1-hiera-tinny"], "Did you mean 'sam2.1-hiera-tiny'?"),
        (["--random", "sam2.1-hiera-nano", "--image", str(tmp_path / "no.jpg")], "no.jpg"),
    ):
        assert verify.main(arguments) == 2
        assert message in capsys.readouterr().err


def test_the_random_model_answers_prompts(pair, photo) -> None:
    """Different prompts get different masks: what is compared above is not one constant."""
    from convert import official, verify

    predictor = official.image_predictor(pair[1])
    image = photo(640, 480)
    predictor.set_image(image)
    cases = verify.prompt_cases(*image.shape[:2])
    masks = [predictor.predict(**cases[name])[0][0] for name in ("1 click", "2 clicks", "box")]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert 1e-4 < np.mean(masks[i] != masks[j]) < 0.9
    assert all(0.02 < mask.mean() < 0.98 for mask in masks)
