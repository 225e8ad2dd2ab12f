// Requests to the server: this tab's session and the token travel in headers, so that no address
// contains them and no other site can send them.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let session = null;
let token = readToken();

function readToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    sessionStorage.setItem("token", found); // for a reload
    history.replaceState(null, "", location.pathname); // out of sight, and out of screenshots
  }
  return found || sessionStorage.getItem("token");
}

export function setToken(text) {
  token = text.trim();
  sessionStorage.setItem("token", token);
}

function headers(more = {}) {
  const all = { ...more };
  if (session) all["X-Session"] = session;
  if (token) all["Authorization"] = `Bearer ${token}`;
  return all;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is it still running?");
  }
  if (!response.ok) {
    let message = `The server answered ${response.status}.`;
    try {
      message = (await response.json()).error || message;
    } catch { /* not JSON: a proxy in between */ }
    throw new ApiError(response.status, message);
  }
  return response;
}

/** POST, GET or DELETE with a JSON body; resolves to the JSON answer. */
export async function json(method, path, body = undefined, signal = undefined) {
  const options = { method, headers: headers(), signal };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  return (await request(path, options)).json();
}

/** POST whose answer comes in lines of JSON: each but the last goes to online(line); resolves to the last. */
export async function lines(path, body, online, signal) {
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body), signal };
  const { body: stream } = await request(path, options);
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const complete = (rest + (value ?? "")).split("\n");
    rest = complete.pop();
    for (const text of complete) {
      const line = JSON.parse(text);
      if (line.error) throw new ApiError(line.status, line.error);
      if (line.total === undefined) return line;
      online(line);
    }
    if (done) throw new ApiError(0, "The server closed the connection.");
  }
}

/** Sends a file as the body; resolves to the JSON answer. */
export async function upload(path, blob, name) {
  const named = { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(name) };
  return (await request(path, { method: "POST", headers: headers(named), body: blob })).json();
}

/** A file from the server: {blob, name}. With a body it is a POST. */
export async function blob(path, body = undefined) {
  const options = { method: body === undefined ? "GET" : "POST", headers: headers() };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await request(path, options);
  const found = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("Content-Disposition") || "");
  return { blob: await response.blob(), name: found ? decodeURIComponent(found[1]) : "download" };
}

/** Lets the browser store a file. */
export function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A websocket whose greeting was accepted. */
export async function socket(path) {
  await ensureSession();
  return new Promise((resolve, reject) => {
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
    const opened = new WebSocket(address);
    opened.binaryType = "arraybuffer";
    opened.onopen = () => opened.send(JSON.stringify({ session, token }));
    opened.onerror = opened.onclose = () => reject(new ApiError(0, "The server closed the connection."));
    opened.onmessage = (event) => {
      const answer = JSON.parse(event.data);
      opened.onmessage = opened.onerror = opened.onclose = null;
      if (answer.error) reject(new ApiError(400, answer.error));
      else resolve(opened);
    };
  });
}

export async function openSession() {
  session = (await json("POST", "/api/session")).session;
}

/** A new session if the server has forgotten this tab, which was silent for long. */
export async function ensureSession() {
  try {
    await json("POST", "/api/session/ping");
  } catch (problem) {
    if (problem.status !== 410) throw problem;
    await openSession();
  }
}

export function closeSession() {
  if (!session) return;
  fetch("/api/session", { method: "DELETE", headers: headers(), keepalive: true });
  session = null;
}
