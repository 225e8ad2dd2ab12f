// Masks by hand: painted, erased, or loaded from a picture; they are prompts like clicks.

import { element } from "./dom.js";
import { decodeMask, drawMask, encodeMask } from "./overlay.js";
import { maskOf } from "./prompting.js";

export class Painting {
  /** change(fields, at): gives the active object, or a new one, these prompts. */
  constructor(tab, stage, objects, change) {
    Object.assign(this, { tab, stage, objects, change });
    this.bits = null; // of the stroke that goes on
    this.input = element("input", { type: "file", accept: "image/*" });
    this.input.onchange = () => {
      if (this.input.files.length) this.#load(this.input.files[0]);
      this.input.value = "";
    };
  }

  /** More of a stroke, in pixels of the picture. It begins with the object's mask as it is. */
  stroke(points, done) {
    const { picture } = this.tab;
    const [height, width] = picture.shown;
    if (!this.bits) {
      const active = this.objects.active;
      const before = active && !active.found ? active.paint || maskOf(active) : null;
      this.bits = before ? before.bits.slice() : new Uint8Array(width * height);
    }
    const scale = width / picture.size[1];
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
    const [height, width] = this.tab.picture.shown;
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
    if (paint.area) this.change({ paint, clicks: [], box: null, text: null }, performance.now());
    else this.tab.status.error("Nothing is left of the mask: paint where the object is.");
  }

  draw(context, width, height) {
    if (!this.preview) return;
    const color = this.objects.active?.color || this.objects.colors[0];
    drawMask(context, this.preview, color, width, height, 0.8);
  }

  choose() {
    this.input.click();
  }

  async #load(file) {
    const { status, picture } = this.tab;
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      status.error(`${file.name} is not a picture that this browser reads: save the mask as PNG.`);
      return;
    }
    const [height, width] = picture.size;
    if (Math.abs(bitmap.width / bitmap.height - width / height) > 0.01 * (width / height)) {
      status.error(`The mask ${file.name} is ${bitmap.width} × ${bitmap.height}, but the picture is ${width} × ${height}: they must have the same shape.`);
      return;
    }
    const [h, w] = picture.shown;
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
    this.change({ paint, clicks: [], box: null, text: null }, performance.now());
  }
}
