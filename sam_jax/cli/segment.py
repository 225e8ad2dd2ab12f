"""`sam-jax segment`."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_jax.cli import Segment, say
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.pictures import check_apart, check_files, delete_more_masks, one_by_one, stems
from sam_jax.cli.prompts import TypedPrompts, parse_prompts
from sam_jax.cli.signals import Signals
from sam_jax.cli.text_prompt import check_text, embedding
from sam_jax.files import output_dir, replacing
from sam_jax.io.images import read_image
from sam_jax.io.masks import read_mask, write_npz, write_png, write_rle
from sam_jax.io.overlay import overlay

_MULTIMASK = 3  # masks for each object when ambiguity is wanted


def segment(args: Segment) -> int:
    """Segments every image; what can be checked is checked before the model is loaded.

    A bad image among several is reported and the others still are done.

    Returns:
      The exit code: 0; 2 if an image failed; 130 after Ctrl-C or SIGTERM.

    Raises:
      ValueError, OSError: bad prompts, model or output folder, or no images.
      KeyboardInterrupt: Ctrl-C or SIGTERM before the work, or a second time.
    """
    prompts = parse_prompts(args.point, args.box, args.mask, args.text)
    check_text(args)
    inputs = [*args.images, *([args.mask] if args.mask else [])]
    if not args.images:
        raise ValueError("no pictures given: sam-jax segment IMAGE... --point X,Y")
    check_files(inputs)
    count = max(1, len(prompts.boxes)) * (_MULTIMASK if args.multimask else 1)
    plans = dict(zip(stems(args.images), args.images, strict=True))
    written = {args.output / name for stem in plans for name in _names(stem, args.format, count)}
    check_apart(inputs, written)
    with Signals() as signals, output_dir(args.output):
        if args.cache:
            enable_compilation_cache()

        from sam_jax.load import load
        from sam_jax.predictors.image import ImagePredictor

        predictor = ImagePredictor(load(args.model))
        text = None if args.text is None else embedding(predictor.model, args)

        def work(stem: str, path: Path) -> None:
            _segment_one(predictor, path, args.output / stem, prompts, text, args)

        return one_by_one(plans, "segmenting", work, signals)


def _segment_one(
    predictor: Any,
    path: Path,
    target: Path,
    prompts: TypedPrompts,
    text: np.ndarray | None,
    args: Segment,
) -> None:
    """Predicts, writes and prints for one image; `target` is the output path without its suffix."""
    image = read_image(path)
    height, width = image.shape[:2]
    prompts.check_inside(width, height, path)
    mask_input = None
    if prompts.mask is not None:
        config = predictor.model.config
        mask_input = read_mask(
            prompts.mask, config.mask_size, (height, width), keep_aspect=config.keep_aspect
        )[None]
    predictor.set_image(image)
    masks, ious, logits = predictor.predict(
        point_coords=np.array(prompts.points) if prompts.points else None,
        point_labels=np.array(prompts.labels) if prompts.points else None,
        box=np.array(prompts.boxes) if prompts.boxes else None,
        mask_input=mask_input,
        multimask_output=args.multimask,
        text=text,
    )
    candidates = masks.shape[-3]
    masks = masks.reshape(-1, height, width) > 0.5  # [objects * candidates, h, w]
    ious = np.ravel(ious)
    if not np.isfinite(ious).all():
        raise ValueError(
            f"{path}: the predicted IoU is {ious}: are the weights of {args.model} broken?"
        )
    logits = logits.reshape(-1, *logits.shape[-2:])

    *mask_files, overlay_file = (
        target.parent / name for name in _names(target.name, args.format, len(masks))
    )
    if args.format == "rle":
        places = [
            {"object": i // candidates, "candidate": i % candidates} for i in range(len(masks))
        ]
        write_rle(mask_files[0], masks, ious, extra=places)
    elif args.format == "npz":
        write_npz(mask_files[0], masks, ious, logits=logits)
    else:
        for file, mask in zip(mask_files, masks, strict=True):
            write_png(file, mask)
        delete_more_masks(target, len(masks), keep=[*args.images, args.mask])
    panels = [  # candidates side by side: one on top of the other hides what differs
        overlay(
            image,
            masks[k::candidates],
            points=prompts.points,
            labels=prompts.labels,
            boxes=prompts.boxes,
        )
        for k in range(candidates)
    ]
    with replacing(overlay_file) as temporary:
        picture = Image.fromarray(np.concatenate(panels, axis=1))
        picture.save(temporary, "PNG", compress_level=1)  # 6 is 4 x slower, 8 % smaller

    for i, (mask, iou) in enumerate(zip(masks, ious, strict=True)):
        area = int(mask.sum())
        file = mask_files[min(i, len(mask_files) - 1)]
        share = 100 * area / mask.size
        say(f"{path}  mask {i}  IoU {iou:.3f}  area {area} px ({share:.1f} %)  {file}")


def _names(stem: str, kind: str, count: int) -> list[str]:
    """The files that an image gives: its masks, then the overlay."""
    single = {"rle": f"{stem}.json", "npz": f"{stem}.npz"}.get(kind)
    masks = [single] if single else [f"{stem}_mask{i}.png" for i in range(count)]
    return [*masks, f"{stem}_overlay.png"]
