// From prompts to masks: asks the server for every object that lacks its answer, and for previews.

import { decodeMask } from "./overlay.js";

const FAST = 60; // ms that an answer may take for previews to be on by themselves

/** What is drawn of an object. */
export function maskOf(item) {
  if (item.found) return item.found.mask;
  return item.candidates?.[item.chosen]?.mask || item.last;
}

export function hasPrompt(item) {
  return Boolean(item.clicks.length || item.box || item.paint || item.text);
}

/** A prompt as the server takes it. */
export function promptOf(item) {
  const isAlone = !item.box && !item.paint;
  const isClick = item.clicks.length === 1 && item.clicks[0].label === 1 && !item.text;
  return {
    clicks: item.clicks,
    box: item.box,
    mask: item.paint?.runs || null,
    text: item.text,
    start: item.start,
    multimask: isAlone && (isClick || (Boolean(item.text) && !item.clicks.length)),
  };
}

/** What the next click on an object refines: the candidate that is chosen, by what it was the answer to. */
export function startOf(item) {
  if (!item || item.found) return null;
  if (!(item.candidates?.length > 1)) return item.start;
  const { clicks, box, text } = item;
  return { clicks, box, text, candidate: item.candidates[item.chosen].candidate };
}

/** An answer whose mask is decoded when it is first looked at: most never are. */
function candidate({ candidate, iou, mask }) {
  let decoded = null;
  return { candidate, iou, get mask() { return (decoded ??= decodeMask(mask)); } };
}

export class Prompting {
  constructor(tab, stage, objects) {
    this.tab = tab;
    this.stage = stage;
    this.objects = objects;
    this.isFast = tab.info.predict_ms !== null && tab.info.predict_ms <= FAST;
    this.previews = this.isFast;
    this.ghost = null;
    this.askedAt = null; // when the person did it
    this.asked = new WeakSet();
    this.pointer = null;
    this.isHovering = false;
  }

  /** Asks for what has no answer yet. */
  refresh() {
    for (const item of this.objects.items) {
      if (item.found || item.candidates || item.failed || this.asked.has(item) || !hasPrompt(item)) continue;
      this.asked.add(item);
      this.#ask(item, this.askedAt);
      this.askedAt = null;
    }
  }

  async #ask(item, at) {
    const { status, picture } = this.tab;
    try {
      const candidates = await this.#predict(promptOf(item));
      if (picture !== this.tab.picture) return;
      status.clear();
      if (at !== null) this.#measure(item, at, candidates);
      this.objects.fill(item, { candidates, chosen: 0, last: null });
    } catch (problem) {
      status.error(problem);
      this.objects.fill(item, { failed: true });
    } finally {
      this.asked.delete(item); // if it was no longer there to be filled, undo may bring it back
    }
  }

  async #predict(prompt) {
    const answer = await this.tab.opening.ask(({ picture }) =>
      this.tab.api.json("POST", "/api/picture/predict", { picture, ...prompt }));
    return answer.candidates.map(candidate);
  }

  /** How long the person waited, until the mask is on the screen. */
  #measure(item, at, candidates) {
    this.stage.ondrawn = () => {
      this.stage.ondrawn = null;
      const end = performance.now();
      performance.measure("click to mask", { start: at, end });
      const several = candidates.length > 1 ? `, best of ${candidates.length} candidates` : "";
      const score = candidates[0].iou.toFixed(2);
      this.tab.status.say(`${item.name}: score ${score}${several}, ${Math.round(end - at)} ms`);
    };
  }

  nextColor() {
    return this.objects.colors.find((c) => !this.objects.items.some((item) => item.color === c)) || this.objects.colors[0];
  }

  /** The pointer is there, or nowhere; one preview at a time is asked for. */
  hover(x, y) {
    const isIdle = x !== null && this.previews && this.tab.picture && !this.objects.active;
    this.pointer = isIdle ? { x, y, label: this.stage.tool === "off" ? 0 : 1 } : null;
    if (!this.pointer && this.ghost) {
      this.ghost = null;
      this.stage.draw();
    }
    if (this.pointer && !this.isHovering) this.#preview();
  }

  async #preview() {
    this.isHovering = true;
    try {
      while (this.pointer) {
        const asked = this.pointer;
        const picture = this.tab.picture;
        const [best] = await this.#predict({ clicks: [asked], multimask: true });
        if (!this.pointer || picture !== this.tab.picture) break;
        this.ghost = best.mask;
        this.stage.draw();
        if (this.pointer === asked) break;
      }
    } catch (problem) {
      if (problem.status !== 409) this.previews = false; // a click will tell what is wrong
    } finally {
      this.isHovering = false;
    }
  }
}
