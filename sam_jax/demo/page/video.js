// The video tab: opens a video, and ties the frame shown, the objects, tracking and files together.

import { element, radios } from "./dom.js";
import { Objects } from "./objects.js";
import { decodeMask, drawBox, drawMask, drawPoint } from "./overlay.js";
import { Stage } from "./stage.js";
import { Frames, Player } from "./video_frames.js";
import { Timeline } from "./video_timeline.js";
import { Work } from "./video_work.js";

const MB = 2 ** 20;
const LEAP = 10; // frames, with Shift
const WAYS = { backward: "Tracking backward", both: "Tracking both ways", forward: "Tracking forward" };
const part = (name) => document.getElementById(`video-${name}`);

export function mount(root, context) {
  return new VideoTab(root, context);
}

class VideoTab {
  constructor(root, { api, info, status }) {
    Object.assign(this, { api, info, status });
    this.work = this.frames = this.player = null;
    this.frame = 0; // wanted
    this.shown = null; // number of the one on the stage
    this.masks = new Map(); // of the frame shown, decoded
    this.help = HELP;
    this.stage = new Stage(part("stage"), {
      onclick: (x, y, label) => this.#prompt((old) => ({ ...old, clicks: [...old.clicks, { x, y, label }] })),
      onbox: (box) => this.#prompt(() => ({ clicks: [], box })),
      paint: (...view) => this.#paint(...view),
    }, "The frame");
    this.timeline = new Timeline(part("timeline"), { onseek: (frame) => this.#leave(frame) });
    this.objects = new Objects(part("objects"), {
      colors: info.colors,
      note: (item) => this.#note(item),
      onchange: () => this.#objectsChanged(),
    });
    if (!info.tracks) {
      part("empty").textContent = `${info.model} has no memory to track with: start the server with a SAM 2 model.`;
      return;
    }
    this.#listen();
  }

  show() {
    this.stage.draw();
    this.timeline.draw();
  }

  hide() {
    this.player?.stop();
  }

  /** Shows a frame; the last one asked for wins. Resolves when it is there. */
  seek(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.work.frames - 1);
    this.#drawFilm();
    this.loading ??= this.#load().finally(() => (this.loading = null));
    return this.loading;
  }

  keydown(event) {
    if (!this.work || event.metaKey) return false;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey) {
      const again = { z: event.shiftKey, y: true }[key];
      if (again !== undefined) this.#undo(again);
      return again !== undefined;
    }
    const onButton = event.target.tagName === "BUTTON";
    const leap = event.shiftKey ? LEAP : 1;
    const actions = {
      ArrowLeft: () => this.#leave(this.frame - leap),
      ArrowRight: () => this.#leave(this.frame + leap),
      Home: () => this.#leave(0),
      End: () => this.#leave(this.work.frames - 1),
      " ": onButton ? null : () => this.#play(),
      n: () => this.#newObject(),
      o: () => part("file").click(),
      a: () => this.tool.pick("on"),
      x: () => this.tool.pick("off"),
      f: () => this.track("forward"),
      r: () => this.track("backward"),
      t: () => this.track("both"),
      Escape: this.work.tracking ? () => this.work.tracking.stop() : null,
    };
    if (!actions[key] || event.altKey) return false;
    actions[key]();
    return true;
  }

  async track(direction) {
    if (!this.work || this.work.tracking) return;
    this.player.stop();
    this.direction = direction;
    this.following = true;
    const started = performance.now();
    let count = 0;
    try {
      const ended = await this.work.track(this.frame, direction, (frame) => {
        count += 1;
        if (this.following) this.seek(frame);
      });
      const rate = (count / ((performance.now() - started) / 1000)).toFixed(1);
      this.status.say(`${ended === "stopped" ? "Stopped after" : "Tracked"} ${count} frames, ${rate} frames/s.`);
      this.status.clear();
    } catch (problem) {
      this.status.error(problem);
    }
  }

  // Opening

  async #open(name, promise) {
    if (this.opening) return;
    this.opening = true;
    const opened = await this.status.during(`Opening ${name}…`, promise);
    this.opening = false;
    if (!opened) return;
    this.player?.stop();
    this.frames?.close();
    this.work = null; // objects that go now are no wish of anybody's
    this.objects.reset();
    this.work = new Work(this.api, opened, {
      onchange: () => this.#changed(),
      onrefused: (problem) => {
        this.status.error(problem);
        return this.objects.undo();
      },
    });
    this.frames = new Frames((number) => this.api.blob(`/api/video/frame/${number}`).then(({ blob }) => blob), opened.frames);
    this.player = new Player({
      count: opened.frames,
      fps: opened.fps,
      show: (number) => this.seek(number),
      onchange: () => this.#drawFilm(),
    });
    this.shown = null;
    part("slider").max = opened.frames - 1;
    part("empty").hidden = true;
    for (const name of ["tools", "film", "side"]) part(name).hidden = false;
    this.#changed();
    await this.seek(0);
    this.stage.canvas.focus({ preventScroll: true });
    const seconds = opened.fps ? `, ${(opened.frames / opened.fps).toFixed(1)} s` : "";
    this.status.say(`${opened.name}: ${opened.size[1]} × ${opened.size[0]}, ${opened.frames} frames${seconds}. Click on an object.`);
  }

  #openFile(file) {
    const limit = this.info.limits.video;
    if (file.size > limit) {
      this.status.error(`${file.name} has ${Math.ceil(file.size / MB)} MB; at most ${limit / MB} are taken. Cut or shrink it first.`);
      return;
    }
    this.#open(file.name, this.api.upload("/api/video/upload", file, file.name));
  }

  // Prompts

  #prompt(change) {
    if (this.work.tracking) {
      this.status.say("Tracking is under way: stop it first (Esc), then click.");
      return;
    }
    this.player.stop();
    const frame = this.shown;
    const item = this.objects.active;
    const old = item?.prompts.get(frame) ?? { clicks: [], box: null };
    const prompts = new Map(item?.prompts).set(frame, change(old));
    const { id, name } = item ? item : this.objects.add({ prompts });
    if (item) this.objects.update(id, { prompts });
    this.work.settle().then(() => this.#answered(id, name, frame));
  }

  #answered(id, name, frame) {
    const here = this.work.at(id, frame);
    if (!here) return; // refused, or taken back
    const score = here.score === null ? "not there, says the model" : `score ${here.score.toFixed(2)}`;
    const isCorrection = this.work.things.get(id).found.size > 1;
    const next = isCorrection ? "track again to carry it on (F, R, T)" : "mark more, or track (F, R, T)";
    this.status.say(`${name} on frame ${frame + 1}: ${score}; ${next}.`);
  }

  #newObject() {
    this.objects.choose(null);
    this.status.say("Click on another object, or draw a box around it.");
  }

  #undo(again) {
    const happened = again ? this.objects.redo() : this.objects.undo();
    if (!happened) this.status.say(again ? "Nothing to do again." : "Nothing to undo.");
  }

  #clearFrame() {
    const item = this.objects.active;
    if (!item?.prompts.has(this.frame)) return;
    const prompts = new Map(item.prompts);
    prompts.delete(this.frame);
    this.objects.update(item.id, { prompts });
  }

  #objectsChanged() {
    if (!this.objects || !this.work) return; // while they are made
    this.work.want(new Map(this.objects.items.map((item) => [item.id, item.prompts])));
    this.#changed();
  }

  #note(item) {
    const here = this.work?.at(item.id, this.frame);
    if (!here) return item.prompts.size ? "not tracked" : "click on it";
    return here.score === null ? "out of sight" : here.score.toFixed(2);
  }

  // Drawing

  async #load() {
    while (this.shown !== this.frame) {
      const [frames, number] = [this.frames, this.frame];
      const step = this.shown !== null && number < this.shown ? -1 : 1;
      let bitmap;
      try {
        bitmap = await frames.get(number);
      } catch (problem) {
        if (frames === this.frames) this.#stay(problem);
        return;
      }
      if (frames !== this.frames) return; // another video
      frames.pinned = this.shown = number;
      this.stage.show(bitmap, this.work.size);
      frames.ahead(number, step);
    }
  }

  // A frame did not come.
  #stay(problem) {
    this.status.error(problem);
    this.player.stop();
    this.frame = this.shown ?? 0;
    this.#drawFilm();
  }

  #paint(context, toView, [width, height]) {
    const decoded = new Map();
    for (const item of this.objects.items) {
      const here = this.work.at(item.id, this.shown);
      if (!here) continue;
      const mask = this.masks.get(here.mask) ?? decodeMask(here.mask);
      decoded.set(here.mask, mask);
      drawMask(context, mask, item.color, width, height, here.pale ? 0.55 : 1);
    }
    this.masks = decoded;
    for (const item of this.objects.items) {
      const prompt = item.prompts.get(this.shown);
      if (!prompt) continue;
      if (prompt.box) drawBox(context, [...toView(...prompt.box.slice(0, 2)), ...toView(...prompt.box.slice(2))], item.color);
      const radius = item === this.objects.active ? 6 : 4;
      for (const { x, y, label } of prompt.clicks) drawPoint(context, ...toView(x, y), label, radius);
    }
  }

  #changed() {
    const { tracking } = this.work;
    const nothing = this.objects.items.every((item) => !item.prompts.size);
    part("track-buttons").hidden = Boolean(tracking);
    part("track-running").hidden = !tracking;
    if (tracking) {
      const { done, total } = tracking;
      part("track-text").textContent = `${WAYS[this.direction]}${total ? `: ${done} of ${total}` : "…"}`;
      part("track-bar").max = total || 1;
      if (total) part("track-bar").value = done;
      else part("track-bar").removeAttribute("value");
    }
    for (const button of root("[data-way], [data-file]")) button.disabled = nothing || Boolean(tracking);
    part("hint").hidden = !nothing;
    this.undo.disabled = !this.objects.past.length;
    this.redo.disabled = !this.objects.future.length;
    part("new").disabled = !this.objects.active;
    if (!tracking) this.#describe();
    this.#drawFilm();
    this.stage.draw();
  }

  #drawFilm() {
    if (!this.work) return;
    const { frames: count } = this.work;
    part("slider").value = this.frame;
    part("slider").setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${count}`);
    part("number").textContent = `${this.frame + 1} / ${count}`;
    part("play").textContent = this.player.playing ? "❚❚" : "▶";
    part("play").setAttribute("aria-label", this.player.playing ? "Pause" : "Play");
    this.clear.disabled = !this.objects.active?.prompts.has(this.frame);
    this.objects.renote();
    const rows = this.objects.items.map((item) => ({
      color: `rgb(${item.color.join()})`,
      prompted: item.prompts.keys(),
      at: (frame) => this.work.at(item.id, frame),
    }));
    this.timeline.show({ count, rows, frame: this.frame });
  }

  // The timeline in words.
  #describe() {
    const frames = [...Array(this.work.frames).keys()];
    const words = this.objects.items.map(({ id, name }) => {
      const known = frames.map((frame) => this.work.at(id, frame)).filter(Boolean);
      const away = known.filter(({ score }) => score === null).length;
      return `${name}: known on ${known.length} of ${frames.length} frames, out of sight on ${away}`;
    });
    part("timeline").setAttribute("aria-label", `Scores over the frames. ${words.join("; ")}`);
  }

  // Files

  async #save(kind, text) {
    const objects = this.objects.items.map(({ id, name, color }) => ({ object: id, name, color }));
    const file = await this.status.during(text, this.api.blob("/api/video/export", { kind, objects }));
    if (!file) return;
    this.api.save(file.blob, file.name);
    this.status.say(`${file.name}: ${(file.blob.size / MB).toFixed(2)} MB.`);
  }

  #play() {
    this.following = false;
    this.player.toggle(this.frame);
  }

  // Somebody goes to a frame: what plays stops, and the tracking goes on without being watched.
  #leave(frame) {
    this.following = false;
    this.player.stop();
    this.seek(frame);
  }

  #listen() {
    const { limits, samples } = this.info;
    part("limits").textContent = `mp4, mov, mkv or webm, up to ${limits.video / MB} MB and ${limits.frames} frames. It stays on this server and is deleted with the tab.`;
    for (const { index, name, kind } of samples) {
      if (kind !== "video") continue;
      const button = Object.assign(document.createElement("button"), { textContent: name });
      button.onclick = () => this.#open(name, this.api.json("POST", "/api/video/sample", { sample: index }));
      part("samples").append(button);
    }
    part("choose").onclick = () => part("file").click();
    part("file").onchange = ({ target }) => {
      if (target.files[0]) this.#openFile(target.files[0]);
      target.value = "";
    };
    const stage = part("stage");
    stage.ondragover = () => stage.classList.add("over");
    stage.ondragleave = () => stage.classList.remove("over");
    stage.ondrop = (event) => {
      stage.classList.remove("over");
      if (event.dataTransfer.files[0]) this.#openFile(event.dataTransfer.files[0]);
    };
    this.#listenToTools();
    this.#listenToStageKeys(stage);
  }

  #listenToTools() {
    this.tool = radios("What the pointer does", [
      ["on", "+ Add", "Add: clicks are on the object, drags are boxes (A)"],
      ["off", "− Exclude", "Exclude: clicks are not part of it (X)"],
    ], (tool) => (this.stage.tool = tool));
    const button = (textContent, title, onclick) => element("button", { textContent, title, onclick });
    this.undo = button("Undo", "Ctrl Z", () => this.#undo(false));
    this.redo = button("Redo", "Ctrl Y", () => this.#undo(true));
    this.clear = button("Clear frame", "Take back what was asked about this object on this frame", () => this.#clearFrame());
    const open = button("Open…", "Another video (O)", () => part("file").click());
    open.className = "end";
    part("tools").append(this.tool.node, this.undo, this.redo, this.clear, open);
    part("new").onclick = () => this.#newObject();
    part("play").onclick = () => this.#play();
    part("before").onclick = () => this.#leave(this.frame - 1);
    part("after").onclick = () => this.#leave(this.frame + 1);
    part("slider").oninput = ({ target }) => this.#leave(Number(target.value));
    part("stop").onclick = () => this.work.tracking?.stop();
    for (const button of root("[data-way]")) button.onclick = () => this.track(button.dataset.way);
    for (const button of root("[data-file]")) button.onclick = () => this.#save(button.dataset.file, `${button.textContent}: writing…`);
  }

  // After a click with the mouse, arrows go through the frames; who came to the stage by keyboard
  // moves the stage's cursor with them.
  #listenToStageKeys(stage) {
    const { canvas } = this.stage;
    let [tabbed, byKeys] = [false, false]; // :focus-visible also says yes where a script focused
    addEventListener("keydown", ({ key }) => (tabbed ||= key === "Tab"), true);
    addEventListener("pointerdown", () => (tabbed = byKeys = false), true);
    canvas.addEventListener("focus", () => (byKeys = tabbed));
    stage.addEventListener("keydown", (event) => {
      const isOurs = ["ArrowLeft", "ArrowRight", " "].includes(event.key);
      if (byKeys || !isOurs || !this.keydown(event)) return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
  }
}

const root = (selector) => document.getElementById("video").querySelectorAll(selector);

const HELP = [
  ["click", "what is on the object, on any frame"],
  ["Alt click, right click", "what is not part of it"],
  ["drag", "a box around it"],
  ["←, →", "frame by frame; ten with Shift"],
  ["Home, End", "first and last frame"],
  ["Space", "play and pause"],
  ["N", "a new object"],
  ["A, X", "tools: add, exclude"],
  ["Ctrl Z, Ctrl Y", "undo, redo"],
  ["R, T, F", "track backward, both ways, forward"],
  ["Esc", "stop tracking"],
  ["Tab", "to the frame: arrows, Enter, Delete and B then mark places"],
  ["O", "open a video"],
];
