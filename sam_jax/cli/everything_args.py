"""What `sam-jax everything` takes; apart from the command, which imports jax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from sam_jax.cli.compilation_cache import KeepPrograms


@dataclass(frozen=True)
class Everything:
    r"""Find the masks of everything in pictures, or in a video, and there track it.

    The picture is clicked on a grid of points, each click gives three masks, and what the model is
    not sure of, what depends on the threshold, and duplicates are dropped. If too little is found,
    lower --pred-iou-thresh and --stability-score-thresh; if small things are missed, add crops or
    points.

    For a picture truck.jpg, the output folder gets truck.json (COCO: images, annotations with
    run-length codes, one category) and truck_overlay.png (each mask in a colour of its own). Files
    of the same name are replaced; with --png, further PNG masks of an earlier run
    (truck_mask<number>.png) are deleted. Of pictures with the same name, the later ones get -2,
    -3, ...

    A video is one file, or a folder of numbered JPEG or PNG frames. On frame 0, and every --every
    frames, the grid is clicked where no known object is. What is found there, most of it outside of
    all others, is a new object, and is tracked from there on; one that stays away for
    --retire-after frames is given up. Numbers of objects are never used twice. The output folder
    gets overlay.mp4, the masks (masks.json, or what --format says), scores.csv (frame by frame) and
    objects.json (when each object was seen). With a name that ends with .mp4 or .json there is only
    that file, say out.mp4, with out.csv and out_objects.json beside it.

    With the limits that the official code has for the model:
      sam-jax everything truck.jpg --model sam2.1-hiera-large --output out

    As the official SAM 2 notebook looks for small things: a fine grid, four crops, a second look:
      sam-jax everything truck.jpg --points-per-side 64 --points-per-batch 128 \
          --pred-iou-thresh 0.7 --stability-score-thresh 0.92 \
          --stability-score-offset 0.7 --crop-n-layers 1 \
          --crop-n-points-downscale-factor 2 --min-mask-region-area 25 --use-m2m \
          --model sam2.1-hiera-large

    Everything in a video, with a look for more every 12 frames, 50 objects at most:
      sam-jax everything clip.mp4 --every 12 --max-objects 50 \
          --points-per-side 16 --model sam2.1-hiera-tiny --output out

    Many pictures, and a PNG for each mask (truck_mask0.png, truck_mask1.png, ...):
      sam-jax everything *.jpg --png --model sam2.1-hiera-tiny
    """

    images: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="IMAGE...|VIDEO", help_behavior_hint="(one or more, or one video)"),
    ]
    """Pictures in any format that Pillow reads; or a video, or a folder with its frames."""
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    output: Annotated[Path, arg(metavar="DIR|FILE")] = Path("everything")
    """Folder for the results, created if need be; of a video also a name.mp4 or name.json."""
    png: FlagCreatePairsOff[bool] = False
    """Of pictures: also one PNG a mask, 255 inside; those of an earlier run are deleted."""
    format: Annotated[
        Literal["video", "palette", "png", "npz", "rle"] | None,
        arg(
            metavar="{video,palette,png,npz,rle}",
            help_behavior_hint="(default: by --output; rle for a folder)",
            help="Of a video, what the folder gets beside overlay.mp4: nothing (video), or masks as"
            " sam-jax track writes them. palette has room for 255 objects.",
        ),
    ] = None
    every: Annotated[int, arg(metavar="N")] = 8
    """Of a video: look for new objects on frames 0, N, 2N, ...; all frames are tracked."""
    max_objects: Annotated[int, arg(metavar="N")] = 32
    """Of a video: track at most so many at once; of more, those that the model is most sure of.
    Memory and, on GPU, time grow with it."""
    retire_after: Annotated[int, arg(metavar="N")] = 16
    """Of a video: give an object up when it has been away for so many frames."""
    points_per_side: Annotated[int, arg(metavar="N")] = 32
    """Rows and columns of the grid of clicks."""
    point_grid: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(
            metavar="FILE",
            help_behavior_hint="(repeatable)",
            help="In place of the grid, points as fractions of the picture's width and height: a"
            " .npy [p 2], or a text file with x and y on each line. One file for the picture and"
            " one for each layer of crops.",
        ),
    ] = ()
    points_per_batch: Annotated[int, arg(metavar="N")] = 64
    """Clicks answered at once; memory depends on it, results do not."""
    pred_iou_thresh: Annotated[
        float | None, arg(metavar="0..1", help_behavior_hint="(default: 0.8; of SAM 1 0.88)")
    ] = None
    """Drop masks whose predicted IoU is not above this; 0 keeps all."""
    stability_score_thresh: Annotated[float, arg(metavar="0..1")] = 0.95
    """Drop masks less stable than this, smaller by larger area as the threshold moves; 0: none."""
    stability_score_offset: Annotated[float, arg(metavar="LOGIT")] = 1.0
    """How far it moves, down and up."""
    mask_threshold: Annotated[float, arg(metavar="LOGIT")] = 0.0
    """Above this a pixel belongs to a mask."""
    box_nms_thresh: Annotated[float, arg(metavar="0..1")] = 0.7
    """Of two masks whose boxes have a larger IoU, keep the one predicted better."""
    crop_n_layers: Annotated[int, arg(metavar="N")] = 0
    """Look again at 4 overlapping parts of the picture, at 16, ...: so many times."""
    crop_nms_thresh: Annotated[float, arg(metavar="0..1")] = 0.7
    """As --box-nms-thresh, for masks of different parts: keep that of the smaller part."""
    crop_overlap_ratio: Annotated[
        float, arg(metavar="0..1", help_behavior_hint="(default: 512/1500)")
    ] = 512 / 1500
    """How far 4 parts overlap, as a fraction of the picture's shorter side; 16 half as far."""
    crop_n_points_downscale_factor: Annotated[int, arg(metavar="N")] = 1
    """Each layer's grid has so many times fewer rows and columns than the one before."""
    min_mask_region_area: Annotated[int, arg(metavar="PIXELS")] = 0
    """Remove smaller holes and islands; in low-resolution pixels, of SAM 1 the picture's."""
    use_m2m: FlagCreatePairsOff[bool] = False
    """Give each mask back to the model with its click, for a better one; costs a click for each."""
    multimask_output: bool = True
    """Three masks for each click, or one."""
    max_candidates: Annotated[int, arg(metavar="N")] = 2048
    """Memory for so many masks before duplicates are dropped; of more the best are kept."""
    cache: KeepPrograms = True
