"""--text of `sam-jax segment`: refused where it cannot work, else an embedding."""

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
    from sam_jax.presets import PRESETS

    if args.model in PRESETS and not Path(args.model).exists():
        _require_text(PRESETS[args.model], args)


def embedding(config: Any, args: Segment) -> np.ndarray | None:
    """The text once for all pictures, checked against the model."""
    from sam_jax.clip import load_clip
    from sam_jax.predictors.text import embeddings

    encoder = load_clip(_require_text(config, args)).embed_text
    return embeddings(args.text, config.text_dim, encoder)


def _require_text(config: Any, args: Segment) -> Path:
    """The folder of the text encoder, for a model that takes text."""
    from sam_jax.models.prompt_encoder import NO_TEXT

    if not config.text_dim:
        raise ValueError(f"--text {args.text!r:.80}: the model {args.model} {NO_TEXT}")
    if args.text_encoder is None:
        raise ValueError(
            f"--text needs --text-encoder DIR, the CLIP checkpoint that {args.model} was trained"
            " with, as Hugging Face lays it out"
        )
    return args.text_encoder
