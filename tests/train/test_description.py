"""What a run says of itself, and what may change when it goes on; parts that commands add."""

from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from configs.own_images import config as own_images
from configs.own_images_lora import config as own_images_lora
from configs.own_videos import config as own_videos
from sam_jax.presets import preset
from train.__main__ import with_parts
from train.config import Evaluation, Lora, Recipe
from train.description import changed, describe


def test_what_changed_is_told_by_name(tmp_path: Path) -> None:
    assert changed(own_images_lora, tmp_path) == []
    describe(own_images_lora, preset("sam2.1-hiera-nano"), tmp_path)
    assert changed(own_images_lora, tmp_path) == []
    assert own_images_lora.images is not None
    images = replace(own_images_lora.images, batch=2)
    moved = replace(own_images_lora, steps=9, images=images, folder="elsewhere")
    assert changed(moved, tmp_path) == ["images.batch", "steps"]


def test_low_rank_additions_keep_their_scale(tmp_path: Path) -> None:
    describe(own_images_lora, preset("sam2.1-hiera-nano"), tmp_path)
    with pytest.raises(ValueError, match=r"lora.alpha was 16 in .* and is 99.*another folder"):
        changed(replace(own_images_lora, lora=Lora(alpha=99)), tmp_path)


def test_arguments_add_parts_that_a_recipe_leaves_out() -> None:
    arguments = ["--lora.rank", "4", "--evaluation.images.root", "held out"]
    recipe = tyro.cli(
        Recipe,
        default=with_parts(own_images, arguments),
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
    )
    assert recipe.lora is not None and recipe.lora.rank == 4
    assert recipe.evaluation.images is not None
    assert recipe.evaluation.images.root == "held out"
    assert with_parts(own_images, ["--steps", "4"]) == own_images


assert own_videos.videos is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ema": 1.5}, "ema is a decay"),
        ({"dropout": 1.0}, "dropout is a chance, at least 0 and below 1, got 1.0"),
        ({"drop_path": -0.1}, "drop_path is a chance"),
        ({"evaluation": Evaluation(samples=-1)}, "evaluation.samples must be at least 0"),
        ({"videos": replace(own_videos.videos, frames=1)}, "videos.frames must be at least 2"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(own_videos, **wrong)
