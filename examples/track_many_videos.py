"""Track one thing in each of many videos, on all devices of a machine or of a pod.

    python examples/track_many_videos.py videos.json --output out

videos.json has the box of frame 0 for each file: {"clips/a.mp4": [x0, y0, x1, y1], ...}. On a pod,
start the same command on every host (`--worker=all`, srun) with `--pod`: each takes its share, and
nothing is exchanged. What is here is the core of it, for your own loop; `sam-jax batch` also fills
the place of a video that has ended, and goes on after a kill.
"""

import argparse
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import sam_jax
from sam_jax import exchange, video
from sam_jax.frame import encode_frames
from sam_jax.instances import Instances
from sam_jax.io.images import upsample_logits
from sam_jax.io.videos import Video, open_video
from sam_jax.sharding import make_mesh, over_objects
from sam_jax.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NOT_A_POINT, FrameInput, Prompts


def one_frame(model, state, images, prompts, prompted):
    """The next frame of every video; there is one object in each."""
    features = encode_frames(model, images)
    correcting = jnp.zeros_like(prompted)
    return video.step(model, state, FrameInput(features, prompts, prompted, correcting))


def track(step, model, videos: list[Video], boxes: list, slots: int) -> list[dict[str, Instances]]:
    """Of each video, the object on its frames."""
    side, logits_side = model.config.image_size, model.config.mask_size
    scale = [side / np.array([v.width, v.height] * 2) for v in videos]
    points = np.zeros((slots, 3, 2), np.float32)
    points[: len(videos), :2] = np.reshape(np.multiply(boxes, scale), (-1, 2, 2))
    labels = np.tile(np.int32([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, NOT_A_POINT]), (slots, 1))
    no_masks = jnp.zeros((0, logits_side, logits_side, 1)), jnp.zeros(0, bool)
    prompts = Prompts(jnp.asarray(points), jnp.asarray(labels), *no_masks)
    state, found = video.init_state(model, slots), [{} for _ in videos]
    images = np.zeros((slots, side, side, 3), np.uint8)
    frames = itertools.zip_longest(*(v.model_inputs(side) for v in videos))
    for t, row in enumerate(frames):
        for i, pair in enumerate(row):
            if pair is not None:
                images[i] = pair[1]
        state, out = step(model, state, images, prompts, np.full(slots, t == 0))
        logits, ious, there = map(np.asarray, (out.logits, out.iou, out.object_logit))
        for i, (v, pair) in enumerate(zip(videos, row, strict=True)):
            if pair is not None:
                mask = upsample_logits(logits[i], v.height, v.width)[None] > 0
                keep = slice(int(there[i] > 0))
                found[i][f"{t:05}.jpg"] = Instances(mask[keep], ious[i : i + 1][keep])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("--model", default="sam2.1-hiera-nano")
    parser.add_argument("--per-device", type=int, default=4, help="videos at once")
    parser.add_argument("--output", type=Path, default=Path("tracked"))
    parser.add_argument("--pod", action="store_true")
    options = parser.parse_args()
    every = sorted(json.loads(options.videos.read_text()).items())
    if len({Path(path).stem for path, _ in every}) < len(every):
        parser.error("two videos have the same name, and so would their results")
    if options.pod:
        jax.distributed.initialize()
    options.output.mkdir(parents=True, exist_ok=True)

    mesh = make_mesh(jax.local_devices())
    slots = options.per_device * len(jax.local_devices())
    step = jax.jit(over_objects(one_frame, mesh), donate_argnums=1)
    model = sam_jax.load(options.model)
    own = every[jax.process_index() :: jax.process_count()]
    for start in range(0, len(own), slots):
        paths, boxes = zip(*own[start : start + slots], strict=True)
        videos = [open_video(options.videos.parent / path) for path in paths]
        for path, found in zip(paths, track(step, model, videos, list(boxes), slots), strict=True):
            target = options.output / f"{Path(path).stem}.json"
            target.write_text(json.dumps(exchange.to_coco(found)))
            seen = sum(map(len, found.values()))
            print(f"{path}: {len(found)} frames, the object is seen on {seen}")


if __name__ == "__main__":
    main()
