import { h, s, setAttr, setText } from "./dom.js";
import { known, time, UNKNOWN } from "./format.js";

const WIDTH = 400;
const HEIGHT = 100;
const MOST_POINTS = 1200;

/** The next round figure above a maximum: a small multiple of a power of ten, or powers of two for bytes. */
export function roundUp(max, binary) {
  if (!(max > 0)) return 1;
  if (binary) return 2 ** Math.ceil(Math.log2(max));
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 4, 5, 8, 10].map((step) => step * power).find((round) => round >= max - 1e-9);
}

/**
 * A time series. `series` names its lines: { name, class }.
 * update({ at, values, from, to, max }) takes the times and one array of figures per line; null leaves a gap.
 */
export function timeChart({ label, format, series, binary = false }) {
  const lines = series.map((one) => s("path", { class: `line ${one.class}${series.length > 1 ? " several" : ""}`, fill: "none", "vector-effect": "non-scaling-stroke" }));
  const area = s("path", { class: `area ${series[0].class}` });
  const cursor = s("path", { class: "cursor", "vector-effect": "non-scaling-stroke" });
  const grid = s("path", { class: "grid", d: `M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}`, "vector-effect": "non-scaling-stroke" });
  const svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, grid, area, lines, cursor);
  const now = series.map((one) => h("span", { class: `now ${one.class}` }));
  const when = h("span", { class: "when" });
  const top = h("span", { class: "top-label" });
  const ends = [h("span"), h("span")];
  const keys = series.length > 1 ? series.map((one, i) => h("span", { class: "key" }, h("i", { class: one.class, "aria-hidden": "true" }), `${one.name} `, now[i])) : now;
  const node = h("figure", { class: "chart" }, h("figcaption", {}, h("span", { class: "name" }, label), when, h("span", { class: "nows" }, keys)), h("div", { class: "plot" }, svg, top), h("div", { class: "ends" }, ends));
  let data = null;
  let hover = null;

  function update(next) {
    data = next;
    const { at, values, from, to } = next;
    let max = next.max ?? 0;
    if (!next.max) for (const line of values) for (const value of line) if (value > max) max = value;
    max = next.max ?? roundUp(max, binary);
    const span = Math.max(1, to - from);
    const x = (t) => ((t - from) / span) * WIDTH;
    const y = (v) => HEIGHT - 1 - (v / max) * (HEIGHT - 2);
    const step = Math.max(1, Math.ceil(at.length / MOST_POINTS));
    values.forEach((line, k) => {
      let path = "";
      let filled = "";
      let start = null;
      let last = null;
      for (let i = 0; i < at.length; i += step) {
        const value = line[i];
        if (!known(value) || at[i] < from || at[i] > to) {
          if (known(value)) continue;
          if (start !== null) filled += `L${last} ${HEIGHT}L${start} ${HEIGHT}Z`;
          start = null;
          continue;
        }
        const px = x(at[i]).toFixed(1);
        const point = `${px} ${y(value).toFixed(1)}`;
        path += `${start === null ? "M" : "L"}${point}`;
        if (k === 0) filled += `${start === null ? "M" : "L"}${point}`;
        if (start === null) start = px;
        last = px;
      }
      if (start !== null) filled += `L${last} ${HEIGHT}L${start} ${HEIGHT}Z`;
      setAttr(lines[k], "d", path);
      if (k === 0) setAttr(area, "d", filled);
    });
    setText(top, format(max));
    setText(ends[0], time(from));
    setText(ends[1], time(to));
    showFigures();
  }

  function showFigures() {
    if (!data) return;
    const index = hover === null ? data.at.length - 1 : nearest(data.at, data.from + hover * (data.to - data.from));
    now.forEach((span, k) => setText(span, index >= 0 ? format(data.values[k][index]) : UNKNOWN));
    setText(when, hover !== null && index >= 0 ? `at ${time(data.at[index])}` : "");
    const x = hover !== null && index >= 0 ? ((data.at[index] - data.from) / Math.max(1, data.to - data.from)) * WIDTH : null;
    setAttr(cursor, "d", x === null ? null : `M${x.toFixed(1)} 0V${HEIGHT}`);
    setAttr(svg, "aria-label", `${label}: ${series.map((one, k) => `${one.name ?? ""} ${now[k].textContent}`.trim()).join(", ")}`);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    hover = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    showFigures();
  });
  svg.addEventListener("pointerleave", () => {
    hover = null;
    showFigures();
  });
  return { node, update };
}

function nearest(at, t) {
  let low = 0;
  let high = at.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] < t) low = middle + 1;
    else high = middle;
  }
  return low > 0 && t - at[low - 1] < at[low] - t ? low - 1 : low;
}
