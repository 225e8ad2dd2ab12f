"""Which recipes make sense; a `Recipe` is checked when it is made."""

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.config import Recipe  # which calls `check`


def check(recipe: "Recipe") -> None:
    """Raises ValueError: the message names the field."""
    least = {"steps": 1, "accumulate": 1, "fsdp": 1, "save_every": 1, "keep": 1}
    least |= {"log_every": 0, "pictures_every": 0, "workers": 0}
    _check_least(recipe, "", least)
    for name in ("images", "videos"):
        if (stream := getattr(recipe, name)) is not None:
            _check_least(stream, f"{name}.", {"batch": 1, "frames": 1, "objects": 1})
            _check_least(stream.source, f"{name}.source.", {"stride": 1})
            counts = {"first_frames": 1, "corrected_frames": 0, "corrections": 0}
            _check_least(stream.prompts, f"{name}.prompts.", {**counts, "mask_only": 0})
    _check_least(recipe.losses, "losses.", {"stride": 1})
    counts = {"samples": 0, "frames": 0, "objects": 0, "every": 0}
    _check_least(recipe.evaluation, "evaluation.", counts)
    for name in ("drop_path", "dropout"):
        if not 0 <= (chance := getattr(recipe, name)) < 1:
            raise ValueError(f"{name} is a chance, at least 0 and below 1, got {chance}")
    if recipe.ema is not None and not 0 < recipe.ema < 1:
        raise ValueError(f"ema is a decay, between 0 and 1, got {recipe.ema}")
    if recipe.images is None and recipe.videos is None:
        raise ValueError("a recipe needs images, videos, or both")
    if recipe.images is not None and recipe.images.frames != 1:
        raise ValueError(f"images are clips of one frame, not of {recipe.images.frames}")
    if recipe.videos is not None and recipe.videos.frames == 1:
        raise ValueError("clips of one frame are images: videos.frames must be at least 2")
    _check_text(recipe)


def _check_text(recipe: "Recipe") -> None:
    if recipe.videos is not None and recipe.videos.prompts.text_share:
        raise ValueError("videos.prompts.text_share must be 0: only pictures are asked by text")
    if recipe.images is None or not (share := recipe.images.prompts.text_share):
        return
    if not 0 < share <= 1:
        raise ValueError(f"images.prompts.text_share is a chance, 0 to 1, got {share}")
    if recipe.losses.locate_steps:
        raise ValueError(
            "losses.locate_steps must be 0 with images.prompts.text_share: a text alone says"
            " nothing about where a disc could be"
        )
    if recipe.words is None:
        if not recipe.text_dim or not recipe.embeddings:
            raise ValueError(
                "images.prompts.text_share needs words, for a text tower; or text_dim and "
                "embeddings, which python -m train.embed writes"
            )
        return
    if recipe.text_dim or recipe.embeddings:
        raise ValueError("words make the text of objects: set neither text_dim nor embeddings")
    if recipe.images.source.kind != "synthetic":
        raise ValueError(
            f"images.prompts.text_share needs phrases, and the source {recipe.images.source.kind}"
            " has none; synthetic has"
        )
    if changes := [name for name, value in asdict(recipe.images.augment).items() if value]:
        raise ValueError(
            f"images.augment.{changes[0]} must be 0 with images.prompts.text_share: what is"
            " said of a picture, such as left or red, is no longer true of a changed one"
        )


def _check_least(values: object, prefix: str, least: dict[str, int]) -> None:
    for name, smallest in least.items():
        if (value := getattr(values, name)) < smallest:
            raise ValueError(f"{prefix}{name} must be at least {smallest}, got {value}")
