// The video tab.

export function mount(root) {
  root.replaceChildren(Object.assign(document.createElement("p"), { className: "notice", textContent: "Not here yet." }));
  return { show() {}, hide() {} };
}
