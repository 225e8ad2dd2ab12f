// One row for each object over all frames: height is the score, a gap is where the object is out of
// sight, pale is what was tracked before the prompts changed, a dot is where it was prompted.

const INSET = 8; // half of the slider's thumb above, so that both agree on where a frame is
const ROW = 26;
const GAP = 6;
const DOT = 3.5;

export class Timeline {
  // onseek(frame): called while the pointer is down.
  constructor(canvas, { onseek }) {
    this.canvas = canvas;
    this.count = 0;
    this.rows = []; // {color: css, at: frame -> {score or null, pale} or null, prompted: frames}
    this.frame = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    const theme = new MutationObserver(() => this.draw());
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const seek = (event) => {
      if (!this.count || !(event.buttons & 1)) return;
      const x = event.clientX - canvas.getBoundingClientRect().left;
      onseek(this.#frameAt(x));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", seek);
  }

  show({ count, rows, frame }) {
    Object.assign(this, { count, rows, frame });
    this.draw();
  }

  draw() {
    const { canvas, rows } = this;
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = Math.max(1, rows.length) * (ROW + GAP) + GAP;
    canvas.style.height = `${height}px`;
    if (!width) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const { color: ink, borderTopColor: line, backgroundColor: paper } = style;
    rows.forEach((row, i) => this.#row(pen, row, GAP + i * (ROW + GAP), { ink, line, paper }));
    if (!this.count) return;
    pen.fillStyle = ink;
    pen.fillRect(this.#x(this.frame) - 0.75, 0, 1.5, height);
  }

  #row(pen, { color, at, prompted }, top, { ink, line, paper }) {
    const bottom = top + ROW;
    pen.fillStyle = line;
    pen.fillRect(INSET, bottom, this.canvas.clientWidth - 2 * INSET, 1);
    const step = this.#step();
    const wide = Math.max(1, step > 4 ? step - 1 : step);
    for (let frame = 0; frame < this.count; frame++) {
      const { score = null, pale } = at(frame) ?? {};
      if (score === null) continue;
      const tall = Math.max(2, score * ROW);
      pen.globalAlpha = pale ? 0.3 : 0.9;
      pen.fillStyle = color;
      pen.fillRect(this.#x(frame) - wide / 2, bottom - tall, wide, tall);
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    for (const frame of prompted) {
      pen.beginPath();
      pen.arc(this.#x(frame), bottom, DOT, 0, 2 * Math.PI);
      pen.fillStyle = paper;
      pen.fill();
      pen.strokeStyle = ink;
      pen.stroke();
    }
  }

  #step() {
    return (this.canvas.clientWidth - 2 * INSET) / Math.max(1, this.count - 1);
  }

  #x(frame) {
    return INSET + frame * this.#step();
  }

  #frameAt(x) {
    const frame = Math.round((x - INSET) / this.#step());
    return Math.min(this.count - 1, Math.max(0, frame));
  }
}
