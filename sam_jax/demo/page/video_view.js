// What is seen of a video's objects: on the frame, behind their names, and in words.

import { decodeMask, drawBox, drawMask, drawPoint } from "./overlay.js";

const PALE = 0.55; // opacity of masks from before the prompts changed

export class View {
  constructor() {
    this.decoded = new Map(); // masks of the frame that is drawn
  }

  /** An object's mask on the frame that is drawn; null if none is known. */
  maskOf(work, item, frame) {
    const here = item && work.at(item.id, frame);
    return here ? this.decoded.get(here.mask) ?? decodeMask(here.mask) : null;
  }

  /** Draws the masks and prompts of a frame; the rest as for `Stage`'s paint. */
  paint(context, toView, [width, height], { work, objects, frame }) {
    const decoded = new Map();
    for (const item of objects.items) {
      const here = work.at(item.id, frame);
      if (!here) continue;
      const mask = this.decoded.get(here.mask) ?? decodeMask(here.mask);
      decoded.set(here.mask, mask);
      drawMask(context, mask, item.color, width, height, here.pale ? PALE : 1);
    }
    this.decoded = decoded;
    for (const item of objects.items) {
      const prompt = item.prompts.get(frame);
      if (!prompt) continue;
      const { box, clicks } = prompt;
      if (box) drawBox(context, [...toView(box[0], box[1]), ...toView(box[2], box[3])], item.color);
      const radius = item === objects.active ? 6 : 4;
      for (const { x, y, label } of clicks) drawPoint(context, ...toView(x, y), label, radius);
    }
  }
}

/** Behind the name of an object. */
export function noteOf(work, item, frame) {
  const here = work?.at(item.id, frame);
  if (!here) return item.prompts.size ? "not tracked" : "click on it";
  return here.score === null ? "out of sight" : here.score.toFixed(2);
}

/** The timeline in words. */
export function describe(work, items) {
  const frames = [...Array(work.frames).keys()];
  const words = items.map(({ id, name }) => {
    const known = frames.map((frame) => work.at(id, frame)).filter(Boolean);
    const away = known.filter(({ score }) => score === null).length;
    return `${name}: known on ${known.length} of ${frames.length} frames, out of sight on ${away}`;
  });
  return `Scores over the frames. ${words.join("; ")}`;
}

/** What a click or a box was answered with, and what may come next. */
export function answerOf(work, { id, name }, frame) {
  const here = work.at(id, frame);
  const score = here.score === null ? "not there, says the model" : `score ${here.score.toFixed(2)}`;
  const isCorrection = work.things.get(id).found.size > 1;
  const next = isCorrection ? "track again to carry it on (F, R, T)" : "mark more, or track (F, R, T)";
  return `${name} on frame ${frame + 1}: ${score}; ${next}.`;
}
