"""The image predictor people know: set an image, click, get masks.

Upstream: sam2/sam2_image_predictor.py, SAM2ImagePredictor. Same method names, arguments,
coordinate frames, shapes and dtypes; a SAM 1 model gives the numbers of segment_anything's
SamPredictor through the same methods. Deliberate differences: prompts are checked (upstream passes
nonsense on), hole and sprinkle removal work on every device (upstream needs a CUDA extension and
silently skips them without), and `predict_batch` is one program for all images.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sam_jax import image as functional
from sam_jax.io.canvas import Canvas
from sam_jax.io.images import as_rgb
from sam_jax.ops.masks import fill_holes_and_sprinkles
from sam_jax.predictors.prompts import PromptArrays, check_prompts, pad_prompts
from sam_jax.predictors.text import TextEncoder, embeddings, own_encoder, score_texts
from sam_jax.types import ImageFeatures, Masks, Model, Prompts

_ENCODE_CHUNK = 8  # images encoded at once on an accelerator; a CPU gains nothing from a batch

Result = tuple[np.ndarray, np.ndarray, np.ndarray]


@jax.jit
def _encode(model: Model, images: Float[Array, "b H W 3"]) -> ImageFeatures:
    return functional.encode_image(model, images)


@partial(jax.jit, static_argnames=("multimask", "max_hole_area", "max_sprinkle_area"))
def _predict(
    model: Model,
    features: ImageFeatures,
    prompts: Prompts,
    *,
    multimask: bool,
    threshold: Float[Array, ""],
    max_hole_area: float,
    max_sprinkle_area: float,
) -> tuple[Masks, Float[Array, "n m hm wm"]]:
    """The masks, and their logits after hole and sprinkle removal."""
    masks = functional.predict(model, features, prompts, multimask=multimask)
    masks = score_texts(model.config.decoder, masks, prompts)
    cleaned = fill_holes_and_sprinkles(
        masks.logits,
        max_hole_area=max_hole_area,
        max_sprinkle_area=max_sprinkle_area,
        threshold=threshold,
    )
    return masks, cleaned


class ImagePredictor:
    """Holds one image's features (or several's) and answers prompts on it.

        predictor = ImagePredictor(sam_jax.load("sam2.1-hiera-tiny"))
        predictor.set_image(photo)                               # uint8 RGB [h w 3], or PIL
        masks, ious, low = predictor.predict([[500, 375]], [1])

    Args:
      model: what `sam_jax.load` returns.
      mask_threshold: logit above which a pixel belongs to the mask.
      max_hole_area: fill background islands up to this many low-resolution pixels; 0 keeps them.
      max_sprinkle_area: drop foreground islands up to this many low-resolution pixels.
      text_encoder: phrases -> embeddings [n c], for models with a text projection; for example
        `sam_jax.load_clip(folder).embed_text`. Default: the model's own, if it brings one along.
    """

    def __init__(
        self,
        model: Model,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        self.model = model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.text_encoder = text_encoder or own_encoder(model)
        self.reset_predictor()

    def reset_predictor(self) -> None:
        """Forget the image."""
        self._features: ImageFeatures | None = None
        self._canvases: list[Canvas] = []
        self._is_batch = False

    def set_image(self, image: Any) -> None:
        """Encode an image: uint8 RGB [h w 3], or PIL (converted to RGB).

        Raises:
          ValueError: not such an image.
        """
        self._set([image], is_batch=False)

    def set_image_batch(self, image_list: Sequence[Any]) -> None:
        """Encode several images, of any sizes, for `predict_batch`."""
        if len(image_list) == 0:
            raise ValueError("image_list is empty")
        self._set(image_list, is_batch=True)

    def _set(self, images: Sequence[Any], *, is_batch: bool) -> None:
        self.reset_predictor()
        config = self.model.config
        chunk = 1 if jax.default_backend() == "cpu" else _ENCODE_CHUNK
        canvases: list[Canvas] = []
        parts = []
        for start in range(0, len(images), chunk):
            inputs = []
            for image in images[start : start + chunk]:
                pixels = as_rgb(image)
                canvases.append(Canvas(*pixels.shape[:2], config.image_size, config.keep_aspect))
                inputs.append(canvases[-1].paint(pixels))
            parts.append(_encode(self.model, np.stack(inputs)))
        self._features = jax.tree.map(
            lambda *x: x[0] if len(x) == 1 else jnp.concatenate(x), *parts
        )
        self._canvases, self._is_batch = canvases, is_batch

    def get_image_embedding(self) -> Float[Array, "b d h w"]:
        """The image embedding as the decoder sees it, channels first as upstream returns it."""
        embed = functional.apply(self.model, "without_memory", self._require_image().embed)
        return embed.transpose(0, 3, 1, 2)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        text: Any = None,
        output_size: tuple[int, int] | None = None,
    ) -> Result:
        """Masks for the prompts on the image that was set.

        Args:
          point_coords: xy in pixels of the original image, [p 2], or [n p 2] for n objects.
          point_labels: 1 foreground, 0 background, [p] or [n p].
          box: XYXY in pixels, [4] or [n 4].
          mask_input: low-resolution logits of an earlier call, [1 hm wm] or [n 1 hm wm].
          multimask_output: three masks for an ambiguous prompt, or one.
          return_logits: logits in place of 0/1.
          normalize_coords: coordinates are pixels; false if they are 0..1 already.
          text: a phrase, or n for n objects; or their embeddings, [c] or [n c]. Only for models
            with a text projection. Alone it is as ambiguous as a click; a click beside it helps.
            It may name what is not there: its predicted IoU is then a low one, see `score_texts`.
          output_size: height and width of the masks, for a picture that is shown smaller than it
            is; the prompts stay in the original's pixels.

        Returns:
          Masks float32 [m h w] at the original size or `output_size`, predicted IoU [m],
          low-resolution logits [m hm wm], of SAM 2 clamped to +-32. With n > 1 objects each has a
          leading n.

        Raises:
          ValueError: a prompt that makes no sense; see `check_prompts`.
          RuntimeError: no image was set.
        """
        features = self._require_image()
        if self._is_batch:
            raise RuntimeError("a batch of images is set: call predict_batch")
        prompts = self._check(
            point_coords,
            point_labels,
            box,
            mask_input,
            normalize_coords,
            self._canvases[0],
            text=text,
        )
        (result,) = self._run(features, [prompts], multimask_output, return_logits, output_size)
        return result

    def predict_batch(
        self,
        point_coords_batch: Sequence[Any] | None = None,
        point_labels_batch: Sequence[Any] | None = None,
        box_batch: Sequence[Any] | None = None,
        mask_input_batch: Sequence[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        text_batch: Sequence[Any] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """`predict` for each image of the batch; every argument is a list with one entry an image.

        Entries may be None and may hold different numbers of objects and points. All images are
        decoded by one program.
        """
        features = self._require_image()
        if not self._is_batch:
            raise RuntimeError("one image is set: call predict, or set_image_batch first")
        batch = {
            "point_coords_batch": point_coords_batch,
            "point_labels_batch": point_labels_batch,
            "box_batch": box_batch,
            "mask_input_batch": mask_input_batch,
            "text_batch": text_batch,
        }
        for name, values in batch.items():
            if values is not None and len(values) != len(self._canvases):
                images = len(self._canvases)
                raise ValueError(
                    f"{name} has {len(values)} entries for {images} images: one an image"
                )
        prompts = []
        for i, canvas in enumerate(self._canvases):
            *values, text = (None if v is None else v[i] for v in batch.values())
            try:
                prompts.append(self._check(*values, normalize_coords, canvas, text=text))
            except ValueError as error:
                raise ValueError(f"image {i} of the batch: {error}") from error
        results = self._run(features, prompts, multimask_output, return_logits)
        masks, ious, low = (list(column) for column in zip(*results, strict=True))
        return masks, ious, low

    def _require_image(self) -> ImageFeatures:
        if self._features is None:
            raise RuntimeError("no image is set: call set_image first")
        return self._features

    def _check(
        self,
        coords: Any,
        labels: Any,
        box: Any,
        mask: Any,
        normalize_coords: bool,
        canvas: Canvas,
        *,
        text: Any = None,
    ) -> PromptArrays:
        return check_prompts(
            coords,
            labels,
            box,
            mask,
            canvas=canvas,
            normalize_coords=normalize_coords,
            config=self.model.config,
            text=embeddings(text, self.model.config.text_dim, self.text_encoder),
        )

    def _run(
        self,
        features: ImageFeatures,
        prompts: list[PromptArrays],
        multimask: bool,
        return_logits: bool,
        output_size: tuple[int, int] | None = None,
    ) -> list[Result]:
        masks, cleaned = _predict(
            self.model,
            features,
            pad_prompts(prompts, self.model.config.mask_size),
            multimask=multimask,
            threshold=jnp.float32(self.mask_threshold),
            max_hole_area=self.max_hole_area,
            max_sprinkle_area=self.max_sprinkle_area,
        )
        per_image = [
            np.asarray(x).reshape(len(prompts), -1, *x.shape[1:])
            for x in (cleaned, masks.iou, masks.logits)
        ]
        results, largest = [], self.model.config.largest_logit
        for prompt, canvas, *padded in zip(prompts, self._canvases, *per_image, strict=True):
            n = len(prompt.points)
            logits, iou, low = (x[:n] for x in padded)  # [n m hm wm], [n m], [n m hm wm]
            full = canvas.to_picture(logits, output_size)
            if not return_logits:
                full = (full > self.mask_threshold).astype(np.float32)
            result = (full, iou.copy(), np.clip(low, -largest, largest))  # writable, as upstream's
            results.append(tuple(x[0] for x in result) if n == 1 else result)
        return results
