// The picture tab: what is shown, what a pointer or a key does, and what its panels hold.

import { element, panel } from "./dom.js";
import { Objects } from "./objects.js";
import { drawBox, drawMask, drawPoint } from "./overlay.js";
import { Opening } from "./opening.js";
import { Painting } from "./painting.js";
import { maskOf, Prompting, startOf } from "./prompting.js";
import { candidatesPanel, everythingPanel, exportPanel } from "./results.js";
import { Stage } from "./stage.js";
import { pointerTools, wordsPanel } from "./tools.js";

const HELP = [
  ["click", "what is on the object"],
  ["Alt click, right click", "what is not part of it"],
  ["drag", "a box around it"],
  ["arrows, Enter, Delete", "the same by keyboard, on the picture: move, mark, exclude"],
  ["B", "first and second corner of a box at the keyboard's cursor"],
  ["C", "the next candidate of an ambiguous click"],
  ["N", "a new object"],
  ["A, X, P, E", "tools: add, exclude, paint, erase"],
  ["Ctrl Z, Ctrl Y", "undo, redo"],
  ["O", "open a picture"],
];
const EMPTY = { clicks: [], box: null, paint: null, text: null, start: null, candidates: null, chosen: 0, found: null, last: null };

export function mount(root, { api, info, status }) {
  const tab = { picture: null, info, api, status };
  const stage = new Stage(document.getElementById("picture-stage"), {
    onclick: (x, y, label, at) => click(x, y, label, at),
    onbox: (box, at) => change({ box: box.map((v) => Math.round(v * 100) / 100) }, at),
    onhover: (x, y) => prompting.hover(x, y),
    onstroke: (points, done) => painting.stroke(points, done),
    paint,
  });
  const list = element("div");
  const objects = new Objects(list, { colors: info.colors, onchange: () => update(), note });
  const prompting = new Prompting(tab, stage, objects);
  const painting = new Painting(stage, status, {
    place: () => tab.picture,
    begin: () => (objects.active && !objects.active.found ? objects.active.paint || maskOf(objects.active) : null),
    color: () => objects.active?.color || objects.colors[0],
    finish: (paint) => change({ paint, clicks: [], box: null, text: null }, performance.now()),
  });
  const opening = new Opening(tab, stage, objects);
  Object.assign(tab, { objects, opening });

  const side = document.getElementById("picture-side");
  const candidates = candidatesPanel(tab);
  const fresh = element("button", { textContent: "New", title: "New object (N)", onclick: newObject });
  const nothing = element("p", { className: "quiet" });
  side.append(
    ...(info.text ? [wordsPanel((text) => change({ text }, performance.now()))] : []),
    candidates.node,
    panel("Objects", nothing, list, element("div", { className: "row" }, fresh)),
    exportPanel(tab),
    everythingPanel(tab),
  );
  const tools = toolbar();
  update();

  function toolbar() {
    const tool = pointerTools(stage, painting);
    const undo = element("button", { textContent: "Undo", title: "Ctrl Z", onclick: () => objects.undo() });
    const redo = element("button", { textContent: "Redo", title: "Ctrl Y", onclick: () => objects.redo() });
    const clear = element("button", { textContent: "Clear", title: "Delete all objects", onclick: () => objects.clear() });
    const open = element("button", { textContent: "Open…", title: "Another picture (O)", className: "end", onclick: () => opening.choose() });
    const hover = element("button", { textContent: "Preview", title: "Show what a click would give, while the pointer moves", onclick: () => setHover(!prompting.previews) });
    function setHover(on) {
      prompting.previews = on;
      hover.setAttribute("aria-pressed", String(on));
      if (!on) prompting.hover(null);
    }
    setHover(prompting.isFast);
    const bar = document.getElementById("picture-tools");
    bar.append(...tool.nodes, hover, undo, redo, clear, open);
    return { tool, undo, redo, clear, bar };
  }

  function click(x, y, label, at) {
    const clicks = objects.active?.clicks || [];
    if (clicks.length >= 28) return status.error("28 clicks are as many as one object takes: undo some, or begin a new object (N).");
    const place = { x: Math.round(x * 100) / 100, y: Math.round(y * 100) / 100, label };
    change({ clicks: [...clicks, place], start: startOf(objects.active) }, at);
  }

  /** Prompts of the active object, or of a new one; `at` is when it was asked. */
  function change(fields, at) {
    if (!tab.picture) return;
    prompting.hover(null);
    const asked = { start: null, ...fields, candidates: null, chosen: 0, failed: false };
    const active = objects.active;
    prompting.askedAt = at;
    if (active && !active.found) objects.update(active.id, { ...asked, last: maskOf(active) });
    else objects.add({ ...EMPTY, ...asked });
  }

  function newObject() {
    objects.choose(null);
    stage.canvas.focus({ preventScroll: true });
    status.say("The next click begins a new object.");
  }

  function note(item) {
    if (item.found) return item.found.iou.toFixed(2);
    const chosen = item.candidates?.[item.chosen];
    return chosen ? chosen.iou.toFixed(2) : "";
  }

  function update() {
    if (!tab.objects) return; // while it is built
    const { items } = objects;
    nothing.hidden = items.length > 0;
    nothing.textContent = tab.picture ? "Click on something in the picture." : "Open a picture first.";
    fresh.disabled = !objects.active;
    tools.undo.disabled = !objects.past.length;
    tools.redo.disabled = !objects.future.length;
    tools.clear.disabled = !items.length;
    tools.bar.hidden = !tab.picture;
    tools.tool.setBrush();
    candidates.update();
    prompting.refresh();
    stage.draw();
  }

  function paint(context, toView, [width, height]) {
    const ghost = prompting.ghost;
    const ordered = [...objects.items].sort((a, b) => (b.found?.mask.area || 0) - (a.found?.mask.area || 0));
    for (const item of ordered) {
      const mask = maskOf(item);
      const isDim = objects.active && item !== objects.active;
      if (mask) drawMask(context, mask, item.color, width, height, isDim ? 0.6 : 1);
    }
    if (ghost) drawMask(context, ghost, prompting.nextColor(), width, height, 0.5);
    painting.draw(context, width, height);
    for (const item of objects.items) {
      if (item.box) drawBox(context, [...toView(item.box[0], item.box[1]), ...toView(item.box[2], item.box[3])], item.color);
    }
    for (const { x, y, label } of objects.active?.clicks || []) drawPoint(context, ...toView(x, y), label);
  }

  function keydown(event) {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "z") return event.shiftKey ? objects.redo() || true : objects.undo() || true;
      if (key === "y") return objects.redo() || true;
      return false;
    }
    if (event.altKey) return false;
    const tool = { a: "on", x: "off", p: "brush", e: "eraser" }[key];
    if (tool) tools.tool.pick(tool);
    else if (key === "n") newObject();
    else if (key === "c") candidates.next();
    else if (key === "o") opening.choose();
    else if (key === "escape") stage.cancel();
    else return false;
    return true;
  }

  return { show: () => stage.draw(), hide: () => prompting.hover(null), keydown, help: HELP };
}

