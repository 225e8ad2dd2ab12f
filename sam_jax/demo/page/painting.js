// Masks by hand: painted, erased, or loaded from a picture; they are prompts like clicks.

import { element } from "./dom.js";
import { decodeMask, drawMask, encodeMask } from "./overlay.js";

export class Painting {
  /**
   * place(): what is painted on, {size, shown}, [height, width] of its pixels and of masks. begin(): the
   * mask to go on from, or null. color(): [r, g, b]. finish(mask): it is painted, or was loaded.
   */
  constructor(stage, status, { place, begin, color, finish }) {
    Object.assign(this, { stage, status, place, begin, color, finish });
    this.bits = null; // of the stroke that goes on
    this.input = element("input", { type: "file", accept: "image/*" });
    this.input.onchange = () => {
      if (this.input.files.length) this.#load(this.input.files[0]);
      this.input.value = "";
    };
  }

  /** More of a stroke, in pixels of the picture. It begins with the object's mask as it is. */
  stroke(points, done) {
    const { size, shown } = this.place();
    const [height, width] = shown;
    this.bits ??= this.begin()?.bits.slice() ?? new Uint8Array(width * height);
    const scale = width / size[1];
    const value = this.stage.tool === "eraser" ? 0 : 1;
    const radius = Math.max(0.5, (this.stage.brush * scale) / 2);
    points.forEach(([x, y], index) => {
      const [fromX, fromY] = points[Math.max(0, index - 1)];
      const steps = Math.ceil((Math.hypot(x - fromX, y - fromY) * scale) / (radius / 2)) || 1;
      for (let step = 1; step <= steps; step++) {
        const part = step / steps;
        this.#disc((fromX + (x - fromX) * part) * scale, (fromY + (y - fromY) * part) * scale, radius, value);
      }
    });
    this.preview = decodeMask(encodeMask(this.bits, width, height));
    if (done) this.#finish();
    this.stage.draw();
  }

  #disc(x, y, radius, value) {
    const [height, width] = this.place().shown;
    for (let row = Math.max(0, Math.floor(y - radius)); row <= Math.min(height - 1, y + radius); row++) {
      const half = Math.sqrt(Math.max(0, radius * radius - (row - y) ** 2));
      const from = Math.max(0, Math.round(x - half));
      const to = Math.min(width, Math.round(x + half) + 1);
      this.bits.fill(value, row * width + from, row * width + to);
    }
  }

  #finish() {
    const paint = this.preview;
    this.bits = this.preview = null;
    if (paint.area) this.finish(paint);
    else this.status.error("Nothing is left of the mask: paint where the object is.");
  }

  draw(context, width, height) {
    if (!this.preview) return;
    drawMask(context, this.preview, this.color(), width, height, 0.8);
  }

  choose() {
    this.input.click();
  }

  async #load(file) {
    const { status } = this;
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      status.error(`${file.name} is not a picture that this browser reads: save the mask as PNG.`);
      return;
    }
    const { size: [height, width], shown: [h, w] } = this.place();
    if (Math.abs(bitmap.width / bitmap.height - width / height) > 0.01 * (width / height)) {
      status.error(`The mask ${file.name} is ${bitmap.width} × ${bitmap.height}, but the picture is ${width} × ${height}: they must have the same shape.`);
      return;
    }
    const canvas = element("canvas", { width: w, height: h });
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0, w, h);
    const { data } = context.getImageData(0, 0, w, h);
    const light = Float32Array.from({ length: w * h }, (_, i) => (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) * data[4 * i + 3]);
    const half = light.reduce((most, one) => Math.max(most, one), 0) / 2;
    const bits = Uint8Array.from(light, (one) => (one > half ? 1 : 0));
    const paint = decodeMask(encodeMask(bits, w, h));
    if (!paint.area) {
      status.error(`The mask ${file.name} is empty: it must be bright where the object is.`);
      return;
    }
    this.finish(paint);
  }
}
