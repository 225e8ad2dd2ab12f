"""Text prompts: from what people type to the embeddings that a text projection takes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sam_jax.config import DecoderConfig
from sam_jax.image import apply
from sam_jax.io.words import word_tokens
from sam_jax.models.prompt_encoder import NO_TEXT
from sam_jax.types import Masks, Model, Prompts

TextEncoder = Callable[[Sequence[str]], Float[np.ndarray, "n c"]]


@jax.jit
def _encode(model: Model, tokens: Int[Array, "n t"]) -> Float[Array, "n c"]:
    return apply(model, "encode_text", tokens)


def own_encoder(model: Model) -> TextEncoder | None:
    """The text encoder that a model brings along; None if it has none.

    Of a phrase with a word that it does not know it raises ValueError, which names the word.
    """
    words = model.config.words
    if words is None:
        return None

    def encode(phrases: Sequence[str]) -> Float[np.ndarray, "n c"]:
        n = len(phrases)
        # A power of two of them, so that few programs are compiled.
        padded = [*phrases, *[phrases[0]] * ((1 << (n - 1).bit_length()) - n)]
        return np.asarray(_encode(model, word_tokens(padded, words.words, words.context)))[:n]

    return encode


def score_texts(config: DecoderConfig, masks: Masks, prompts: Prompts) -> Masks:
    """The IoU that a text's masks can be expected to have: there may be nothing of that name.

    The predicted IoU times the probability that the object is there, for models that say so. A
    place always has something; of other prompts the predicted IoU stays what it is upstream.
    """
    if not prompts.has_text.shape[0] or not config.object_score:
        return masks
    there = jax.nn.sigmoid(masks.object_logit)[:, None]
    return replace(masks, iou=jnp.where(prompts.has_text[:, None], there * masks.iou, masks.iou))


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
