// The camera tab: a frame goes to the server, its masks come back, then the next one goes.

import { element, panel, radios } from "./dom.js";
import { Objects } from "./objects.js";
import { decodeMask, drawMask, drawPoint } from "./overlay.js";
import { Stage } from "./stage.js";

const MOST_OBJECTS = 4;
const WIDTH = 640; // of the frames that are sent
const QUALITY = 0.85;
const CLICK_SHOWN = 700; // ms

export function mount(root, { api, info, status }) {
  const video = element("video", { muted: true, playsInline: true });
  const grab = element("canvas");
  let socket = null; // while it runs
  let answers = []; // of the frame that is shown
  let clicks = []; // shown for a moment
  let times = [];
  let sent = null; // the frame whose answer is awaited
  let known = []; // numbers of objects that the server has
  let objects = null;

  const stageElement = element("div", { className: "stage" });
  const start = element("button", { className: "primary", textContent: "Start the camera", onclick: () => run().catch(fail) });
  const empty = element("div", { className: "empty" },
    element("p", {}, element("strong", { textContent: "Follow things live" })),
    element("p", { className: "quiet", textContent: "Frames go to this server and nowhere else; none is kept." }), start);
  stageElement.append(empty);
  const stage = new Stage(stageElement, { onclick: click, onbox: box, paint }, "The camera");
  const stop = element("button", { textContent: "Stop", hidden: true, className: "end", onclick: () => end() });
  const tool = radios("What a click means", [["on", "+ Add", "On the object (A)"], ["off", "− Exclude", "Not part of it (X)"]], (value) => (stage.tool = value));
  const clear = element("button", { textContent: "Clear", title: "Forget all objects", onclick: () => objects.clear() });
  const list = element("div");
  const speed = element("p", { className: "quiet number" });
  const fresh = element("button", { textContent: "New", title: "New object (N)", onclick: () => objects.choose(null) });
  objects = new Objects(list, { colors: info.colors, onchange: forget, note: (item) => noteOf(item) });
  root.append(element("div", { className: "work" },
    element("div", { className: "scene" }, element("div", { className: "toolbar" }, tool.node, clear, stop), stageElement),
    element("aside", { className: "side" },
      panel("Objects", element("p", { className: "quiet", textContent: `Click on up to ${MOST_OBJECTS} things in the picture; further clicks correct the chosen one.` }), list, element("div", { className: "row" }, fresh)),
      panel("Speed", speed))));
  if (!info.tracks) {
    start.disabled = true;
    empty.append(element("p", { textContent: `${info.model} segments pictures, but has no memory to track with: start the demo with a SAM 2 model.` }));
  }

  async function run() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("Browsers give the camera only to pages from localhost or over HTTPS: open this one so.");
    start.disabled = true;
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: WIDTH, facingMode: "environment" } });
      await video.play();
      socket = await api.socket("/api/camera");
    } catch (problem) {
      end();
      throw problem;
    } finally {
      start.disabled = false;
    }
    objects.reset();
    empty.hidden = true;
    stop.hidden = false;
    socket.onmessage = (event) => receive(JSON.parse(event.data));
    socket.onclose = () => {
      if (socket) fail(new Error("The server closed the camera's connection: start the camera again."));
    };
    status.say("The camera runs. Click on something.");
    send();
  }

  /** The frame now, kept to be shown when its answer comes. */
  async function send() {
    if (!socket) return;
    grab.width = WIDTH;
    grab.height = Math.round((WIDTH * video.videoHeight) / video.videoWidth) || 1;
    grab.getContext("2d").drawImage(video, 0, 0, grab.width, grab.height);
    const blob = await new Promise((resolve) => grab.toBlob(resolve, "image/jpeg", QUALITY));
    const frame = await createImageBitmap(grab);
    if (!socket || !blob) return;
    sent = frame;
    times.push(performance.now());
    socket.send(await blob.arrayBuffer());
  }
  function receive(answer) {
    if (answer.done) return; // a command
    if (answer.error) status.error(answer.error);
    if (!answer.objects && !sent) return;
    if (sent) stage.show(sent);
    sent = null;
    if (!answers.length && answer.objects?.length) status.say("Following.");
    answers = (answer.objects || []).map((one) => ({ ...one, mask: decodeMask(one.mask) }));
    objects.renote();
    stage.draw();
    times = times.slice(-20);
    if (times.length > 1) {
      const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
      speed.textContent = `${rate.toFixed(1)} frames a second`;
    }
    send();
  }

  function click(x, y, label) {
    const number = target(label);
    if (!number) return;
    clicks.push({ x, y, label, until: performance.now() + CLICK_SHOWN });
    socket.send(JSON.stringify({ add: number, clicks: [{ x, y, label }] }));
  }

  function box(corners) {
    const number = target(1);
    if (number) socket.send(JSON.stringify({ add: number, box: corners }));
  }

  /** The number on the server of the object that is meant; a new one unless one is chosen. */
  function target(label) {
    if (!socket) return null;
    if (objects.active) return objects.active.slot;
    if (!label) {
      status.error("Click on an object first; then exclude what is not part of it.");
      return null;
    }
    const slot = [1, 2, 3, 4].find((one) => !objects.items.some((item) => item.slot === one));
    if (!slot) {
      status.error(`${MOST_OBJECTS} objects are as many as the camera follows: delete one.`);
      return null;
    }
    if (!objects.items.length) status.say("Getting ready to follow; the first time compiles…");
    return objects.add({ slot }).slot;
  }

  /** Tells the server what was deleted. */
  function forget() {
    const slots = objects?.items.map((item) => item.slot) || [];
    for (const slot of known) if (socket && !slots.includes(slot)) socket.send(JSON.stringify({ remove: slot }));
    known = slots;
  }

  function noteOf(item) {
    const answer = answers.find((one) => one.id === item.slot);
    return answer ? (answer.there ? answer.iou.toFixed(2) : "away") : "";
  }

  function paint(context, toView, [width, height]) {
    for (const item of objects.items) {
      const answer = answers.find((one) => one.id === item.slot);
      if (answer) drawMask(context, answer.mask, item.color, width, height);
    }
    clicks = clicks.filter((one) => one.until > performance.now());
    for (const { x, y, label } of clicks) drawPoint(context, ...toView(x, y), label);
  }

  function end() {
    const open = socket;
    socket = null;
    open?.close();
    for (const track of video.srcObject?.getTracks() || []) track.stop();
    video.srcObject = null;
    answers = [];
    known = [];
    objects.reset();
    stage.canvas.hidden = true;
    empty.hidden = false;
    stop.hidden = true;
    speed.textContent = "";
  }

  function fail(problem) {
    end();
    const texts = { NotAllowedError: "The browser was told not to give the camera to this page.", NotFoundError: "This device has no camera.", NotReadableError: "The camera is in use by another program." };
    status.error(texts[problem.name] || problem);
  }

  function keydown(event) {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (key === "a") tool.pick("on");
    else if (key === "x") tool.pick("off");
    else if (key === "n") objects.choose(null);
    else return false;
    return true;
  }

  return {
    show: () => stage.draw(),
    hide: () => { if (socket) end(); },
    keydown,
    help: [["click", "follow this, or correct the chosen object"], ["Alt click, right click", "what is not part of it"], ["drag", "a box"], ["N", "a new object"], ["A, X", "tools: add, exclude"]],
  };
}
