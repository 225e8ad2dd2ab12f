"""The mask generator's records beside the official ones, matched one to one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.verify_everything import CASES, compare

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Casting complex values:UserWarning"),
]

# The boxes of random masks are the whole picture.
_NO_DUPLICATES = {"box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}


@pytest.fixture(scope="module")
def nano(official, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped weights in both implementations, exported for the official one: real masks."""
    from convert import verify
    from convert.__main__ import main

    path = tmp_path_factory.mktemp("nano") / "nano.pt"
    assert main(["sam2.1-hiera-nano", str(path)]) == 0
    return verify.checkpoint_pair(str(path))


@pytest.fixture(scope="module")
def photos(media: Path) -> dict[str, np.ndarray]:
    from convert.verify_everything import shrunk
    from sam_jax.io.images import read_image

    return {
        path.stem: shrunk(read_image(path), 640)
        for path in (media / "truck.jpg", media / "dog.jpg")
    }


@pytest.mark.parametrize("photo", ["truck", "dog"])
@pytest.mark.parametrize("case", CASES)
def test_the_same_records(nano, photos, case: str, photo: str) -> None:

    found = compare(*nano, photos[photo], CASES[case])
    assert min(found.theirs, found.ours) >= 5, "too few to compare"
    assert found.accepted, found


def test_the_comparison_sees_a_difference(nano, photos, monkeypatch) -> None:
    """A mask threshold that only one side has."""
    from convert import verify_everything

    official_side = verify_everything.generator

    def moved(theirs: Any, **arguments: Any) -> Any:
        return official_side(theirs, **arguments, mask_threshold=0.5)

    monkeypatch.setattr(verify_everything, "generator", moved)
    found = verify_everything.compare(
        *nano, photos["dog"], verify_everything.CASES["16 x 16 points"]
    )
    assert found.same < 0.9 and not found.accepted


def test_tiny_at_full_size_with_lively_random_weights(official, photos) -> None:
    """The released architecture at 1024: every limit lets some masks pass, and not all."""
    from convert import verify, verify_everything
    from sam_jax.presets import PRESETS

    pair = verify.random_pair(PRESETS["sam2.1-hiera-tiny"])
    arguments = {
        "points_per_side": 6,
        "pred_iou_thresh": 0.63,
        "stability_score_thresh": 0.6,
        **_NO_DUPLICATES,
    }
    found = verify_everything.compare(*pair, photos["dog"], arguments)
    assert 5 <= found.theirs < 3 * 36
    assert found.accepted, found


@pytest.mark.parametrize(
    "arguments",
    [
        {"stability_score_thresh": 0.6},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crop_n_layers": 1},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "min_mask_region_area": 150},
    ],
    ids=["limits", "crops", "small regions"],
)
def test_sam_1(official, photos, arguments: dict[str, Any]) -> None:
    """A small ViT with lively random weights, beside SamAutomaticMaskGenerator."""
    from convert import verify
    from sam_jax.config import SamConfig, VitConfig

    encoder = VitConfig(32, 2, 2, global_att_blocks=(1,), pos_embed_grid=(16, 16))
    pair = verify.random_pair(SamConfig("small-sam", encoder, image_size=256))
    settings = {"points_per_side": 6, "pred_iou_thresh": 0.1, **_NO_DUPLICATES, **arguments}
    found = compare(*pair, photos["dog"], settings)
    assert min(found.theirs, found.ours) >= 5, "too few to compare"
    assert found.accepted, found
