// What the pointer does, and words: of the tabs in which prompts are given at leisure.

import { element, panel, radios, slider } from "./dom.js";

/** Tools of a stage, the brush, and a mask from a file: {nodes, pick(tool), setBrush()}. */
export function pointerTools(stage, painting) {
  const brush = slider("Brush", { min: 1, max: 100, step: 1, value: 20, title: "In thousandths of the picture" });
  const setBrush = () => (stage.brush = (brush.value / 1000) * Math.max(...(stage.size || [1000])));
  brush.node.hidden = true;
  brush.node.classList.add("brush");
  brush.input.addEventListener("input", setBrush);
  const tool = radios("What the pointer does", [
    ["on", "+ Add", "Add: clicks are on the object, drags are boxes (A)"],
    ["off", "− Exclude", "Exclude: clicks are not part of it (X)"],
    ["brush", "Paint", "Paint a mask (P)"],
    ["eraser", "Erase", "Erase from the mask (E)"],
  ], (value) => {
    stage.tool = value;
    brush.node.hidden = value === "on" || value === "off";
    stage.draw();
  });
  const mask = element("button", { textContent: "Mask…", title: "Load a mask from a picture, bright inside", onclick: () => painting.choose() });
  return { nodes: [tool.node, brush.node, mask], pick: tool.pick, setBrush };
}

/** For models that take text: onfind(words). */
export function wordsPanel(onfind) {
  const input = element("input", { type: "text", maxLength: 200, placeholder: "such as: red cup", "aria-label": "What the object is called" });
  const form = element("form", { className: "row" }, input, element("button", { textContent: "Find", className: "primary" }));
  form.onsubmit = (event) => {
    event.preventDefault();
    if (input.value.trim()) onfind(input.value.trim());
  };
  return panel("In words", form);
}
