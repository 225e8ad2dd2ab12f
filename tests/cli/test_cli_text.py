"""`sam-jax segment --text`: who gets it, and who is told why not."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sam_jax.cli import main
from sam_jax.config import WordsConfig
from sam_jax.predictors.text import own_encoder

MASK_SIZE = 16


def segment(*args: str) -> int:
    return main(["segment", "a.png", *args, "--output", "out"])


@pytest.fixture
def with_text(fake, monkeypatch, request):
    """The model that the command would load takes text, and its encoder is a fake."""
    config = SimpleNamespace(mask_size=MASK_SIZE, text_dim=24, words=None)
    load = importlib.import_module("sam_jax.load")
    monkeypatch.setattr(load, "load", lambda name: SimpleNamespace(config=config))
    width, opened = getattr(request, "param", 24), []

    def load_clip(folder: Path) -> SimpleNamespace:
        opened.append(folder)
        return SimpleNamespace(
            embed_text=lambda phrases: np.full((len(phrases), width), 3.0, np.float32)
        )

    monkeypatch.setattr(importlib.import_module("sam_jax.clip"), "load_clip", load_clip)
    fake.opened = opened
    return fake


def test_a_phrase_and_its_encoder_reach_the_predictor(with_text) -> None:
    text = ("--text", "red striped circle", "--text-encoder", "clip")
    assert segment(*text, "--model", "mine.safetensors", "--point", "3,4") == 0
    (call,) = with_text.calls
    np.testing.assert_allclose(call["text"], np.full((1, 24), 24**-0.5), rtol=1e-6)
    assert call["point_coords"].tolist() == [[3, 4]]
    assert with_text.opened == [Path("clip")]
    assert segment(*text, "--model", "mine.safetensors") == 0  # alone, too
    assert with_text.calls[-1]["point_coords"] is None


@pytest.mark.parametrize("with_text", [512], indirect=True)
def test_the_encoder_of_another_model(with_text, capsys) -> None:
    assert segment("--text", "a cat", "--text-encoder", "clip", "--model", "m.pt") == 2
    assert "must be [24] or [n, 24] for this model, got shape [1, 512]" in capsys.readouterr().err
    assert not with_text.calls and not Path("out").exists()


def test_a_model_that_brings_its_own_encoder_needs_none(
    fake, monkeypatch, capsys, small_tracker
) -> None:
    model = small_tracker(words=WordsConfig(("red", "circle"), width=24, depth=1))
    monkeypatch.setattr(importlib.import_module("sam_jax.load"), "load", lambda name: model)
    assert segment("--text", "red circle", "--model", "own.safetensors") == 0
    given = fake.calls[-1]["text"]
    assert given.shape == (1, 24)
    np.testing.assert_allclose(given, own_encoder(model)(["Red circle"]), atol=1e-6)
    assert segment("--text", "red cat", "--model", "own.safetensors") == 2
    assert "has 'cat', which is none of the 2 words" in capsys.readouterr().err
    assert segment("--text", "red", "--text-encoder", "clip", "--model", "own.safetensors") == 2
    assert "own.safetensors brings its own along" in capsys.readouterr().err


def test_a_missing_library_is_a_message(with_text, monkeypatch, capsys) -> None:
    def missing(folder: Path) -> None:
        raise ModuleNotFoundError("text needs the library tokenizers: pip install ...")

    monkeypatch.setattr(importlib.import_module("sam_jax.clip"), "load_clip", missing)
    assert segment("--text", "a cat", "--text-encoder", "clip", "--model", "m.pt") == 2
    assert "text needs the library tokenizers" in capsys.readouterr().err


def test_other_prompts_open_no_encoder(with_text) -> None:
    assert segment("--point", "3,4") == 0
    assert with_text.calls[-1]["text"] is None and not with_text.opened


@pytest.mark.parametrize("model", ["sam2.1-hiera-tiny", "sam2.1-hiera-large", "sam2-hiera-small"])
def test_released_models_refuse_before_anything_is_loaded(fake, capsys, model: str) -> None:
    assert segment("--text", "a cat", "--text-encoder", "clip", "--model", model) == 2
    message = capsys.readouterr().err
    assert f"--text 'a cat': the model {model} has no text projection" in message
    assert "sam_jax.text_boxes" in message and "docs/text.md" in message
    assert not fake.loaded and not Path("out").exists()


def test_a_file_without_projection_refuses_when_it_is_open(fake, monkeypatch, capsys) -> None:
    config = SimpleNamespace(mask_size=MASK_SIZE, text_dim=0)
    load = importlib.import_module("sam_jax.load")
    monkeypatch.setattr(load, "load", lambda name: SimpleNamespace(config=config))
    assert segment("--text", "a cat", "--text-encoder", "c", "--model", "m.pt") == 2
    assert "the model m.pt has no text projection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--text", ""), "--text is empty: name the thing"),
        (("--text", "  "), "--text is empty"),
        (("--text-encoder", "clip", "--point", "3,4"), "--text-encoder without --text"),
        (("--text", "a", "--box", "1,2,3,4", "--box", "2,2,5,5"), "and --text cannot say which"),
        (("--text", "a cat", "--model", "m.pt"), "--text needs --text-encoder DIR"),
    ],
)
def test_refusals(with_text, capsys, args: tuple[str, ...], message: str) -> None:
    assert segment(*args) == 2
    assert message in capsys.readouterr().err
