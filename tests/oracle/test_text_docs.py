"""The detector of docs/text.md, as it is written there, with a small OWLv2 of random weights."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sam_jax

pytestmark = pytest.mark.oracle
transformers = pytest.importorskip("transformers", reason="run `make oracle`")


@pytest.fixture
def detector(
    docs_media: Path, tmp_path: Path, clip_tokenizer, vocabulary_size: int, monkeypatch
) -> Any:
    folder = clip_tokenizer(tmp_path)
    merges = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    tokenizer = transformers.CLIPTokenizer(
        vocab=json.loads((folder / "vocab.json").read_text("utf-8")),
        merges=[tuple(line.split(" ")) for line in merges],
        model_max_length=16,
    )
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": vocabulary_size, "intermediate_size": 32}
    text |= {"bos_token_id": vocabulary_size - 2, "eos_token_id": vocabulary_size - 1}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"patch_size": 16, "image_size": 96, "intermediate_size": 32}
    config = transformers.Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
    model = transformers.Owlv2ForObjectDetection(config).eval()
    pictures = transformers.Owlv2ImageProcessorPil(size={"height": 96, "width": 96})
    processor = transformers.Owlv2Processor(image_processor=pictures, tokenizer=tokenizer)
    for name, value in (("Owlv2Processor", processor), ("Owlv2ForObjectDetection", model)):
        kind = getattr(transformers, name)
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, value=value: value)
    page = (docs_media.parent / "text.md").read_text("utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    return names["detector"]


def test_the_detector_of_the_page(detector, small_tracker) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    boxes, scores = detector(photo, ["a red cup", "a circle"])
    assert len(boxes) == len(scores) == 2 and sum(map(len, boxes)) > 0
    predictor = sam_jax.ImagePredictor(small_tracker())
    found = sam_jax.text_boxes(detector)(predictor, photo, ["a red cup", "a circle"])
    assert len(found) == sum(map(len, boxes))
    assert all(f.mask.shape == (60, 90) and 0 < f.score <= 1 for f in found)
