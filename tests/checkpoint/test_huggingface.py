"""Hugging Face names <-> official names, over the recorded lists of the eleven released models."""

import numpy as np
import pytest

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.huggingface import from_huggingface, to_huggingface
from sam_jax.presets import PRESETS

RELEASED = [name for name in PRESETS if name != "sam2.1-hiera-nano"]
FOURIER = "prompt_encoder.shared_embedding.positional_embedding"
FOURIER_COPY = "shared_image_embedding.positional_embedding"


def shapes(state: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in state.items()}


@pytest.mark.parametrize("model", RELEASED)
def test_names_of_huggingface_both_ways(model: str, recorded) -> None:
    official, theirs = recorded("official", model), recorded("hf", model)
    theirs[FOURIER_COPY] = theirs[FOURIER]  # one parameter there
    assert shapes(to_huggingface(official, PRESETS[model])) == shapes(theirs)
    assert shapes(from_huggingface(theirs)) == shapes(official)


@pytest.mark.parametrize("model", RELEASED)
def test_every_value_comes_back_from_huggingface(model: str, recorded) -> None:
    official = recorded("official", model)
    back = from_huggingface(to_huggingface(official, PRESETS[model]))
    assert {name: array.flat[0] for name, array in back.items()} == {
        name: array.flat[0] for name, array in official.items()
    }


def test_point_embeddings_are_one_table_in_order(recorded) -> None:
    model = "sam2.1-hiera-tiny"
    official = recorded("official", model)
    table = to_huggingface(official, PRESETS[model])["prompt_encoder.point_embed.weight"]
    rows = [f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    assert [row[0] for row in table] == [official[name].flat[0] for name in rows]


@pytest.mark.parametrize("model", ["sam2.1-hiera-tiny", "sam-vit-base"])
@pytest.mark.parametrize("dropped", [FOURIER, FOURIER_COPY])
def test_one_of_two_tied_names_is_enough(model: str, dropped: str, recorded) -> None:
    official = recorded("official", model)
    theirs = to_huggingface(official, PRESETS[model])
    del theirs[dropped]
    assert shapes(from_huggingface(theirs)) == shapes(official)


def test_copies_that_differ(recorded) -> None:
    theirs = recorded("hf", "sam2.1-hiera-tiny")
    with pytest.raises(CheckpointError, match=f"{FOURIER} and its copy {FOURIER_COPY} differ"):
        from_huggingface(theirs)


def test_unknown_names_are_kept_for_the_comparison(recorded) -> None:
    theirs = recorded("hf", "sam-vit-base") | {"something.else": np.zeros(1)}
    theirs[FOURIER_COPY] = theirs[FOURIER]
    assert "something.else" in from_huggingface(theirs)


def test_two_names_for_one_parameter_are_both_named(recorded) -> None:
    theirs = recorded("hf", "sam2.1-hiera-tiny")
    theirs[FOURIER_COPY] = theirs[FOURIER]
    theirs["no_mem_embed"] = theirs["no_memory_embedding"]
    message = "'no_memory_embedding' and 'no_mem_embed' both mean 'no_mem_embed'"
    with pytest.raises(CheckpointError, match=message):
        from_huggingface(theirs)
