"""`sam-jax everything`: what is meant, and pictures. Videos are in everything_video."""

import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_jax.cli import say
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.everything_args import Everything
from sam_jax.cli.pictures import check_apart, check_files, delete_more_masks, one_by_one, stems
from sam_jax.cli.signals import Signals
from sam_jax.files import output_dir, replacing
from sam_jax.io.images import read_image
from sam_jax.io.masks import write_coco, write_png
from sam_jax.io.overlay import many_colors, overlay
from sam_jax.io.videos import VIDEO_SUFFIXES
from sam_jax.ops import rle


def everything(args: Everything) -> int:
    """Finds what is in pictures or in a video, and checks what it can before the model is loaded.

    A bad picture among several is reported and the others still are done.

    Returns:
      The exit code: 0; 2 if a picture failed; 130 after Ctrl-C or SIGTERM.

    Raises:
      ValueError, OSError: bad settings, video, model or output folder, or no pictures.
      KeyboardInterrupt: Ctrl-C or SIGTERM before the work, or a second time.
    """
    from sam_jax.predictors.generator_options import GeneratorOptions

    if not args.images:
        raise ValueError("no pictures given: sam-jax everything IMAGE...")
    videos = [path for path in args.images if _is_video(path)]
    if videos and len(args.images) > 1:
        raise ValueError(
            f"{videos[0]} is a video or a folder of frames, among {len(args.images)} inputs: give"
            " one video alone, or pictures only"
        )
    check_files([*args.point_grid, *([] if videos else args.images)])
    options = GeneratorOptions(
        points_per_side=None if args.point_grid else args.points_per_side,
        points_per_batch=args.points_per_batch,
        pred_iou_thresh=args.pred_iou_thresh,
        stability_score_thresh=args.stability_score_thresh,
        stability_score_offset=args.stability_score_offset,
        mask_threshold=args.mask_threshold,
        box_nms_thresh=args.box_nms_thresh,
        crop_n_layers=args.crop_n_layers,
        crop_nms_thresh=args.crop_nms_thresh,
        crop_overlap_ratio=args.crop_overlap_ratio,
        crop_n_points_downscale_factor=args.crop_n_points_downscale_factor,
        point_grids=[_read_points(path) for path in args.point_grid] or None,
        min_mask_region_area=args.min_mask_region_area,
        output_mode="coco_rle",
        use_m2m=args.use_m2m,
        multimask_output=args.multimask_output,
        max_candidates=args.max_candidates,
    )
    if videos:
        from sam_jax.cli.everything_video import everything_video

        return everything_video(videos[0], args, options)
    _check_picture_options(args)
    return _pictures(args, options)


def _is_video(path: Path) -> bool:
    """A folder, or something with the name of a video."""
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _check_picture_options(args: Everything) -> None:
    """Raises ValueError for what only a video has."""
    if args.format is not None:
        raise ValueError(f"--format {args.format} is for a video: of pictures, --png adds PNGs")
    if args.output.suffix.lower() in (".mp4", ".json"):
        raise ValueError(
            f"--output {args.output} is for a video: of pictures it is a folder, such as"
            f" {args.output.with_suffix('')}"
        )
    defaults = {field.name: field.default for field in fields(args)}
    for name in ("every", "max_objects", "retire_after"):
        if (value := getattr(args, name)) != defaults[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} {value} is for a video, and {args.images[0]} is a"
                " picture"
            )


def _pictures(args: Everything, options: Any) -> int:
    """Finds the masks of every picture, as `GeneratorOptions` say; returns the exit code."""
    inputs = [*args.images, *args.point_grid]
    plans = dict(zip(stems(args.images), args.images, strict=True))
    check_apart(inputs, [args.output / name for stem in plans for name in _names(stem)])
    with Signals() as signals, output_dir(args.output):
        if args.cache:
            enable_compilation_cache()

        from sam_jax.load import load
        from sam_jax.predictors.everything import AutomaticMaskGenerator

        generator = AutomaticMaskGenerator(load(args.model), **vars(options))

        def look(stem: str, path: Path) -> None:
            _one(generator, path, args.output / stem, args)

        return one_by_one(plans, "looking", look, signals)


def _one(generator: Any, path: Path, target: Path, args: Everything) -> None:
    """Finds, writes and prints for one picture; `target` is the output path without its suffix."""
    image = read_image(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = generator.generate(image)
    for warning in caught:
        say(f"sam-jax: warning: {path}: {warning.message}", error=True)
    json_file, overlay_file = (target.parent / name for name in _names(target.name))
    write_coco(json_file, path.name, image.shape[:2], records)
    if args.png:
        for number, record in enumerate(records):
            file = target.with_name(f"{target.name}_mask{number}.png")
            check_apart([*args.images, *args.point_grid], [file])
            write_png(file, rle.decode(record["segmentation"]))
        delete_more_masks(target, len(records), keep=args.images)
    with replacing(overlay_file) as temporary:
        picture = overlay(image, _largest_first(records), colors=many_colors(len(records) or 1))
        Image.fromarray(picture).save(temporary, "PNG", compress_level=1)
    say(f"{path}  {len(records)} masks  {json_file}  {overlay_file}")


def _largest_first(records: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    """The masks, one at a time, what lies inside of others after them."""
    for record in sorted(records, key=lambda record: -record["area"]):
        yield rle.decode(record["segmentation"])


def _names(stem: str) -> tuple[str, str]:
    return f"{stem}.json", f"{stem}_overlay.png"


def _read_points(path: Path) -> np.ndarray:
    """Points as `GeneratorOptions` takes and checks them.

    Raises:
      ValueError: the file holds no numbers.
    """
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        return np.loadtxt(path, ndmin=2)
    except (ValueError, EOFError) as error:
        raise ValueError(f"points {path} cannot be read: {error}") from error
