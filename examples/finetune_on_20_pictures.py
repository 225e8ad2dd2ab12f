"""Fine-tune the mask decoder on 20 pictures, and measure on others what it brought.

    python examples/finetune_on_20_pictures.py                       # rings, painted here; minutes
    python examples/finetune_on_20_pictures.py --pictures FOLDER --held-out OTHERS \
        --model sam2.1-hiera-tiny --size 1024 --steps 2000           # yours; a GPU

The first prints "mean IoU for a box, before 0.267, after 0.653". A folder has images/NAME.jpg and
masks/NAME.png, in which each object has a number. Needs a clone and `pip install -e '.[train]'`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import sam_jax


def paint(folder: Path, numbers: range, size: int = 128) -> Path:
    """Pictures with three rings each, which the model that ships does not know."""
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:size, :size]
    for number in numbers:
        random = np.random.default_rng(number)
        image, mask = random.normal(110, 25, (size, size)), np.zeros((size, size), np.uint8)
        for ring in (1, 2, 3):
            x, y = random.uniform(20, size - 20, 2)
            distance = np.hypot(columns - x, rows - y) / random.uniform(10, 18)
            inside = (distance < 1) & (distance > 0.6)
            image[inside] += 60
            mask[inside] = ring
        picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).convert("RGB")
        picture.save(folder / "images" / f"{number:03}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{number:03}.png")
    return folder


def mean_iou(model: sam_jax.Model, folder: Path) -> float:
    """Of the masks for boxes around all objects with the true ones."""
    predictor, ious = sam_jax.ImagePredictor(model), []
    for path in sorted((folder / "images").iterdir()):
        numbers = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))
        predictor.set_image(Image.open(path))
        for number in np.unique(numbers[numbers > 0]):
            truth = numbers == number
            rows, columns = np.nonzero(truth)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            masks, _, _ = predictor.predict(box=box, multimask_output=False)
            found = masks[0] > 0
            ious.append((found & truth).sum() / (found | truth).sum())
    return float(np.mean(ious))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="by default 20 pictures are painted")
    parser.add_argument("--held-out", type=Path, help="pictures to measure on")
    parser.add_argument("--model", default="sam2.1-hiera-nano")
    parser.add_argument("--size", type=int, default=128, help="of the model's input, pixels")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/rings"))
    asked = parser.parse_args()

    painted = asked.output.with_name(f"{asked.output.name}_pictures")
    pictures = asked.pictures or paint(painted / "train", range(20))
    held_out = asked.held_out or paint(painted / "test", range(100, 110))
    before = mean_iou(sam_jax.load(asked.model, image_size=asked.size), held_out)

    recipe = [sys.executable, "-m", "train", "own_images"]
    recipe += ["--images.source.root", str(pictures), "--folder", str(asked.output)]
    recipe += ["--model", asked.model, "--start", asked.model, "--image-size", str(asked.size)]
    recipe += ["--steps", str(asked.steps), "--optimizer.warmup", str(asked.steps // 10)]
    recipe += ["--optimizer.learning-rate", "3e-4", "--images.prompts.corrections", "1"]
    recipe += ["--workers", "0"]  # so few and small pictures need no process of their own
    subprocess.run(recipe, check=True)

    after = mean_iou(sam_jax.load(asked.output), held_out)
    print(f"mean IoU for a box, before {before:.3f}, after {after:.3f}")


if __name__ == "__main__":
    main()
