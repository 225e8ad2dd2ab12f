"""Text prompts: from what people type to the embeddings that a text projection takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sam_jax.models.prompt_encoder import NO_TEXT

TextEncoder = Callable[[Sequence[str]], Float[np.ndarray, "n c"]]


def embeddings(
    text: Any, text_dim: int, encoder: TextEncoder | None
) -> Float[np.ndarray, "n c"] | None:
    """A text prompt as embeddings of length 1; None stays None.

    Args:
      text: a phrase, several, or embeddings [c] or [n c].
      text_dim: what the model's projection takes; 0 if it has none.
      encoder: from phrases to embeddings.

    Raises:
      ValueError: the model takes no text, there is nobody to encode phrases, an empty phrase, or
        embeddings of another shape or without a direction.
    """
    if text is None:
        return None
    if not text_dim:
        raise ValueError(f"a text prompt: the model {NO_TEXT}")
    phrases = check_phrases(text)
    if phrases is not None:
        if encoder is None:
            raise ValueError(
                f"text {phrases[0]!r:.80} must become an embedding first: give the predictor a "
                "text_encoder, the one that the model was trained with, such as "
                "sam_jax.load_clip(folder).embed_text; or pass embeddings"
            )
        text = encoder(phrases)
    try:
        array = np.asarray(text, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"text must be phrases or embeddings, got {text!r:.80}") from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != text_dim or not len(array):
        raise ValueError(
            f"text embeddings must be [{text_dim}] or [n, {text_dim}] for this model, got shape "
            f"{list(np.shape(text))}: use the text encoder that it was trained with"
        )
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("a text embedding is zero, NaN or infinite: it has no direction")
    return array / length


def check_phrases(text: Any) -> list[str] | None:
    """The phrases of a text prompt; None if it is none of strings.

    Raises:
      ValueError: an empty phrase, or one that is only blanks.
    """
    phrases = [text] if isinstance(text, str) else text
    if not isinstance(phrases, list | tuple) or not all(isinstance(p, str) for p in phrases):
        return None
    if not phrases or not all(phrase.strip() for phrase in phrases):
        raise ValueError(f"an empty text says nothing: {text!r:.80}. Name the thing to segment")
    return list(phrases)
