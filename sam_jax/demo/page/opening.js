// Opening a picture: dropped, chosen, pasted, or a sample.

import { element, takeDrops } from "./dom.js";

export class Opening {
  constructor(tab, stage, objects) {
    this.tab = tab;
    this.stage = stage;
    this.objects = objects;
    this.isOpening = false;
    this.input = document.getElementById("picture-file");
    this.empty = document.getElementById("picture-empty");
    const { limits, samples } = tab.info;
    document.getElementById("picture-limits").textContent =
      `JPEG, PNG, WebP, BMP, GIF or TIFF, up to ${limits.picture >> 20} MB and ${Math.round(limits.pixels / 1e6)} megapixels. It stays on this server and is deleted with the tab.`;
    document.getElementById("picture-choose").onclick = () => this.choose();
    this.input.onchange = () => {
      if (this.input.files.length) this.file(this.input.files[0]);
      this.input.value = "";
    };
    document.getElementById("picture-samples").append(
      ...samples.filter((one) => one.kind === "picture").map((one) =>
        element("button", { textContent: one.name, onclick: () => this.sample(one.index) })),
    );
    takeDrops(stage.element, (file) => this.file(file), () =>
      tab.status.error("Drop a picture file here; links and text are not taken."));
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
      if (file && !document.getElementById("picture").hidden) this.file(file);
    });
  }

  choose() {
    this.input.click();
  }

  file(file) {
    const { api, info, status } = this.tab;
    if (file.size > info.limits.picture) {
      status.error(`${file.name} has ${(file.size / (1 << 20)).toFixed(1)} MB; at most ${info.limits.picture >> 20} MB are taken.`);
      return;
    }
    this.#open(`Opening ${file.name}…`, () => api.upload("/api/picture", file, file.name));
  }

  sample(index) {
    this.#open("Opening the sample…", () => this.tab.api.json("POST", "/api/picture/sample", { sample: index }));
  }

  /** ask(picture) with the open picture; once more if the server has forgotten it or this tab: what was
   * prompted is known here, so only the picture must be given again. */
  async ask(question) {
    const { picture } = this.tab;
    try {
      return await question(picture);
    } catch (problem) {
      const isLost = [409, 410].includes(problem.status) && !this.isOpening && this.tab.picture === picture;
      if (!isLost) throw problem;
    }
    this.again ??= this.#again().finally(() => (this.again = null));
    await this.again;
    return question(this.tab.picture);
  }

  async #again() {
    await this.tab.api.ensureSession();
    Object.assign(this.tab.picture, await this.send());
  }

  /** send(): gives the picture to the server. */
  async #open(text, send) {
    const { api, status } = this.tab;
    this.isOpening = true; // the server may have the next picture before it is here
    const opened = await status.during(text, (async () => {
      await api.ensureSession();
      const picture = await send();
      const { blob } = await api.blob(`/api/picture/${picture.picture}/shown`);
      return { picture, bitmap: await createImageBitmap(blob) };
    })());
    this.isOpening = false;
    if (!opened) return;
    const { picture, bitmap } = opened;
    this.send = send;
    this.tab.picture = picture;
    this.tab.bitmap = bitmap;
    this.empty.hidden = true;
    this.stage.show(bitmap, picture.size);
    this.objects.reset();
    const [height, width] = picture.size;
    status.say(`${picture.name}, ${width} × ${height}, read in ${picture.seconds.toFixed(2)} s. Click on something.`);
    this.stage.canvas.focus({ preventScroll: true });
  }
}
