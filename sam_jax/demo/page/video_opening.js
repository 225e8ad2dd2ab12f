// Opening a video: dropped, chosen, or a sample.

import { element, takeDrops } from "./dom.js";

const MB = 2 ** 20;
const part = (name) => document.getElementById(`video-${name}`);

export class Opening {
  // onopened(answer): the server has opened another video.
  constructor({ api, info, status }, onopened) {
    Object.assign(this, { api, info, status, onopened });
    this.isOpening = false;
    const { limits, samples } = info;
    part("limits").textContent =
      `mp4, mov, mkv or webm, up to ${limits.video / MB} MB and ${limits.frames} frames. It stays on this server and is deleted with the tab.`;
    part("samples").append(
      ...samples.filter((one) => one.kind === "video").map((one) =>
        element("button", { textContent: one.name, onclick: () => this.sample(one) })),
    );
    part("choose").onclick = () => this.choose();
    part("file").onchange = ({ target }) => {
      if (target.files.length) this.file(target.files[0]);
      target.value = "";
    };
    takeDrops(part("stage"), (file) => this.file(file), () =>
      status.error("Drop a video file here; links and text are not taken."));
  }

  choose() {
    part("file").click();
  }

  file(file) {
    const limit = this.info.limits.video;
    if (file.size > limit) {
      this.status.error(`${file.name} has ${Math.ceil(file.size / MB)} MB; at most ${limit / MB} are taken. Cut or shrink it first.`);
      return;
    }
    this.#open(file.name, () => this.api.upload("/api/video/upload", file, file.name));
  }

  sample({ index, name }) {
    this.#open(name, () => this.api.json("POST", "/api/video/sample", { sample: index }));
  }

  async #open(name, ask) {
    if (this.isOpening) return;
    this.isOpening = true;
    const opened = await this.status.during(`Opening ${name}…`, this.api.ensureSession().then(ask));
    this.isOpening = false;
    if (opened) await this.onopened(opened);
  }
}
