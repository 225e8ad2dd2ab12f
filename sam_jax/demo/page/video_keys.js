// Keys of the video tab.

const LEAP = 10; // frames, with Shift

export const HELP = [
  ["click", "what is on the object, on any frame"],
  ["Alt click, right click", "what is not part of it"],
  ["drag", "a box around it"],
  ["←, →", "frame by frame; ten with Shift"],
  ["Home, End", "first and last frame"],
  ["Space", "play and pause"],
  ["N", "a new object"],
  ["A, X, P, E", "tools: add, exclude, paint, erase"],
  ["Ctrl Z, Ctrl Y", "undo, redo"],
  ["R, T, F", "track backward, both ways, forward"],
  ["Esc", "stop tracking"],
  ["Tab", "to the frame: arrows, Enter, Delete and B then mark places"],
  ["O", "open a video"],
];

/** A key was pressed while a video is open; whether it means something. */
export function pressed(tab, event) {
  if (event.metaKey) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey) {
    const again = { z: event.shiftKey, y: true }[key];
    if (again !== undefined) tab.step(again);
    return again !== undefined;
  }
  const { tracking, frames } = tab.work;
  const isOnButton = event.target.tagName === "BUTTON";
  const leap = event.shiftKey ? LEAP : 1;
  const actions = {
    ArrowLeft: () => tab.leave(tab.frame - leap),
    ArrowRight: () => tab.leave(tab.frame + leap),
    Home: () => tab.leave(0),
    End: () => tab.leave(frames - 1),
    " ": isOnButton ? null : () => tab.play(),
    n: () => tab.newObject(),
    o: () => tab.opening.choose(),
    a: () => tab.tool.pick("on"),
    x: () => tab.tool.pick("off"),
    p: () => tab.tool.pick("brush"),
    e: () => tab.tool.pick("eraser"),
    f: () => tab.track("forward"),
    r: () => tab.track("backward"),
    t: () => tab.track("both"),
    Escape: tracking ? () => tracking.stop() : null,
  };
  if (!actions[key] || event.altKey) return false;
  actions[key]();
  return true;
}

/**
 * After a click with the mouse, arrows go through the frames; who came to the stage with Tab moves
 * the stage's cursor with them.
 */
export function listenOnStage(tab, element) {
  const { canvas } = tab.stage;
  let [tabbed, byKeys] = [false, false]; // :focus-visible also says yes where a script focused
  addEventListener("keydown", ({ key }) => (tabbed ||= key === "Tab"), true);
  addEventListener("pointerdown", () => (tabbed = byKeys = false), true);
  canvas.addEventListener("focus", () => (byKeys = tabbed));
  element.addEventListener("keydown", (event) => {
    const isOurs = ["ArrowLeft", "ArrowRight", " "].includes(event.key);
    if (byKeys || !isOurs || !tab.keydown(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
