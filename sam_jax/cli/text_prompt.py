"""Text on the command line: refused where it cannot work, else an embedding."""

from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.cli import Segment


def check_text(args: Segment) -> None:
    """Raises ValueError for a text prompt that cannot work, as far as the command line tells."""
    if args.text is None:
        if args.text_encoder is not None:
            raise ValueError("--text-encoder without --text: give both")
        return
    from sam_jax.checkpoint import hub
    from sam_jax.presets import PRESETS

    # Of ours the file says whether it reads text; the released ones are not downloaded in vain.
    released = args.model in PRESETS and not hub.ships(args.model)
    if released and not Path(args.model).exists():
        _require_text(PRESETS[args.model], args)


def embedding(model: Any, args: Segment) -> np.ndarray | None:
    """The text once for all pictures, checked against the model."""
    from sam_jax.clip import load_clip
    from sam_jax.predictors.text import embeddings, own_encoder

    folder = _require_text(model.config, args)
    encoder = own_encoder(model) if folder is None else load_clip(folder).embed_text
    return embeddings(args.text, model.config.text_dim, encoder)


def _require_text(config: Any, args: Segment) -> Path | None:
    """The folder of the text encoder, for a model that takes text; None if it has its own."""
    from sam_jax.models.prompt_encoder import NO_TEXT

    if not config.text_dim:
        raise ValueError(f"--text {args.text!r:.80}: the model {args.model} {NO_TEXT}")
    check_encoder(config, args.model, args.text_encoder, asked="--text")
    return args.text_encoder


def check_encoder(config: Any, model: str, text_encoder: Path | None, *, asked: str) -> None:
    """Whether --text-encoder is given where a model that takes text needs it, and only there.

    Args:
      asked: what asks by text, for the message.

    Raises:
      ValueError: it is not.
    """
    if config.words is not None and text_encoder is not None:
        raise ValueError(
            f"--text-encoder {text_encoder}: the model {model} brings its own along and "
            "was trained with it; leave the option out"
        )
    if config.words is None and text_encoder is None:
        raise ValueError(
            f"{asked} needs --text-encoder DIR, the CLIP checkpoint that {model} was trained"
            " with, as Hugging Face lays it out"
        )
