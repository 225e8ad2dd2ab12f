"""A batch of pictures with boxes: masks of all of them, drawn and as one COCO file.

    python examples/batch_of_images.py docs/media/chelsea.jpg docs/media/coffee.jpg \
        --boxes examples/boxes.json --output out
    python examples/batch_of_images.py photos/*.jpg --model sam2.1-hiera-large 

Without boxes, a click in the middle of each. Pictures may be of any sizes; numbers of boxes are
rounded up, so that few of them compile. For thousands, resumable: `sam-jax batch`, docs/batch.md.
"""

import argparse
import json
from pathlib import Path

from PIL import Image

import sam_jax
from sam_jax import exchange, instances
from sam_jax.io.images import read_image
from sam_jax.io.overlay import overlay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--boxes", type=Path, help='JSON: {"chelsea.jpg": [[x0, y0, x1, y1], ...]}')
    parser.add_argument("--model", default="sam2.1-hiera-nano")
    parser.add_argument("--batch", type=int, default=16, help="pictures on the device at once")
    parser.add_argument("--output", type=Path, default=Path("segmented"))
    asked = parser.parse_args()
    if len({path.stem for path in asked.pictures}) < len(asked.pictures):
        parser.error("two pictures have the same name, and so would their masks")
    asked.output.mkdir(parents=True, exist_ok=True)
    boxes_of = json.loads(asked.boxes.read_text()) if asked.boxes else {}

    predictor = sam_jax.ImagePredictor(sam_jax.load(asked.model))
    found = {}
    for start in range(0, len(asked.pictures), asked.batch):
        paths = asked.pictures[start : start + asked.batch]
        pictures = [read_image(path) for path in paths]
        boxes = [boxes_of.get(path.name) or None for path in paths]
        middles = [[[image.shape[1] // 2, image.shape[0] // 2]] for image in pictures]
        predictor.set_image_batch(pictures)
        masks, ious, _ = predictor.predict_batch(
            point_coords_batch=[None if b else xy for b, xy in zip(boxes, middles, strict=True)],
            point_labels_batch=[None if b else [1] for b in boxes],
            box_batch=boxes,
        )
        for path, image, *answer, box in zip(paths, pictures, masks, ious, boxes, strict=True):
            best = found[path.name] = instances.from_prediction(*answer)
            drawn = overlay(image, best.masks, boxes=box or ())
            Image.fromarray(drawn).save(asked.output / f"{path.stem}.png")
            scores = ", ".join(f"{score:.2f}" for score in best.scores)
            print(f"{path.name}: {len(best)} masks, predicted IoU {scores}")
    (asked.output / "masks.json").write_text(json.dumps(exchange.to_coco(found)))


if __name__ == "__main__":
    main()
