// The video tab: opens a video, and ties the frame shown, the objects, tracking and files together.

import { element } from "./dom.js";
import { Objects } from "./objects.js";
import { Painting } from "./painting.js";
import { Stage } from "./stage.js";
import { pointerTools, wordsPanel } from "./tools.js";
import { Frames, Player } from "./video_frames.js";
import { HELP, listenOnStage, pressed } from "./video_keys.js";
import { Opening } from "./video_opening.js";
import { Timeline } from "./video_timeline.js";
import { answerOf, describe, noteOf, View } from "./video_view.js";
import { Work } from "./video_work.js";

const MB = 2 ** 20;
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
    this.view = new View();
    this.help = HELP;
    this.stage = new Stage(part("stage"), {
      onclick: (x, y, label) => this.#prompt((old) => ({ ...old, clicks: [...old.clicks, { x, y, label }] })),
      onbox: (box) => this.#prompt(() => ({ clicks: [], box })),
      onstroke: (points, done) => this.#stroke(points, done),
      paint: (...given) => {
        this.view.paint(...given, { work: this.work, objects: this.objects, frame: this.shown });
        this.painting.draw(given[0], ...given[2]);
      },
    }, "The frame");
    this.painting = new Painting(this.stage, status, {
      place: () => this.work,
      begin: () => this.view.maskOf(this.work, this.objects.active, this.shown),
      color: () => this.objects.active?.color || this.objects.colors[0],
      finish: ({ runs }) => this.#prompt(() => ({ clicks: [], box: null, mask: runs })),
    });
    this.timeline = new Timeline(part("timeline"), { onseek: (frame) => this.leave(frame) });
    this.objects = new Objects(part("objects"), {
      colors: info.colors,
      note: (item) => noteOf(this.work, item, this.frame),
      onchange: () => this.#objectsChanged(),
    });
    if (!info.tracks) {
      part("empty").textContent = `${info.model} has no memory to track with: start the server with a SAM 2 model.`;
      return;
    }
    this.opening = new Opening(this, (opened) => this.#opened(opened));
    this.#listenToTools();
    listenOnStage(this, part("stage"));
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
    return Boolean(this.work) && pressed(this, event);
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

  async #opened(opened) {
    this.player?.stop();
    const before = this.frames;
    this.work = null; // objects that go now are no wish of anybody's
    this.objects.reset();
    const work = new Work(this.api, opened, {
      onchange: () => this.work === work && this.#changed(),
      onrefused: (problem) => {
        if (this.work !== work) return false; // of a video that was closed
        this.status.error(problem);
        return this.objects.undo();
      },
    });
    this.work = work;
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
    if (this.shown !== null) before?.close(); // not while one of its frames is on the stage
    this.stage.canvas.focus({ preventScroll: true });
    const seconds = opened.fps ? `, ${(opened.frames / opened.fps).toFixed(1)} s` : "";
    this.status.say(`${opened.name}: ${opened.size[1]} × ${opened.size[0]}, ${opened.frames} frames${seconds}. Click on an object.`);
  }

  // Prompts

  #prompt(change) {
    if (this.work.tracking) return this.#wait();
    this.status.clear();
    this.player.stop();
    const frame = this.shown;
    const item = this.objects.active;
    const old = item?.prompts.get(frame) ?? { clicks: [], box: null };
    const prompt = change(old);
    const prompts = new Map(item?.prompts).set(frame, prompt);
    const { id, name } = item ? item : this.objects.add({ prompts });
    if (item) this.objects.update(id, { prompts });
    const { work } = this;
    work.settle().then(() => {
      const isAnswered = work.things.get(id)?.asked.get(frame) === prompt; // not refused, or overtaken
      if (isAnswered) this.status.say(answerOf(work, { id, name }, frame));
    });
  }

  #stroke(points, done) {
    if (this.work.tracking && !this.painting.bits) return this.#wait();
    this.player.stop();
    this.painting.stroke(points, done);
  }

  #find(text) {
    if (!this.work.tracking) this.status.say(`Looking for ${text} on this frame…`);
    this.#prompt(() => ({ clicks: [], box: null, text }));
  }

  #wait() {
    this.status.say("Tracking is under way: stop it first (Esc), then go on.");
  }

  newObject() {
    this.objects.choose(null);
    this.status.say("Click on another object, or draw a box around it.");
  }

  /** One step back, or forth again. */
  step(again) {
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

  // Drawing

  async #load() {
    while (this.shown !== this.frame) {
      const [frames, number] = [this.frames, this.frame];
      const step = this.shown !== null && number < this.shown ? -1 : 1;
      let bitmap;
      try {
        bitmap = await frames.get(number);
      } catch (problem) {
        if (frames === this.frames) return this.#stay(problem);
      }
      if (frames !== this.frames) continue; // another video was opened meanwhile
      frames.pinned = this.shown = number;
      this.stage.show(bitmap, this.work.size);
      this.tool.setBrush();
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
    if (!tracking) part("timeline").setAttribute("aria-label", describe(this.work, this.objects.items));
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

  // Files

  async #save(kind, text) {
    const objects = this.objects.items.map(({ id, name, color }) => ({ object: id, name, color }));
    const file = await this.status.during(text, this.api.blob("/api/video/export", { kind, objects }));
    if (!file) return;
    this.api.save(file.blob, file.name);
    this.status.say(`${file.name}: ${(file.blob.size / MB).toFixed(2)} MB.`);
  }

  play() {
    this.following = false;
    this.player.toggle(this.frame);
  }

  /** Somebody goes to a frame: what plays stops, and the tracking goes on without being watched. */
  leave(frame) {
    this.following = false;
    this.player.stop();
    this.seek(frame);
  }

  #listenToTools() {
    this.tool = pointerTools(this.stage, this.painting);
    if (this.info.text) part("side").prepend(wordsPanel((text) => this.#find(text)));
    const button = (textContent, title, onclick) => element("button", { textContent, title, onclick });
    this.undo = button("Undo", "Ctrl Z", () => this.step(false));
    this.redo = button("Redo", "Ctrl Y", () => this.step(true));
    this.clear = button("Clear frame", "Take back what was asked about this object on this frame", () => this.#clearFrame());
    const open = button("Open…", "Another video (O)", () => this.opening.choose());
    open.className = "end";
    part("tools").append(...this.tool.nodes, this.undo, this.redo, this.clear, open);
    part("new").onclick = () => this.newObject();
    part("play").onclick = () => this.play();
    part("before").onclick = () => this.leave(this.frame - 1);
    part("after").onclick = () => this.leave(this.frame + 1);
    part("slider").oninput = ({ target }) => this.leave(Number(target.value));
    part("stop").onclick = () => this.work.tracking?.stop();
    for (const button of root("[data-way]")) button.onclick = () => this.track(button.dataset.way);
    for (const button of root("[data-file]")) button.onclick = () => this.#save(button.dataset.file, `${button.textContent}: writing…`);
  }
}

const root = (selector) => document.getElementById("video").querySelectorAll(selector);
