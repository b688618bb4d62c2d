import { h, s, setAttr, setText, setVars } from "./dom.js";
import { bytes, deviation, known, UNKNOWN } from "./format.js";

// Every state has a shape of its own; colour only repeats it.
const STATE_SHAPES = {
  queued: "M6 1.8a4.2 4.2 0 1 0 .01 0M6 3.6V6l1.8 1.2",
  waiting: "M6 1.8a4.2 4.2 0 1 0 .01 0M6 3.6V6l1.8 1.2",
  running: "M3.5 2.2 9.6 6 3.5 9.8Z",
  alive: "M3.5 6a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0",
  finished: "M2.2 6.4 4.9 9.2 9.8 3.2",
  failed: "M2.8 2.8 9.2 9.2M9.2 2.8 2.8 9.2",
  lost: "M2.8 2.8 9.2 9.2M9.2 2.8 2.8 9.2",
  cancelled: "M6 1.8a4.2 4.2 0 1 0 .01 0M3.1 8.9 8.9 3.1",
  draining: "M6 2v7M3 6.2 6 9.4 9 6.2",
  good: "M2.2 6.4 4.9 9.2 9.8 3.2",
  warning: "M6 1.8 10.8 10H1.2ZM6 4.8v2.4M6 8.4v.6",
};

/** A state with its shape; update(state, text) changes it in place. */
export function stateMark(state, text) {
  const path = s("path", { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linejoin": "round", "stroke-linecap": "round" });
  const label = h("span");
  const node = h("span", { class: "state" }, s("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, path), label);
  const update = (next, nextText) => {
    const name = String(next ?? "unknown");
    setAttr(node, "data-state", name);
    setAttr(path, "d", Object.hasOwn(STATE_SHAPES, name) ? STATE_SHAPES[name] : STATE_SHAPES.queued);
    setText(label, nextText ?? name);
  };
  update(state, text);
  return { node, update };
}

/** Tasks finished and running of all, as a bar with its figures. */
export function progressMark(label) {
  const bar = h("div", { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0 }, h("i", { class: "done" }), h("i", { class: "now" }));
  const text = h("span", { class: "figures" });
  const node = h("div", { class: "progress" }, bar, text);
  const update = ({ finished, running, total }) => {
    const whole = known(total) && total > 0 ? total : null;
    setVars(bar, { "--done": whole ? Math.min(1, (finished ?? 0) / whole) : 0, "--now": whole ? Math.min(1, (running ?? 0) / whole) : 0 });
    setAttr(bar, "aria-valuemax", whole ?? 1);
    setAttr(bar, "aria-valuenow", whole ? Math.min(finished ?? 0, whole) : null);
    setText(text, whole ? `${finished ?? UNKNOWN}/${whole} tasks` : "not planned yet");
  };
  return { node, update };
}

/** How an actual figure differs from the predicted one. */
export function deviationMark() {
  const node = h("span", { class: "deviation" });
  const update = (predicted, actual, ended) => {
    const found = deviation(predicted, actual, ended);
    setText(node, found ? found.text : UNKNOWN);
    node.classList.toggle("far", Boolean(found?.far));
  };
  return { node, update };
}

/** A small horizontal meter of a part against a whole. */
export function shareMark() {
  const bar = h("div", { class: "share", "aria-hidden": "true" }, h("i"));
  const text = h("span", { class: "figures" });
  const node = h("div", { class: "progress" }, bar, text);
  const update = (part, whole, label) => {
    const share = known(part) && known(whole) && whole > 0 ? part / whole : 0;
    setVars(bar, { "--done": Math.min(1, share) });
    bar.classList.toggle("over", share > 1);
    setText(text, label ?? `${bytes(part)} of ${bytes(whole)}`);
  };
  return { node, update };
}

export function swatch(colour) {
  return h("i", { class: `swatch c${colour}`, "aria-hidden": "true" });
}
