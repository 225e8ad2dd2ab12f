// The line at the bottom: what goes on, and what went wrong. Both are read out by screen readers.

const line = document.getElementById("status");
const bar = document.getElementById("progress");
const alertBox = document.getElementById("alert");
const alertText = document.getElementById("alert-text");
document.getElementById("alert-close").onclick = () => clear();
let busy = 0;

/** What happened. */
export function say(text) {
  line.textContent = text;
}

/** What went wrong; stays until it is closed or something works. */
export function error(problem) {
  if (problem?.name === "AbortError") return;
  alertText.textContent = problem?.message ?? String(problem);
  alertBox.hidden = false;
  if (problem instanceof TypeError || problem instanceof ReferenceError) console.error(problem);
}

/** Takes the last error away. */
export function clear() {
  alertBox.hidden = true;
}

/** Shows that something takes time; errors are shown, and then it resolves to undefined. */
export async function during(text, promise) {
  busy += 1;
  say(text);
  bar.hidden = false;
  bar.removeAttribute("value");
  try {
    const result = await promise;
    clear();
    return result;
  } catch (problem) {
    say("");
    error(problem);
    return undefined;
  } finally {
    busy -= 1;
    if (!busy) bar.hidden = true;
  }
}

/** How far something is; done = total takes the bar away. */
export function progress(done, total, text) {
  say(text);
  bar.max = total;
  bar.value = done;
  bar.hidden = done >= total;
}
