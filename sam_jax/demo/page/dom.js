// Elements in one line each.

/** element("button", {className, onclick, ariaLabel: ...}, ...children) */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "role" || key.startsWith("aria-") || key === "for" || key === "list") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

/** Files dropped on an element: onfile(file) with the first, onother() for what is none. */
export function takeDrops(target, onfile, onother) {
  target.addEventListener("dragover", () => target.classList.add("over"));
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    target.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) onfile(file);
    else onother();
  });
}

/** A titled box of the side. */
export function panel(title, ...children) {
  return element("div", { className: "panel stack" }, element("h2", { textContent: title }), ...children);
}

/** Buttons of which one is pressed: choices are [value, text, title]; returns {node, set(value)}. */
export function radios(label, choices, onchange) {
  const node = element("div", { role: "radiogroup", "aria-label": label });
  const buttons = choices.map(([value, text, title]) =>
    element("button", { textContent: text, title, role: "radio", value, "aria-label": title || text, onclick: () => pick(value) }));
  function set(value) {
    for (const button of buttons) {
      button.setAttribute("aria-checked", String(button.value === value));
      button.tabIndex = button.value === value ? 0 : -1;
    }
  }
  function pick(value) {
    set(value);
    onchange(value);
  }
  node.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    pick(next.value);
    event.preventDefault();
    event.stopPropagation();
  };
  node.append(...buttons);
  set(choices[0][0]);
  return { node, set, pick };
}

/** A labelled slider: {node, value}. */
export function slider(text, { min, max, step, value, title = "" }) {
  // Not <output>: a label would name it, and not the slider.
  const output = element("span", { className: "value", textContent: value });
  const input = element("input", { type: "range", min, max, step });
  input.value = value; // after the limits
  input.oninput = () => (output.textContent = input.value);
  const node = element("label", { className: "field", title }, element("span", {}, text, output), input);
  return { node, input, get value() { return Number(input.value); } };
}
