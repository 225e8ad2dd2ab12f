"""Pictures of a job: decoded by threads, answered in batches on all devices, coded by threads."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sam_jax import image
from sam_jax.batch.asker import Asker
from sam_jax.batch.clock import Clock
from sam_jax.batch.inputs import Inputs
from sam_jax.batch.ledger import Item, Outcome, Shard
from sam_jax.io.canvas import Canvas
from sam_jax.io.masks import mask_entry, mask_logits, record_entry
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.prompts import PROMPT_BUCKETS, PromptArrays, bucket, pad_prompts
from sam_jax.predictors.search import search
from sam_jax.predictors.text import score_texts
from sam_jax.sharding import over_objects
from sam_jax.types import ImageFeatures, Model, Prompts

_AHEAD = 3  # batches that are being decoded or wait, besides those that are being answered
_ANSWERED = 2  # batches at once: while a device works on one, the host codes what came of another


@runtime_checkable
class Answers(Protocol):
    """A way to answer pictures."""

    size: int  # pictures that are answered together

    def prepare(self, item: Item) -> Any:
        """What the host can do beforehand. Raises OSError or ValueError: the input is broken."""

    def answer(self, pictures: Sequence[Any]) -> Sequence[Any]:
        """What the device finds in each of up to `size` prepared pictures."""
        ...

    def line(self, picture: Any, found: Any) -> dict[str, Any]:
        """The line of the results for a prepared picture, without the input's name."""
        ...


def answer_pictures(
    shards: Iterable[Shard], answers: Answers, clock: Clock, host: Executor
) -> Iterator[Outcome]:
    """What comes of each input of the shards, in order.

    Args:
      host: the threads that decode, and that code results.
    """
    batches = (
        shard.items[start : start + answers.size]
        for shard in shards
        for start in range(0, len(shard.items), answers.size)
    )
    under_way: deque[Future] = deque()
    with ThreadPoolExecutor(_ANSWERED, thread_name_prefix="answer") as devices:
        try:
            for items in batches:
                prepared = [host.submit(_prepare, answers, item) for item in items]
                under_way.append(devices.submit(_answer, answers, items, prepared, clock, host))
                if len(under_way) > _ANSWERED + _AHEAD:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            devices.shutdown(wait=False, cancel_futures=True)


def _prepare(answers: Answers, item: Item) -> Any:
    """A prepared picture, or why there is none."""
    try:
        if item.size is None:
            raise ValueError("there is no such input")
        return answers.prepare(item)
    except (OSError, ValueError) as error:
        return Outcome(item.name, reason=str(error))


def _answer(
    answers: Answers,
    items: Sequence[Item],
    futures: Sequence[Future],
    clock: Clock,
    host: Executor,
) -> list[Outcome]:
    prepared = [future.result() for future in futures]
    good = [one for one in prepared if not isinstance(one, Outcome)]
    found: Sequence[Any] = ()
    if good:
        with clock.busy():
            found = answers.answer(good)
    lines = iter(list(host.map(answers.line, good, found)))
    return [
        one
        if isinstance(one, Outcome)
        else Outcome(item.name, [{"input": item.name} | next(lines)])
        for item, one in zip(items, prepared, strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    """A picture on the model input, and its prompts: one for each object, on the host."""

    canvas: Canvas
    painted: Float[np.ndarray, "H W 3"]
    rows: Sequence[Any]
    prompts: Sequence[PromptArrays]


_NOTHING = PromptArrays(np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.int32), None)


class Prompted:
    """One mask for each object that is asked for, as `ImagePredictor` answers it.

    The encoder is one program; the decoder one for each number of objects, of points, rounded up,
    and kind of prompt.

    Args:
      size: pictures answered together; a multiple of the mesh's devices.
    """

    def __init__(self, asker: Asker, inputs: Inputs, mesh: Mesh, size: int) -> None:
        self.size = size
        self._asker = asker
        self._inputs = inputs
        self._encode = jax.jit(over_objects(image.encode_image, mesh))
        self._decode = jax.jit(over_objects(_decode, mesh))

    def prepare(self, item: Item) -> _Asked:
        pixels = self._inputs.picture(item.name)
        config = self._asker.model.config
        canvas = Canvas(*pixels.shape[:2], config.image_size, config.keep_aspect)

        def prompt(row: Any) -> PromptArrays:
            mask = None
            if row.mask is not None:
                inside = self._asker.mask(row, (canvas.height, canvas.width))
                mask = mask_logits(inside, config.mask_size, keep_aspect=config.keep_aspect)
            return self._asker.check(row, canvas, mask)

        return _Asked(canvas, canvas.paint(pixels), item.rows, [prompt(row) for row in item.rows])

    def answer(self, pictures: Sequence[_Asked]) -> Sequence[Any]:
        """Logits [n hm wm] and predicted IoUs [n] of each."""
        model = self._asker.model
        side = model.config.image_size
        images = np.zeros((self.size, side, side, 3), np.float32)
        objects = bucket(max(len(picture.prompts) for picture in pictures), PROMPT_BUCKETS)
        prompts = [_NOTHING] * (self.size * objects)
        for i, picture in enumerate(pictures):
            images[i] = picture.painted
            prompts[i * objects : i * objects + len(picture.prompts)] = picture.prompts
        padded = pad_prompts(prompts, model.config.mask_size)
        logits, ious = jax.device_get(self._decode(model, self._encode(model, images), padded))
        if not np.isfinite(ious).all():
            raise ValueError("a predicted IoU is not finite: are the weights of the model broken?")
        found = []
        for i, picture in enumerate(pictures):
            those = slice(i * objects, i * objects + len(picture.prompts))
            found.append((logits[those], ious[those]))
        return found

    def line(self, picture: _Asked, found: Any) -> dict[str, Any]:
        masks = []
        for row, logits, iou in zip(picture.rows, *found, strict=True):
            inside = picture.canvas.to_picture(logits) > 0
            masks.append({"object": row.object} | mask_entry(inside, iou))
        return {"size": [picture.canvas.height, picture.canvas.width], "masks": masks}


def _decode(
    model: Model, features: ImageFeatures, prompts: Prompts
) -> tuple[Float[Array, "n hm wm"], Float[Array, " n"]]:
    masks = image.predict(model, features, prompts, multimask=False)
    masks = score_texts(model.config.decoder, masks, prompts)
    return masks.logits[:, 0], masks.iou[:, 0]


class Everything:
    """All masks of a picture, as `AutomaticMaskGenerator` finds them.

    Args:
      generator: with output_mode="coco_rle".
      size: pictures answered together; a multiple of the devices of the generator's mesh.
    """

    def __init__(self, generator: AutomaticMaskGenerator, inputs: Inputs, size: int) -> None:
        self.size = size
        self._generator = generator
        self._inputs = inputs
        self._search = partial(
            search, generator.model, options=generator.options, mesh=generator.mesh
        )

    def prepare(self, item: Item) -> np.ndarray:
        return self._inputs.picture(item.name)

    def answer(self, pictures: Sequence[np.ndarray]) -> Sequence[Any]:
        return list(self._search(pictures))

    def line(self, picture: np.ndarray, found: Any) -> dict[str, Any]:
        masks = [record_entry(record) for record in self._generator.records(found)]
        return {"size": list(picture.shape[:2]), "masks": masks}
