// Starts the page: session, readiness, tabs, theme, help.

import * as api from "./api.js";
import * as status from "./status.js";

const TABS = ["picture", "video", "camera"];
const POLL = 300; // ms, while the model gets ready
const PING = 5 * 60_000; // ms, while the page is open
const shown = (id) => document.getElementById(id);
const parts = {}; // of the tabs, by name
let current = null;

async function start() {
  setTheme(localStorage.getItem("theme"));
  listen();
  const info = await ready();
  await api.openSession();
  setInterval(() => api.json("POST", "/api/session/ping").catch(() => {}), PING); // a click will tell
  addEventListener("pagehide", () => api.closeSession());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  shown("model").textContent = info.model;
  shown("warming").hidden = true;
  for (const name of TABS) {
    const module = await import(`./${name}.js`);
    parts[name] = module.mount(shown(name), { api, info, status });
  }
  choose("picture");
  document.body.dataset.ready = "true";
}

/** Waits until the model is ready, and shows how far it is. */
async function ready() {
  for (;;) {
    let info;
    try {
      info = await api.json("GET", "/api/info");
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      await askToken();
      continue;
    }
    if (info.error) throw new Error(info.error);
    if (info.ready) return info;
    shown("warming").hidden = false;
    shown("warming-text").textContent = `Getting ${info.model} ready: ${info.doing} (${info.done} of ${info.total})`;
    shown("warming-bar").max = info.total;
    shown("warming-bar").value = info.done;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function askToken() {
  const form = shown("ask-token");
  form.hidden = false;
  shown("token").focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      api.setToken(shown("token").value);
      form.hidden = true;
      resolve();
    };
  });
}

function choose(name) {
  if (name === current || !parts[name]) return;
  if (current) parts[current].hide();
  current = name;
  for (const one of TABS) {
    const tab = shown(`${one}-tab`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    shown(one).hidden = one !== name;
  }
  status.clear();
  parts[name].show();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function listen() {
  TABS.forEach((name) => (shown(`${name}-tab`).onclick = () => choose(name)));
  shown("tabs").onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.stopPropagation(); // arrows also go through a video's frames
    choose(TABS[(TABS.indexOf(current) + step + TABS.length) % TABS.length]);
    shown(`${current}-tab`).focus();
  };
  shown("theme").onclick = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    setTheme(next);
  };
  shown("help-button").onclick = showHelp;
  addEventListener("keydown", (event) => {
    const isTyping = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName) && event.target.type !== "range";
    if (isTyping || shown("help").open) return;
    if (event.key === "Escape") status.clear();
    if (event.key === "?") showHelp();
    else if (event.altKey && "123".includes(event.key)) choose(TABS[Number(event.key) - 1]);
    else if (!parts[current]?.keydown?.(event)) return;
    event.preventDefault();
  });
  // A file dropped beside the stage must not replace the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
}

function showHelp() {
  const rows = [...(parts[current]?.help || []), ["?", "this list"], ["Alt 1, 2, 3", "picture, video, camera"]];
  shown("help-keys").replaceChildren(
    ...rows.flatMap(([keys, text]) => {
      const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
      term.append(...keys.split(", ").map((key) => Object.assign(document.createElement("kbd"), { textContent: key })));
      meaning.textContent = text;
      return [term, meaning];
    }),
  );
  shown("help").showModal();
}

start().catch((problem) => {
  shown("warming").hidden = true;
  status.error(problem);
});
