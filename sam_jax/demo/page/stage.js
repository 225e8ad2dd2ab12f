// A canvas that shows a picture as large as fits, and tells its owner what is pointed at, in pixels
// of the picture.

const DRAG = 5; // CSS pixels that make a drag of a click
const STEP = 10; // of the keyboard's cursor

export class Stage {
  /**
   * element: takes the canvas.
   * handlers: onclick(x, y, label), onbox([x0, y0, x1, y1]), onhover(x, y) or onhover(null),
   *   onstroke([[x, y], ...], done) while tool is "brush" or "eraser"; paint(context, toView) draws
   *   what lies over the picture, where toView(x, y) gives CSS pixels of the canvas.
   */
  constructor(element, handlers, label = "The picture") {
    this.handlers = handlers;
    this.tool = "on"; // what a click means: on, off, brush, eraser
    this.brush = 24; // pixels of the picture
    this.picture = null;
    this.size = null; // [height, width] that coordinates are in
    this.cursor = null; // of the keyboard
    this.corner = null; // first corner of a box by keyboard
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", `${label}. Arrow keys move, Enter marks, Delete excludes, B sets the corners of a box.`);
    this.canvas.hidden = true;
    element.append(this.canvas);
    this.element = element;
    this.drag = null;
    new ResizeObserver(() => this.draw()).observe(element);
    this.#listen();
  }

  /** Shows a picture; size is [height, width] of the coordinates, by default the picture's own. */
  show(picture, size = [picture.height, picture.width]) {
    const isNew = !this.size || this.size[0] !== size[0] || this.size[1] !== size[1];
    this.picture = picture;
    this.size = size;
    if (isNew) this.cursor = this.corner = null;
    this.canvas.hidden = false;
    this.element.style.setProperty("--ratio", `${size[1]} / ${size[0]}`);
    this.draw();
  }

  /** Draws again, before the next frame of the screen. */
  draw() {
    if (this.scheduled || !this.picture) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = null;
      this.#draw();
      this.ondrawn?.();
    });
  }

  #draw() {
    const room = this.element.getBoundingClientRect();
    if (!room.width || !room.height) return;
    const [height, width] = this.size;
    const scale = Math.min(room.width / width, room.height / height);
    this.scale = scale;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    const ratio = window.devicePixelRatio || 1;
    const [pw, ph] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (this.canvas.width !== pw || this.canvas.height !== ph) {
      this.canvas.width = pw;
      this.canvas.height = ph;
      this.canvas.style.width = `${w}px`;
      this.canvas.style.height = `${h}px`;
    }
    this.view = [w, h];
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.drawImage(this.picture, 0, 0, w, h);
    const toView = (x, y) => [x * scale, y * scale];
    this.handlers.paint?.(context, toView, this.view);
    if (this.drag?.box) this.#dashed(context, this.drag.box);
    if (this.cursor && document.activeElement === this.canvas) this.#cross(context, toView);
    if (this.brushAt && this.#paints()) this.#ring(context, toView);
  }

  #dashed(context, [x0, y0, x1, y1]) {
    const s = this.scale;
    for (const [color, offset] of [["#000", 0], ["#fff", 5]]) {
      context.strokeStyle = color;
      context.lineWidth = 1.5;
      context.setLineDash([5, 5]);
      context.lineDashOffset = offset;
      context.strokeRect(x0 * s, y0 * s, (x1 - x0) * s, (y1 - y0) * s);
    }
    context.setLineDash([]);
  }

  #cross(context, toView) {
    const [x, y] = toView(...this.cursor);
    for (const [color, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(x - 12, y);
      context.lineTo(x + 12, y);
      context.moveTo(x, y - 12);
      context.lineTo(x, y + 12);
      context.stroke();
    }
    if (this.corner) this.#dashed(context, sorted(this.corner, this.cursor));
  }

  #ring(context, toView) {
    const [x, y] = toView(...this.brushAt);
    for (const [color, width] of [["#000", 3], ["#fff", 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, (this.brush / 2) * this.scale, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  #paints() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  /** Where an event is, in pixels of the picture, inside of it. */
  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.#inside((event.clientX - box.left) / this.scale, (event.clientY - box.top) / this.scale);
  }

  #inside(x, y) {
    const [height, width] = this.size;
    return [Math.min(Math.max(x, 0), width - 0.01), Math.min(Math.max(y, 0), height - 0.01)];
  }

  #listen() {
    const canvas = this.canvas;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 2 || !event.isPrimary) return;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      this.cursor = null;
      const off = event.altKey || event.button === 2 || event.ctrlKey || this.tool === "off";
      this.drag = { from: this.#at(event), x: event.clientX, y: event.clientY, off, box: null, stroke: null };
      this.handlers.onhover?.(null);
      if (this.#paints()) {
        this.drag.stroke = [this.drag.from];
        this.handlers.onstroke?.(this.drag.stroke, false);
      }
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.picture) return;
      const at = this.#at(event);
      this.brushAt = at;
      const drag = this.drag;
      if (drag?.stroke) {
        drag.stroke.push(at);
        this.handlers.onstroke?.(drag.stroke.slice(-2), false);
      } else if (drag && !drag.off && (drag.box || Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > DRAG)) {
        drag.box = sorted(drag.from, at);
        this.draw();
      } else if (!drag && event.pointerType !== "touch" && !this.#paints()) {
        this.handlers.onhover?.(...at);
      }
      if (this.#paints()) this.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const drag = this.drag;
      this.drag = null;
      if (!drag) return;
      if (drag.stroke) this.handlers.onstroke?.([], true);
      else if (drag.box) this.#box(drag.box);
      else this.handlers.onclick?.(...drag.from, drag.off ? 0 : 1, event.timeStamp);
      this.draw();
    });
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("pointerleave", () => {
      this.brushAt = null;
      this.handlers.onhover?.(null);
      this.draw();
    });
    canvas.addEventListener("blur", () => this.draw());
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #box(box) {
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.handlers.onbox?.(box, performance.now());
  }

  /** Forgets a drag that has begun. */
  cancel() {
    if (this.drag?.stroke) this.handlers.onstroke?.([], true);
    this.drag = this.corner = null;
    this.draw();
  }

  #key(event) {
    if (!this.picture || event.ctrlKey || event.metaKey) return;
    const [height, width] = this.size;
    const step = (event.shiftKey ? 10 : 1) * Math.max(1, Math.max(height, width) / 1000) * STEP;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    const here = this.cursor || [width / 2, height / 2];
    if (move) {
      this.cursor = this.#inside(here[0] + move[0] * step, here[1] + move[1] * step);
      this.handlers.onhover?.(...this.cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      this.cursor = here;
      this.handlers.onclick?.(...here, event.altKey || this.tool === "off" ? 0 : 1, event.timeStamp);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.cursor = here;
      this.handlers.onclick?.(...here, 0, event.timeStamp);
    } else if (event.key.toLowerCase() === "b") {
      this.cursor = here;
      if (this.corner) this.#box(sorted(this.corner, here));
      this.corner = this.corner ? null : here;
    } else if (event.key === "Escape" && (this.corner || this.drag)) {
      this.cancel();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }
}

function sorted([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}
