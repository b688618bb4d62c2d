// Addresses are relative, so that the dashboard also works below a path of a reverse proxy.
async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer.");
  }
  if (response.ok) return response;
  let text = null;
  try {
    text = (await response.json()).error;
  } catch {
    // The answer may come from a proxy and then is no JSON.
  }
  const error = new Error(text ? String(text) : `The server answered ${response.status}.`);
  error.status = response.status;
  throw error;
}

export async function getJson(path, signal) {
  return (await request(path, { signal })).json();
}

export async function post(path) {
  await request(path, { method: "POST" });
}

export function queryPath(id, action) {
  return `api/queries/${encodeURIComponent(id)}${action ? `/${action}` : ""}`;
}

const SILENCE_MS = 5000;
const GIVE_UP_MS = 15000;
const RETRY_MS = [1000, 2000, 4000, 8000];
const HIDDEN_MS = 60000;

/**
 * The stream of events: one EventSource at a time, opened again after an error or a silence.
 * The browser's own retry is not used: it ends for good after an answer that is not 200.
 */
export class Live {
  constructor({ onEvent, onStatus }) {
    this.onEvent = onEvent;
    this.onStatus = onStatus;
    this.source = null;
    this.search = "";
    this.failures = 0;
    this.heardAt = null;
    this.status = null;
    this.retry = null;
    this.missed = false;
    this.hiding = null;
    setInterval(() => this.watch(), 1000);
    document.addEventListener("visibilitychange", () => this.onVisibility());
  }

  open(search) {
    if (this.source && this.search === search) return;
    this.search = search;
    this.connect();
  }

  connect() {
    clearTimeout(this.retry);
    this.retry = null;
    this.source?.close();
    const source = new EventSource(`api/live${this.search}`);
    this.source = source;
    this.openedAt = performance.now();
    for (const name of ["overview", "tasks", "query"]) {
      source.addEventListener(name, (message) => this.receive(source, name, message.data));
    }
    source.addEventListener("error", () => source === this.source && this.fail());
  }

  receive(source, name, data) {
    if (source !== this.source) return;
    let value;
    try {
      value = JSON.parse(data);
    } catch {
      return;
    }
    const again = this.missed;
    this.missed = false;
    this.failures = 0;
    this.heardAt = performance.now();
    this.heardAtWall = Date.now();
    this.tell("live");
    this.onEvent(name, value, again);
  }

  fail() {
    this.source.close();
    this.source = null;
    this.missed = true;
    this.tell("gone");
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    this.retry = setTimeout(() => this.connect(), wait);
  }

  // A browser gives one server about six connections over HTTP/1.1: forgotten tabs must not use them up.
  onVisibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.pause(), HIDDEN_MS);
    else if (!this.source && this.retry === null) this.connect();
  }

  pause() {
    clearTimeout(this.retry);
    this.retry = null;
    this.source?.close();
    this.source = null;
    this.missed = true;
  }

  watch() {
    if (!this.source) return;
    const silent = performance.now() - Math.max(this.heardAt ?? 0, this.openedAt);
    if (silent > GIVE_UP_MS) this.fail();
    else if (silent > SILENCE_MS && this.status === "live") this.tell("silent");
  }

  tell(status) {
    if (status === this.status) return;
    this.status = status;
    this.onStatus(status, this.heardAtWall ?? null);
  }
}
