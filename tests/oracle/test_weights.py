"""Opt-in, for people who have the released files: `SAM_JAX_WEIGHTS=folder pytest -m weights`.

The folder holds the official .pt files under their published names, and car.png, the picture of
the published numbers (huggingface.co: ybelkada/segment-anything, assets/car.png). Numbers: the
assertions of transformers' convert_sam2_video_to_hf.py, one click at (1000, 600), three masks.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import sam_jax
from sam_jax.io.images import read_image
from sam_jax.load import load

pytestmark = pytest.mark.weights

IOUS = {
    "sam2.1_hiera_tiny": (0.0316, 0.9647, 0.1029),
    "sam2.1_hiera_small": (0.9664, 0.1494, 0.0456),
    "sam2.1_hiera_base_plus": (0.0361, 0.9775, 0.1307),
    "sam2.1_hiera_large": (0.9648, 0.0371, 0.1898),
    "sam2_hiera_tiny": (0.0439, 0.9567, 0.1415),
    "sam2_hiera_small": (0.9593, 0.1633, 0.0392),
    "sam2_hiera_base_plus": (0.0423, 0.9815, 0.0897),
    "sam2_hiera_large": (0.9514, 0.0535, 0.1787),
}


def _file(name: str) -> Path:
    if "SAM_JAX_WEIGHTS" not in os.environ:
        pytest.skip("set SAM_JAX_WEIGHTS to a folder with the official files and car.png")
    path = Path(os.environ["SAM_JAX_WEIGHTS"]) / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.parametrize("name", IOUS)
def test_published_ious(name: str) -> None:
    model = load(_file(f"{name}.pt"), dtype=np.float32)
    predictor = sam_jax.ImagePredictor(model)
    predictor.set_image(read_image(_file("car.png")))
    _, iou, _ = predictor.predict(point_coords=[[1000, 600]], point_labels=[1])
    np.testing.assert_allclose(iou, IOUS[name], atol=1e-2)
