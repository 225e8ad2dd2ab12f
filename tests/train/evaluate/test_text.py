"""Phrases, clicks and salience against the truth: with a predictor that answers by a rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

import train.evaluate.__main__ as command
from sam_jax.config import WordsConfig
from sam_jax.predictors.image import ImagePredictor
from train.config import Evaluation, Source
from train.data.synthetic import Synthetic
from train.evaluate import evaluate, protocols
from train.evaluate.held_out import held_out
from train.evaluate.text import TextOptions, ask_by_text, most_salient, rows_of
from train.world.asking import VOCABULARY, plain_phrase

WORDS = WordsConfig(VOCABULARY, width=16, depth=1, num_heads=2)


class Rule:
    """Answers a text with the left half, a text and a click with all, a click with its row."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def predict(self, point_coords: Any = None, point_labels: Any = None, **others: Any) -> tuple:
        self.calls.append({"points": point_coords, "labels": point_labels} | others)
        mask = np.zeros((10, 20), np.float32)
        if point_coords is None:
            mask[:, :10] = 1
        elif "text" in others:
            mask[:] = 1
        else:
            mask[int(point_coords[0][1])] = 1
        worse = np.zeros_like(mask)
        several = others["multimask_output"]
        masks = np.stack([worse, mask, worse]) if several else mask[None]
        scores = np.array([0.1, 0.7, 0.3]) if several else np.array([0.9])
        low = np.arange(len(masks))[:, None, None] * np.ones((1, 4, 4), np.float32)
        return masks, scores, low


def test_a_text_is_followed_by_a_click_on_its_error() -> None:
    rule, mask = Rule(), np.zeros((10, 20), bool)
    mask[:, 4:] = True  # 160 pixels
    values = ask_by_text(rule, "a thing", "a large thing", mask)  # type: ignore[arg-type]
    assert values["text"] == 60 / 200 and values["score"] == 0.7
    assert values["text, then a click"] == 160 / 200 and values["repaired"] == 1
    assert values["1 click"] == 16 / 164
    text, both, click, longest = rule.calls
    assert longest["text"] == "a large thing" and values["longest text"] == values["text"]
    assert text["text"] == both["text"] == "a thing" and "text" not in click
    assert text["points"] is None and text["multimask_output"] and not both["multimask_output"]
    assert both["labels"].tolist() == [1] and both["points"][0][0] >= 10  # in what was missed
    assert (both["mask_input"] == 1).all()  # the logits of the answer that was taken
    found = ask_by_text(Rule(), "thing", "thing", np.arange(20)[None].repeat(10, 0) < 10)  # type: ignore
    assert found["text"] == 1 and "repaired" not in found


def test_unseen_pairs_are_counted_apart() -> None:
    values = {"text": 0.25, "score": 0.4, "repaired": 1.0}
    assert rows_of(values, unseen=False, threshold=0.5) == {
        "mIoU, text": 0.25,
        "answers to phrases of what is there": 0.0,
        "failures that a click repairs": 1.0,
    }
    rows = rows_of({"text": 1.0, "score": 0.4}, unseen=True, threshold=0.4)
    assert rows == {
        "mIoU, text, unseen pairs": 1.0,
        "answers to phrases of what is there": 1.0,
    }


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Any]) -> Any:
    return small_tracker(words=WORDS)


def test_the_most_salient_mask_is_that_of_the_highest_predicted_iou(model: Any) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(Synthetic("test", 1, 96)[0].image(0))
    best, masks = -1.0, None
    for y in range(6):
        for x in range(6):
            point = [[(x + 0.5) * 16, (y + 0.5) * 16]]
            found, ious, _ = predictor.predict(point, [1])
            if ious.max() > best:
                best, masks = ious.max(), found[ious.argmax()] > 0
    np.testing.assert_array_equal(most_salient(predictor), masks)


def test_results_name_every_phrase(model: Any) -> None:
    videos = held_out(Source(kind="synthetic"), 96, samples=4, frames=1)
    results = protocols.run_text(model, videos, TextOptions(threshold=0.0), objects=3)
    assert 6 < len(results.objects) <= 12
    for row in results.objects:
        scene = next(v for v in videos if v.name == row["video"])
        words = scene.words(0)
        assert row["phrase"] == plain_phrase(words, row["object"])
        assert ("mIoU, text, unseen pairs" in row) == words[row["object"]].held_out
    scores = results.scores
    assert scores["masks for phrases of what is not there"] == 1  # none scores below 0
    assert scores["answers to phrases of what is there"] == 1
    kinds = ("text", "longest text", "text, then a click", "1 click", "most salient")
    assert {f"mIoU, {kind}" for kind in kinds} <= scores.keys()
    assert all(0 <= value <= 1 for value in scores.values())
    never = protocols.run_text(model, videos, TextOptions(threshold=1.0), objects=1)
    assert never.scores["masks for phrases of what is not there"] == 0


def test_measured_phrases_say_the_colour() -> None:
    held_out_pairs = 0
    for i in range(25):
        words = Synthetic("test", 1, 96)[i].words(0)
        for number, w in words.items():
            phrase = plain_phrase(words, number)
            if phrase is not None and w.colour:
                assert w.colour in phrase.split()
                held_out_pairs += w.held_out
    assert held_out_pairs > 3


def test_training_measures_text_where_there_is_a_tower(model: Any, small_tracker) -> None:
    evaluation = Evaluation(images=Source(kind="synthetic"), samples=1, objects=1)
    assert "text/mIoU, most salient" in evaluate(model, evaluation)
    plain = evaluate(small_tracker(), evaluation)
    assert plain and not any(name.startswith("text/") for name in plain)


@pytest.mark.parametrize(
    ("options", "text_dim", "message"),
    [
        (["--source.kind", "pairs", "--source.root", "PAIRS"], 8, "pairs has no phrases; synth"),
        ([], 0, "has no text projection"),
        ([], 8, "has no text encoder of its own: --text-encoder FOLDER"),
        (["--text-encoder", "nowhere"], 8, "nowhere is missing"),
    ],
)
def test_refusals(
    options: list[str], text_dim: int, message: str, small_tracker, monkeypatch, tmp_path
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / "a.png")
    options = [str(tmp_path) if word == "PAIRS" else word for word in options]
    monkeypatch.setattr(command, "load", lambda name: small_tracker(text_dim=text_dim))
    with pytest.raises(SystemExit, match=message):
        command.main(["small", "text", "--samples", "1", *options])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"absent": -1}, "absent must be 0 or more"),
        ({"threshold": 1.5}, "a score, 0 to 1, got 1.5"),
    ],
)
def test_options_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextOptions(**changes)
