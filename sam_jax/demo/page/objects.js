// The objects of a tab: a list with colours and names, one of them active, and their history.

const LONGEST = 200; // steps that can be undone

export class Objects {
  /**
   * element: takes the list.
   * colors: [[r, g, b], ...], in turn. onchange(): something is different: draw.
   * note(item): a short text behind the name, such as a score.
   */
  constructor(element, { colors, onchange, note = () => "" }) {
    this.colors = colors;
    this.onchange = onchange;
    this.note = note;
    this.list = document.createElement("ul");
    this.list.className = "objects";
    element.append(this.list);
    this.reset();
  }

  /** No objects, no history. */
  reset() {
    this.state = { items: [], active: null };
    this.past = [];
    this.future = [];
    this.last = 0; // id given last
    this.#changed();
  }

  get items() {
    return this.state.items;
  }

  get active() {
    return this.state.items.find((item) => item.id === this.state.active) || null;
  }

  /** A step that can be undone: new items, and which is active. */
  commit(items, active = this.state.active) {
    this.past.push(this.state);
    if (this.past.length > LONGEST) this.past.shift();
    this.future = [];
    this.state = { items, active };
    this.#changed();
  }

  /** A new object with these fields, active; returns it. */
  add(fields = {}) {
    const [item] = this.made([fields]);
    this.commit([...this.items, item], item.id);
    return item;
  }

  /** Objects with these fields, each with an id, a name and a colour; not in the list yet. */
  made(all) {
    const used = this.items.map((item) => item.color);
    const names = new Set(this.items.map((item) => item.name));
    let number = 0;
    return all.map((fields) => {
      const color = this.colors.find((c) => !used.includes(c)) || this.colors[this.last % this.colors.length];
      used.push(color);
      this.last += 1;
      do number += 1; while (names.has(`object ${number}`));
      return { id: this.last, name: `object ${number}`, color, ...fields };
    });
  }

  /** Changes fields of an object, as a step. */
  update(id, fields, active = id) {
    this.commit(this.items.map((item) => (item.id === id ? { ...item, ...fields } : item)), active);
  }

  /** Adds what was computed of `item`, unless it is another by now; not a step. */
  fill(item, fields) {
    const items = this.items.map((one) => (one === item ? { ...one, ...fields } : one));
    if (!this.items.includes(item)) return;
    this.state = { ...this.state, items };
    this.#changed();
  }

  /** Makes an object active, or none; not a step. */
  choose(id) {
    if (this.state.active === id) return;
    this.state = { ...this.state, active: id };
    this.#changed();
  }

  remove(id) {
    this.commit(this.items.filter((item) => item.id !== id), this.state.active === id ? null : this.state.active);
  }

  clear() {
    if (this.items.length) this.commit([], null);
  }

  /** One step back; false if there is none. */
  undo() {
    return this.#move(this.past, this.future);
  }

  redo() {
    return this.#move(this.future, this.past);
  }

  #move(from, to) {
    if (!from.length) return false;
    to.push(this.state);
    this.state = from.pop();
    this.#changed();
    return true;
  }

  /** Writes the notes again, for what changes without a step. */
  renote() {
    [...this.list.children].forEach((row, index) => (row.querySelector(".number").textContent = this.note(this.items[index])));
  }

  #changed() {
    this.#render();
    this.onchange();
  }

  #render() {
    const editing = document.activeElement;
    if (this.list.contains(editing) && editing.tagName === "INPUT") {
      this.stale = true; // not under somebody's hands
      return;
    }
    const focused = this.list.contains(editing) ? editing.dataset.key : null;
    this.list.replaceChildren(...this.items.map((item) => this.#row(item)));
    if (focused) this.list.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #row(item) {
    const row = document.createElement("li");
    row.className = item.id === this.state.active ? "active" : "";
    const choose = document.createElement("button");
    choose.className = "swatch";
    choose.style.backgroundColor = `rgb(${item.color.join()})`;
    choose.dataset.key = `choose-${item.id}`;
    choose.setAttribute("aria-label", `Choose ${item.name}`);
    choose.setAttribute("aria-pressed", String(item.id === this.state.active));
    choose.onclick = () => this.choose(item.id);
    const name = document.createElement("input");
    name.value = item.name;
    name.maxLength = 80;
    name.setAttribute("aria-label", "Name");
    name.onfocus = () => this.choose(item.id);
    name.onblur = () => {
      const text = name.value.trim() || item.name;
      const current = this.items.find((one) => one.id === item.id);
      if (current && current.name !== text) this.update(item.id, { name: text });
      else if (this.stale) this.#render();
      this.stale = false;
    };
    name.onkeydown = (event) => {
      if (event.key === "Enter") name.blur();
      event.stopPropagation();
    };
    const note = document.createElement("span");
    note.className = "quiet number";
    note.textContent = this.note(item);
    const remove = document.createElement("button");
    remove.className = "icon";
    remove.textContent = "×";
    remove.dataset.key = `remove-${item.id}`;
    remove.setAttribute("aria-label", `Delete ${item.name}`);
    remove.onclick = () => this.remove(item.id);
    row.append(choose, name, note, remove);
    return row;
  }
}
