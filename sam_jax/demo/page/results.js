// Panels of the picture tab: candidates of an ambiguous prompt, everything, files to take home.

import { element, panel, slider } from "./dom.js";
import { decodeMask, drawMask } from "./overlay.js";
import { maskOf, promptOf } from "./prompting.js";

const THUMB = 150; // pixels
const START = "Find everything";
const GOLDEN = 0.618034; // turns of the hue, which neighbours in a list are apart

/** Shown while the active object has more than one candidate: {node, update(), next()}. */
export function candidatesPanel(tab) {
  const grid = element("div", { className: "candidates", role: "group", "aria-label": "Candidates" });
  const node = panel("Which one is meant?", grid);
  node.hidden = true;
  let drawn = null;

  function choose(index) {
    tab.objects.update(tab.objects.active.id, { chosen: index });
  }

  function blank() {
    const [height, width] = tab.picture.size;
    const scale = THUMB / Math.max(width, height);
    return element("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  }

  function fill(canvas, item, one) {
    const context = canvas.getContext("2d");
    context.drawImage(tab.bitmap, 0, 0, canvas.width, canvas.height);
    drawMask(context, one.mask, item.color, canvas.width, canvas.height);
  }

  function update() {
    const item = tab.objects.active;
    const several = item?.candidates?.length > 1 ? item.candidates : null;
    node.hidden = !several;
    if (!several) return;
    if (drawn !== several) {
      drawn = several;
      const canvases = several.map(() => blank());
      grid.replaceChildren(...several.map((one, index) =>
        element("button", { onclick: () => choose(index), "aria-label": `Candidate ${index + 1}, score ${one.iou.toFixed(2)}` },
          canvases[index], element("span", { className: "number", textContent: one.iou.toFixed(2) }))));
      // After the mask itself is on the screen.
      requestAnimationFrame(() => setTimeout(() => drawn === several && several.forEach((one, index) => fill(canvases[index], item, one))));
    }
    [...grid.children].forEach((button, index) => button.setAttribute("aria-pressed", String(index === item.chosen)));
  }

  function next() {
    const item = tab.objects.active;
    if (!node.hidden) choose((item.chosen + 1) % item.candidates.length);
  }

  return { node, update, next };
}

/** The button Everything and what it depends on. */
export function everythingPanel(tab) {
  const points = slider("Points a side", { min: 4, max: 64, step: 4, value: 16, title: "Rows and columns of the grid of clicks" });
  const iou = slider("Least score", { min: 0, max: 1, step: 0.01, value: 0.5, title: "Masks that the model is less sure of are dropped" });
  const stability = slider("Least stability", { min: 0, max: 1, step: 0.01, value: 0.8, title: "Masks that depend on the threshold are dropped" });
  const overlap = slider("Most overlap", { min: 0, max: 1, step: 0.05, value: 0.7, title: "Of two masks whose boxes overlap more, the better one stays" });
  const region = slider("Smallest region", { min: 0, max: 500, step: 5, value: 0, title: "Smaller holes and islands are removed, in pixels" });
  const crops = slider("Layers of crops", { min: 0, max: 2, step: 1, value: 0, title: "Look again at parts of the picture" });
  const go = element("button", { className: "primary", textContent: START });
  let running = null; // what stops it
  go.onclick = () => {
    if (running) return running.abort();
    if (tab.picture) find();
    else tab.status.error("Open a picture first.");
  };

  async function find() {
    const asked = tab.picture;
    const body = {
      points_per_side: points.value,
      pred_iou_thresh: iou.value,
      stability_score_thresh: stability.value,
      box_nms_thresh: overlap.value,
      min_mask_region_area: region.value,
      crop_n_layers: crops.value,
    };
    running = new AbortController();
    go.textContent = "Stop";
    const { status } = tab;
    const step = ({ done, total }) => status.progress(done, total, `Everything: ${Math.round((100 * done) / total)} %`);
    const search = tab.opening.ask(({ picture }) =>
      tab.api.lines("/api/picture/everything", { picture, ...body }, step, running.signal));
    const answer = await status.during("Looking at everything…", search.catch((problem) => {
      const isWanted = asked === tab.picture && !tab.opening.isOpening;
      if (isWanted && problem.name !== "AbortError") throw problem;
    }));
    if (running.signal.aborted) status.say("Stopped.");
    running = null;
    go.textContent = START;
    if (answer && asked === tab.picture) show(answer);
  }

  function show({ found, notes }) {
    const kept = tab.objects.items.filter((item) => !item.found);
    const made = tab.objects.made(found.map((one, index) => ({
      clicks: [], box: null, paint: null, text: null, candidates: null, chosen: 0, last: null,
      found: { ...one, mask: decodeMask(one.mask) },
      color: hue(index),
    })));
    tab.objects.commit([...kept, ...made], null);
    const count = made.length === 1 ? "1 thing" : `${made.length} things`;
    const hint = made.length ? "" : " Lower the least score and stability.";
    tab.status.say(`Found ${count}.${hint} ${notes.join(" ")}`);
  }

  return element("details", { className: "panel" }, element("summary", { textContent: "Everything" }),
    element("div", { className: "stack" }, points.node, iou.node, stability.node, overlap.node, region.node, crops.node, go));
}

function hue(index) {
  const turn = (GOLDEN * index) % 1;
  const part = (n) => {
    const k = (n + turn * 6) % 6;
    return Math.round(255 * (1 - 0.75 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [part(5), part(3), part(1)];
}

/** Masks as files. */
export function exportPanel(tab) {
  async function take(kind) {
    const objects = tab.objects.items.filter((item) => maskOf(item)).map((item) => ({
      name: item.name,
      color: item.color,
      ...(item.found
        ? { rle: item.found.rle, iou: item.found.iou }
        : { prompt: promptOf(item), candidate: item.candidates?.[item.chosen]?.candidate ?? 0 }),
    }));
    if (!tab.picture || !objects.length) {
      tab.status.error("There is nothing to save: no objects are prompted yet. Click on something first.");
      return;
    }
    const file = await tab.status.during("Making the file…", tab.opening.ask(({ picture }) =>
      tab.api.blob("/api/picture/export", { picture, kind, objects })));
    if (!file) return;
    tab.api.save(file.blob, file.name);
    tab.status.say(`Saved ${file.name}.`);
  }
  const button = (kind, text, title) => element("button", { textContent: text, title, className: "grow", onclick: () => take(kind) });
  return panel("Save", element("div", { className: "row" },
    button("png", "PNG", "The masks: one PNG, or a zip with one for each object"),
    button("coco", "COCO", "COCO JSON with run-length codes"),
    button("overlay", "Overlay", "The picture with the masks drawn on it")));
}
