// The open video as the server knows it: what was asked and found of each object, by frame.

const NOTHING = { clicks: [], box: null };

// What was found of an object. `version` is the server's: it grows whenever prompts change.
class Thing {
  constructor() {
    this.asked = new Map(); // frame -> {clicks: [{x, y, label}], box: [x0, y0, x1, y1] or null, mask?: runs, text?}
    this.found = new Map(); // frame -> {mask: {size, counts}, iou, object_logit, version}
    this.version = 0;
  }

  // null: nothing is known. score null: out of sight. pale: tracked before the prompts changed.
  at(frame) {
    const found = this.found.get(frame);
    if (!found) return null;
    const pale = found.version < this.version && !this.asked.has(frame);
    return { score: found.object_logit > 0 ? found.iou : null, pale, mask: found.mask };
  }
}

export class Work {
  // opened: the server's answer to opening a video. onchange(): draw. onrefused(error): what is
  // wanted is not to be had; takes the last change back, and returns whether there was one.
  constructor(api, opened, { onchange, onrefused }) {
    Object.assign(this, opened);
    this.api = api;
    this.onchange = onchange;
    this.onrefused = onrefused;
    this.things = new Map(); // id -> Thing
    this.wanted = new Map(); // id -> Map(frame -> prompt)
    this.tracking = null; // {done, total, stop()} while it lasts
    this.syncing = null;
  }

  at(id, frame) {
    return this.things.get(id)?.at(frame) ?? null;
  }

  /** What is to be asked: prompts by frame, of each object by its id. In pixels of the video. */
  want(wanted) {
    this.wanted = wanted;
    return this.settle();
  }

  /** Resolves when the server knows all that is wanted, or refused it. */
  settle() {
    if (this.tracking) return Promise.resolve(); // then it is called again
    this.syncing ??= this.#sync().finally(() => (this.syncing = null));
    return this.syncing;
  }

  /** onstep(frame) after each. Resolves to "finished" or "stopped". */
  async track(frame, direction, onstep) {
    await this.settle();
    const socket = await this.api.socket("/api/video/track");
    this.tracking = { done: 0, total: 0, stop: () => socket.send("stop") };
    this.onchange();
    try {
      return await new Promise((resolve, reject) => {
        socket.onclose = () => reject(new Error("The connection to the server was lost."));
        socket.onmessage = ({ data }) => {
          const message = JSON.parse(data);
          if (message.error) reject(new Error(message.error));
          else if (message.ended) resolve(message.ended);
          else {
            this.#step(message);
            onstep(message.frame);
          }
        };
        socket.send(JSON.stringify({ frame, direction }));
      });
    } finally {
      socket.onclose = null;
      socket.close();
      this.tracking = null;
      this.onchange();
      this.settle();
    }
  }

  #step({ frame, found, done, total }) {
    for (const [id, one] of Object.entries(found)) this.#file(frame, Number(id), one);
    Object.assign(this.tracking, { done, total });
    this.onchange();
  }

  // One request at a time. Clicks that come faster than answers become one.
  async #sync() {
    for (let next = this.#difference(); next; next = this.#difference()) {
      try {
        await next();
      } catch (error) {
        if (!this.onrefused(error)) return;
      }
      this.onchange();
    }
  }

  #difference() {
    for (const [id, thing] of this.things) {
      const wanted = this.wanted.get(id);
      if (!wanted?.size) return () => this.#remove(id);
      for (const frame of thing.asked.keys()) if (!wanted.has(frame)) return () => this.#ask(id, frame, NOTHING);
    }
    for (const [id, wanted] of this.wanted) {
      const asked = this.things.get(id)?.asked;
      for (const [frame, prompt] of wanted) if (asked?.get(frame) !== prompt) return () => this.#ask(id, frame, prompt);
    }
    return null;
  }

  async #ask(id, frame, prompt) {
    const body = { object: id, frame, ...prompt };
    const { found, version } = await this.api.json("POST", "/api/video/prompt", body);
    if (!this.things.has(id)) this.things.set(id, new Thing());
    const thing = this.things.get(id);
    thing.version = version;
    if (prompt === NOTHING) thing.asked.delete(frame);
    else thing.asked.set(frame, prompt);
    if (found) this.#file(frame, id, found);
    else thing.found.delete(frame);
  }

  async #remove(id) {
    await this.api.json("POST", "/api/video/remove", { object: id });
    this.things.delete(id);
  }

  #file(frame, id, found) {
    const counts = Uint32Array.from(found.mask.counts); // half of an array's memory, or less
    this.things.get(id)?.found.set(frame, { ...found, mask: { ...found.mask, counts } });
  }
}
