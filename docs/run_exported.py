"""Segment a picture with exported programs: with jax, flatbuffers, safetensors and Pillow alone.

sam-jax export exported --what encoder,decoder --platforms cpu
python docs/run_exported.py exported docs/media/chelsea.jpg --box 150,92,200,140
"""

import argparse
import json
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from PIL import Image
from safetensors.numpy import load_file


class Exported:
    """The programs in a folder.

    features = exported.run("encoder", {"images": images})
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.about = json.loads((self.folder / "export.json").read_text())
        self.weights = jax.device_put(load_file(self.folder / self.about["weights"]))
        self.programs = {}
        self.platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())

    def run(self, name, *dicts):
        if name not in self.programs:
            file = self.folder / self.about["programs"][name]["files"][self.platform]
            self.programs[name] = jax.jit(jax.export.deserialize(file.read_bytes()).call)
        return self.programs[name](self.weights, *dicts)

    def empty(self, name, kind="inputs", **sizes):
        """Inputs that ask for nothing, or a state ("state") without objects.

        Sizes are those that export.json gives letters, such as b=1, o=1, p=2.
        """

        def length(size):  # 64, or "o", or "c + 6"
            parts = str(size).split(" + ")
            return sum(sizes[part] if part in sizes else int(part) for part in parts)

        return {
            array: jnp.full([length(s) for s in about["shape"]], about["empty"], about["dtype"])
            for array, about in self.about["programs"][name][kind].items()
            if "empty" in about
        }


def covered(picture, width, height):
    """How many columns and rows of the model input show the picture."""
    size = picture["size"]
    if not picture["keep_aspect"]:
        return size, size
    return tuple(int(side * size / max(width, height) + 0.5) for side in (width, height))


def to_input(picture, image):
    """The model input [1 size size 3] of a PIL picture."""
    columns, rows = covered(picture, *image.size)
    out = np.empty((picture["size"], picture["size"], 3), np.float32)
    out[:] = picture["fill"]
    if picture["keep_aspect"]:  # SAM 1 was trained with pictures resized as bytes, SAM 2 as floats
        resized = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR), np.float32)
    else:
        planes = (plane.convert("F") for plane in image.split())
        sized = [plane.resize((columns, rows), Image.Resampling.BILINEAR) for plane in planes]
        resized = np.stack(sized, -1)
    out[:rows, :columns] = resized / np.float32(255)
    return out[None]


def to_picture(picture, logits, width, height):
    """Low-resolution logits [hm wm] at the picture's size."""
    size, bilinear = picture["size"], Image.Resampling.BILINEAR
    plane = Image.fromarray(np.asarray(logits))
    if picture["keep_aspect"]:
        plane = plane.resize((size, size), bilinear).crop((0, 0, *covered(picture, width, height)))
    return np.asarray(plane.resize((width, height), bilinear))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("picture")
    parser.add_argument("--box", required=True, help="X0,Y0,X1,Y1 in pixels of the picture")
    parser.add_argument("--output", default="mask.png")
    options = parser.parse_args()

    exported = Exported(options.folder)
    picture = exported.about["picture"]
    image = Image.open(options.picture).convert("RGB")
    features = exported.run("encoder", {"images": to_input(picture, image)})

    corners = np.array(options.box.split(","), np.float32).reshape(2, 2)
    scale = np.divide(covered(picture, *image.size), image.size)
    prompts = exported.empty("decoder", b=1, o=1, p=2)
    prompts["points"] = (corners * scale).astype(np.float32)[None, None]  # [b o p 2]
    prompts["labels"] = np.array([[[2, 3]]], np.int32)  # the corners of a box
    answer = exported.run("decoder", {**features, **prompts})

    mask = to_picture(picture, answer["single_logits"][0, 0], *image.size) > 0
    Image.fromarray(mask).save(options.output)
    iou = float(answer["single_iou"][0, 0])
    print(f"{options.output}: {mask.sum()} pixels, predicted IoU {iou:.3f}")


if __name__ == "__main__":
    main()
