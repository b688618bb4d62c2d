export const UNKNOWN = "–";

export function known(value) {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

/** 1.2 GB, with GB = 1024^3. */
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1023.5 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 99.95 ? 0 : 1;
  return `${value < 0 ? "−" : ""}${size.toFixed(digits)} ${units[unit]}`;
}

export function rate(value) {
  return known(value) ? `${bytes(value)}/s` : UNKNOWN;
}

export function duration(ms) {
  if (!known(ms)) return UNKNOWN;
  if (ms < 0) return "0 ms";
  if (ms > 0 && ms < 9.95) return `${ms < 0.1 ? "<0.1" : trimmed(ms.toFixed(1))} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A point in time says how long ago in whole steps, so that a text does not flicker. */
export function ago(ms) {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1000) return "now";
  if (ms < 60000) return `${Math.floor(ms / 1000)} s ago`;
  return `${duration(Math.floor(ms / 1000) * 1000)} ago`;
}

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en-GB") : UNKNOWN;
}

/** 32.0 M where the width of a full count does not fit. */
export function shortCount(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["", " k", " M", " G", " T"];
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 9999.5 || (unit > 0 && size >= 999.5)) {
    if (unit === units.length - 1) break;
    size /= 1000;
    unit += 1;
  }
  const sign = value < 0 ? "−" : "";
  return unit === 0 ? sign + Math.round(size).toLocaleString("en-GB") : sign + size.toFixed(size < 99.95 ? 1 : 0) + units[unit];
}

export function decimal(value, digits = 1) {
  return known(value) ? value.toFixed(digits) : UNKNOWN;
}

/** Local wall-clock time, with the date when it is not today. */
export function time(ms) {
  if (!known(ms)) return UNKNOWN;
  const date = new Date(ms);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return new Date().toDateString() === date.toDateString() ? clock : `${day(date)} ${clock}`;
}

export function fullTime(ms) {
  if (!known(ms)) return UNKNOWN;
  const date = new Date(ms);
  return `${day(date)} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The end of an identifier: identifiers made at about the same time share their beginning. */
export function shortId(id) {
  const text = String(id ?? "");
  return text.length > 10 ? `…${text.slice(-6)}` : text;
}

export function oneLine(sql, limit = 160) {
  // A text of megabytes is cut before it is searched.
  const text = String(sql ?? "").slice(0, limit * 8).replace(/\s+/g, " ").trim();
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

/**
 * How far a figure is from its prediction, for example "12× more"; null when it cannot be said.
 * What has not ended may still grow: being below the prediction then says nothing yet.
 */
export function deviation(predicted, actual, ended = true) {
  if (!known(predicted) || !known(actual)) return null;
  if (!ended && actual < predicted) return { text: `${Math.floor((actual / predicted) * 100)}% so far`, far: false };
  const factor = Math.max(actual, 1) / Math.max(predicted, 1);
  const size = factor >= 1 ? factor : 1 / factor;
  if (size < 1.25) return { text: "as predicted", far: false };
  const figure = size >= 9.95 ? Math.round(size).toLocaleString("en-GB") : size.toFixed(1);
  return { text: `${figure}× ${factor >= 1 ? "more" : "fewer"}`, far: size >= 4 };
}

export const STAGE_COLOURS = 8;

/** The colour of a stage: the query's hash says where to begin, so that stages next to each other always differ. */
export function stageColour(query, stage) {
  let hash = 2166136261;
  const text = String(query);
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return ((hash >>> 0) + (Number(stage) || 0)) % STAGE_COLOURS;
}

function two(number) {
  return String(number).padStart(2, "0");
}

function day(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

function trimmed(text) {
  return text.replace(/\.0$/, "");
}
