import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

SIZE = (48, 64)  # height, width of the pictures
MASK_SIZE = 16


class FakePredictor:
    """Has ImagePredictor's shapes. Candidate k of object i is a rectangle of i + k + 1 columns."""

    calls: list[dict]  # one per predict, with the image's shape

    def __init__(self, model):
        self.model = model
        type(self).calls = []

    def set_image(self, image):
        assert image.dtype == np.uint8
        self.size = image.shape[:2]

    def predict(self, *, point_coords, point_labels, box, mask_input, multimask_output, text):
        self.calls.append(dict(locals(), size=self.size))
        objects = 1 if box is None else len(box)
        candidates = 3 if multimask_output else 1
        masks = np.zeros((objects, candidates, *self.size), np.float32)
        for i in range(objects):
            for k in range(candidates):
                masks[i, k, :10, : i + k + 1] = 1
        ious = np.linspace(0.5, 0.9, objects * candidates, dtype=np.float32)
        low = np.ones((objects, candidates, MASK_SIZE, MASK_SIZE), np.float32)
        results = masks, ious.reshape(objects, candidates), low
        return tuple(x[0] for x in results) if objects == 1 else results


@pytest.fixture
def fake(monkeypatch):
    """Replaces the model and the predictor that the command would load."""
    names = []

    def load(name):
        names.append(name)
        return SimpleNamespace(config=SimpleNamespace(mask_size=MASK_SIZE, keep_aspect=False))

    FakePredictor.loaded, FakePredictor.calls = names, []
    monkeypatch.setattr(importlib.import_module("sam_jax.load"), "load", load)
    predictors = importlib.import_module("sam_jax.predictors.image")
    monkeypatch.setattr(predictors, "ImagePredictor", FakePredictor)
    return FakePredictor


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty current folder with the picture a.png, and no compilation cache of the command's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_JAX_CACHE", "off")
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save("a.png")
    return tmp_path
