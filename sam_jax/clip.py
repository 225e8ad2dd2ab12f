"""CLIP from a folder: phrases and pictures to embeddings in one space.

clip = load_clip("clip-vit-large-patch14-336")
clip.embed_text(["a red cup"])                 # [1 c], of length 1
clip.embed_images([photo], [mask])             # [1 c], of what the mask covers
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax.checkpoint import clip as files
from sam_jax.checkpoint import strict
from sam_jax.image import apply
from sam_jax.io.clip_input import to_clip_input, to_clip_mask
from sam_jax.io.images import as_rgb
from sam_jax.io.tokenizer import Tokenizer
from sam_jax.models.clip import Clip as ClipModule
from sam_jax.models.clip import abstract_clip_params
from sam_jax.types import Model


@jax.jit
def encode_text(model: Model, tokens: Int[Array, "n t"]) -> Float[Array, "n c"]:
    """Embeddings of length 1; tokens as `Tokenizer` makes them."""
    return apply(model, "encode_text", tokens)


@jax.jit
def encode_images(
    model: Model, images: Float[Array, "b H W 3"], visible: Bool[Array, "k t"]
) -> Float[Array, "b c"]:
    """Embeddings of length 1; arguments as of `models.clip.Clip.encode_image`."""
    return apply(model, "encode_image", images, visible)


def visible_tokens(masks: Bool[Array, "b H W"], patch: int) -> Bool[Array, "b t"]:
    """What the output token may see: the patches that a mask touches, and not itself.

    The SAM paper, D.5: the output token attends "only" to positions inside the mask.
    """
    b, h, w = masks.shape
    patches = masks.reshape(b, h // patch, patch, w // patch, patch).any((2, 4)).reshape(b, -1)
    return jnp.pad(patches, ((0, 0), (1, 0)))


class Clip:
    """A CLIP model with its tokenizer.

    Attributes:
      model: parameters and module, for `encode_text` and `encode_images`.
      tokenizer: texts to tokens.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def embed_text(self, phrases: Sequence[str]) -> Float[np.ndarray, "n c"]:
        """Embeddings of length 1.

        Raises:
          ValueError: no phrase, an empty one, or one longer than the model reads.
        """
        if isinstance(phrases, str) or not phrases:
            raise ValueError(f"embed_text takes a list of phrases, got {phrases!r:.80}")
        n = len(phrases)
        # A power of two of them, so that few programs are compiled.
        tokens = self.tokenizer([*phrases, *[phrases[0]] * ((1 << (n - 1).bit_length()) - n)])
        return np.asarray(encode_text(self.model, tokens))[:n]

    def embed_images(
        self, images: Sequence[Any], masks: Sequence[Any] | None = None
    ) -> Float[np.ndarray, "n c"]:
        """Embeddings of length 1 of the middle squares of pictures.

        Args:
          images: uint8 RGB [h w 3], or PIL.
          masks: bool [h w], of the same sizes; what the output token sees in the last layer.

        Raises:
          ValueError: none or no such pictures, or a mask of another size or without a pixel in the
            square.
        """
        config = self.model.config.image
        if not len(images):
            raise ValueError("embed_images got no pictures")
        images = [as_rgb(image) for image in images]
        pixels = np.stack([to_clip_input(image, config.image_size) for image in images])
        visible = np.ones((1, config.grid**2 + 1), bool)
        if masks is not None:
            if len(masks) != len(images):
                raise ValueError(f"{len(masks)} masks for {len(images)} pictures: one a picture")
            fitted = [_fit(*pair, config.image_size) for pair in zip(images, masks, strict=True)]
            visible = np.asarray(visible_tokens(jnp.stack(fitted), config.patch))
        return np.asarray(encode_images(self.model, pixels, visible))


def _fit(image: np.ndarray, mask: Any, size: int) -> Bool[np.ndarray, "size size"]:
    hw, mask = image.shape[:2], np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != hw:
        raise ValueError(
            f"a mask must be bool {list(hw)} as its picture, got {mask.dtype} {list(mask.shape)}"
        )
    fitted = to_clip_mask(mask, size)
    if not fitted.any():
        raise ValueError(
            "a mask covers nothing in the middle square of its picture: crop around it"
        )
    return fitted


def load_clip(folder: str | Path, *, dtype: Any = None) -> Clip:
    """Load one of OpenAI's CLIPs as Hugging Face lays it out.

    Args:
      folder: with config.json; model.safetensors or pytorch_model.bin (read without running it);
        tokenizer.json, or vocab.json and merges.txt.
      dtype: products are computed in it; parameters are float32. Default: bfloat16 on GPU and TPU,
        float32 on CPU.

    Raises:
      FileNotFoundError: no such folder.
      ModuleNotFoundError: the library `tokenizers` is not installed.
      ValueError: no CLIP, one of another kind, or damaged; every missing and unexpected name is
        listed.
    """
    config, params = files.read(folder)
    tokenizer = Tokenizer(folder, config.text.context)
    if dtype is None:
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    module = ClipModule(config, dtype)
    tree = strict.merge(abstract_clip_params(module), params, folder)
    strict.require_finite(tree, folder)
    put = partial(np.array, dtype=np.float32, order="C")  # a copy: the file may change
    return Clip(Model(jax.tree.map(lambda x: jax.device_put(put(x)), tree), module), tokenizer)
