// Frames of the open video as bitmaps: fetched when they are wanted, a few ahead, the last ones kept.

const ROOM = 32; // bitmaps; 32 of 1024 x 576 take 75 MB
const AHEAD = 4;

export class Frames {
  // load(number) -> Promise of a Blob
  constructor(load, count) {
    this.count = count;
    this.load = load;
    this.kept = new Map(); // number -> Promise of an ImageBitmap, the one used last at the end
    this.pinned = null; // number of the one that is on the screen
  }

  get(number) {
    const known = this.kept.get(number);
    const bitmap = known ?? this.#fetch(number);
    this.kept.delete(number);
    this.kept.set(number, bitmap);
    this.#forget();
    return bitmap;
  }

  // What is likely wanted after `number`.
  ahead(number, step = 1) {
    for (let i = 1; i <= AHEAD; i++) {
      const next = number + i * step;
      if (next >= 0 && next < this.count && !this.kept.has(next)) this.get(next).catch(() => {});
    }
  }

  close() {
    this.pinned = null;
    this.#forget(0);
  }

  #fetch(number) {
    const bitmap = this.load(number).then(createImageBitmap);
    bitmap.catch(() => this.kept.delete(number)); // asked for again, it may come
    return bitmap;
  }

  #forget(room = ROOM) {
    for (const [number, bitmap] of this.kept) {
      if (this.kept.size <= room) return;
      if (number === this.pinned) continue;
      this.kept.delete(number);
      bitmap.then((loaded) => loaded.close(), () => {});
    }
  }
}

// Plays until stopped or at the end. show(number) -> Promise, after which the next frame is due.
export class Player {
  constructor({ count, fps, show, onchange }) {
    Object.assign(this, { count, show, onchange });
    this.interval = 1000 / (fps || 25);
    this.playing = false;
  }

  toggle(from) {
    if (this.playing) this.stop();
    else this.play(from >= this.count - 1 ? 0 : from);
  }

  async play(number) {
    this.playing = true;
    this.onchange();
    let due = performance.now();
    try {
      for (; this.playing && number < this.count; number++) {
        await this.show(number);
        due = Math.max(due + this.interval, performance.now());
        await new Promise((resume) => setTimeout(resume, due - performance.now()));
      }
    } finally {
      this.stop();
    }
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.onchange();
  }
}
