import { h, s, setAttr, setText } from "./dom.js";
import { bytes, count, duration, known, shortCount, stageColour, UNKNOWN } from "./format.js";
import { keyboardScroll } from "./table.js";

const BOX = { width: 216, height: 58, gap: 40, level: 62, pad: 10, aside: 30 };
const RESULT = { width: 96, height: 26 };
const EDGE = { least: 1.5, most: 14 };
const LABEL_CHARACTERS = 18;

/** Stages as boxes, data flowing downwards; the width of an edge is to the scale of the bytes exchanged. */
export function stageGraph(stageHref) {
  const box = h("div", { class: "scroll graph-box" });
  const caption = h("p", { class: "note" });
  const node = h("div", { class: "graph" }, box, caption);
  let drawn = null;
  let structure = null;
  keyboardScroll(box, "Stage graph");

  function update(profile) {
    const stages = profile.stages ?? [];
    const exchanges = (profile.exchanges ?? []).filter((edge) => stages.some((stage) => stage.stage_id === edge.from_stage));
    const next = JSON.stringify([stages.map((stage) => stage.stage_id), exchanges.map((edge) => [edge.from_stage, edge.to_stage])]);
    if (next !== structure) {
      structure = next;
      drawn = build(profile.query_id, stages, exchanges, stageHref);
      box.replaceChildren(drawn.svg);
    }
    const most = Math.max(1, ...exchanges.map((edge) => edge.bytes ?? 0));
    stages.forEach((stage) => drawn.boxes.get(stage.stage_id)?.update(stage));
    exchanges.forEach((edge, i) => drawn.edges[i].update(edge, most));
    const moved = exchanges.some((edge) => edge.bytes > 0) ? `Widest edge: ${bytes(most)}.` : "";
    const still = exchanges.some((edge) => !(edge.bytes > 0)) ? "A dashed edge has moved nothing; a size after ≈ is the predicted one." : "";
    setText(caption, `${moved} ${still}`.trim());
  }
  return { node, update };
}

/** The level of a stage is its longest way to the result, so that the edges of a tree span one level each. */
function levelsOf(stages, exchanges) {
  const level = new Map(stages.map((stage) => [stage.stage_id, 0]));
  // A plan has no cycles; the bound keeps a broken one from looping.
  for (let round = 0; round < stages.length; round += 1) {
    let changed = false;
    for (const { from_stage: from, to_stage: to } of exchanges) {
      if (!level.has(to) || level.get(from) >= level.get(to) + 1) continue;
      level.set(from, level.get(to) + 1);
      changed = true;
    }
    if (!changed) break;
  }
  return level;
}

/** Places by level; within a level in the order of a walk from the result, which keeps a tree free of crossings. */
function placesOf(stages, exchanges) {
  const level = levelsOf(stages, exchanges);
  const order = [];
  const seen = new Set();
  const walk = (id) => {
    if (seen.has(id) || !level.has(id)) return;
    seen.add(id);
    order.push(id);
    for (const edge of exchanges) if (edge.to_stage === id) walk(edge.from_stage);
  };
  for (const edge of exchanges) if (!level.has(edge.to_stage)) walk(edge.from_stage);
  for (const stage of stages) walk(stage.stage_id);
  const rows = [];
  for (const id of order) (rows[level.get(id)] ??= []).push(id);
  const filled = rows.filter(Boolean).reverse();
  const widest = Math.max(1, ...filled.map((row) => row.length));
  const width = widest * (BOX.width + BOX.gap) - BOX.gap;
  const places = new Map();
  filled.forEach((row, y) => {
    const rowWidth = row.length * (BOX.width + BOX.gap) - BOX.gap;
    row.forEach((id, x) => places.set(id, { x: BOX.pad + BOX.aside + (width - rowWidth) / 2 + x * (BOX.width + BOX.gap), y: BOX.pad + y * (BOX.height + BOX.level) }));
  });
  return { places, width: width + 2 * (BOX.pad + BOX.aside), bottom: BOX.pad + filled.length * (BOX.height + BOX.level) };
}

function build(queryId, stages, exchanges, stageHref) {
  const { places, width, bottom } = placesOf(stages, exchanges);
  const hasResult = exchanges.some((edge) => !places.has(edge.to_stage));
  const height = hasResult ? bottom + RESULT.height + BOX.pad : bottom - BOX.level + BOX.pad;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Stage graph" });
  // As wide as there is room, but not so small that it cannot be read: then its box scrolls.
  svg.style.setProperty("width", "100%");
  svg.style.setProperty("max-width", `${width}px`);
  svg.style.setProperty("min-width", `${Math.round(width * 0.6)}px`);
  const result = { x: (width - RESULT.width) / 2, y: bottom };
  // Edges arrive side by side in the order of their sources.
  const arriving = new Map();
  for (const edge of exchanges) {
    const to = places.has(edge.to_stage) ? edge.to_stage : null;
    arriving.set(to, [...(arriving.get(to) ?? []), edge]);
  }
  for (const list of arriving.values()) list.sort((a, b) => places.get(a.from_stage).x - places.get(b.from_stage).x);
  const edges = exchanges.map((edge) => {
    const to = places.has(edge.to_stage) ? edge.to_stage : null;
    const from = places.get(edge.from_stage);
    const target = to === null ? { ...result, width: RESULT.width } : { ...places.get(to), width: BOX.width };
    const list = arriving.get(to);
    const part = (list.indexOf(edge) + 1) / (list.length + 1);
    // A stage that several others read has its edges leave side by side, each with a label of one line.
    const leaving = exchanges.filter((one) => one.from_stage === edge.from_stage);
    const place = leaving.indexOf(edge);
    const x = from.x + (BOX.width * (place + 1)) / (leaving.length + 1);
    return edgeMark(x, from.y + BOX.height, target.x + target.width * part, target.y, leaving.length > 1 ? place : null);
  });
  svg.append(...edges.map((edge) => edge.node));
  const boxes = new Map();
  for (const stage of stages) {
    if (!places.has(stage.stage_id) || boxes.has(stage.stage_id)) continue;
    const mark = boxMark(queryId, stage, places.get(stage.stage_id), stageHref);
    boxes.set(stage.stage_id, mark);
    svg.append(mark.node);
  }
  if (hasResult) svg.append(s("g", { class: "result-box" }, s("rect", { ...result, ...RESULT, rx: 3 }), s("text", { x: result.x + RESULT.width / 2, y: result.y + 17, "text-anchor": "middle" }, "Result")));
  return { svg, boxes, edges };
}

function boxMark(queryId, first, { x, y }, stageHref) {
  const inner = BOX.width - 16;
  const name = s("text", { class: "box-name", x: x + 12, y: y + 17 }, `Stage ${first.stage_id}`);
  const state = s("text", { class: "box-state", x: x + BOX.width - 8, y: y + 17, "text-anchor": "end" });
  const figures = s("text", { x: x + 12, y: y + 32 });
  const rows = s("text", { class: "box-rows", x: x + BOX.width - 8, y: y + 32, "text-anchor": "end" });
  const done = s("rect", { class: "box-done", x: x + 12, y: y + 42, height: 6, width: 0 });
  const now = s("rect", { class: "box-now", x: x + 12, y: y + 42, height: 6, width: 0 });
  const track = s("rect", { class: "box-track", x: x + 12, y: y + 42, height: 6, width: inner - 4 });
  const frame = s("rect", { class: "box-frame", x, y, width: BOX.width, height: BOX.height, rx: 3 });
  const stripe = s("rect", { class: `c${stageColour(queryId, first.stage_id)}`, x, y, width: 5, height: BOX.height });
  const title = s("title");
  const node = s("a", { href: stageHref(first.stage_id), class: "stage-box" }, title, frame, stripe, name, state, figures, rows, track, done, now);
  function update(stage) {
    const total = stage.tasks_total ?? 0;
    const share = (part) => (total > 0 ? (Math.min(part ?? 0, total) / total) * (inner - 4) : 0);
    setAttr(node, "data-state", stage.state);
    setText(state, stage.state);
    setText(figures, `${stage.tasks_finished ?? UNKNOWN}/${stage.tasks_total ?? UNKNOWN} tasks · ${duration(stage.elapsed_ms)}`);
    setText(rows, known(stage.rows) ? `${shortCount(stage.rows)} rows` : "");
    const width = share(stage.tasks_finished);
    setAttr(done, "width", width.toFixed(1));
    setAttr(now, "x", (x + 12 + width).toFixed(1));
    setAttr(now, "width", Math.min(share(stage.tasks_running), inner - 4 - width).toFixed(1));
    setText(title, `Stage ${stage.stage_id}, ${stage.state}: ${stage.tasks_finished ?? UNKNOWN} of ${stage.tasks_total ?? UNKNOWN} tasks finished, ${stage.tasks_running ?? UNKNOWN} running, ${count(stage.rows)} rows`);
  }
  return { node, update };
}

function edgeMark(x1, y1, x2, y2, place) {
  const bend = Math.max(24, (y2 - y1) * 0.55);
  const path = s("path", { class: "edge", fill: "none", d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}` });
  // The label stands on the side that the edge turns away from.
  const left = place === null && x2 > x1 + 1;
  const lines = [0, 1, 2].map((i) => s("text", { class: "edge-label", x: x1 + (left ? -11 : 11), y: y1 + 15 + (i + (place ?? 0)) * 13, "text-anchor": left ? "end" : "start" }));
  const title = s("title");
  const node = s("g", { "aria-hidden": "true" }, title, path, lines);
  function update(edge, most) {
    const moved = known(edge.bytes) && edge.bytes > 0;
    setAttr(path, "stroke-width", moved ? Math.max(EDGE.least, (edge.bytes / most) * EDGE.most).toFixed(1) : EDGE.least);
    setAttr(path, "stroke-dasharray", moved ? null : "3 4");
    setAttr(path, "data-kind", edge.kind);
    const keys = (edge.keys ?? []).join(", ");
    const parts = known(edge.partitions) && edge.partitions !== 1 ? ` × ${edge.partitions}` : "";
    const size = known(edge.bytes) ? bytes(edge.bytes) : known(edge.predicted_bytes) ? `≈ ${bytes(edge.predicted_bytes)}` : "";
    const texts = place !== null ? [`${edge.kind ?? ""} ${size}`, "", ""] : [`${edge.kind ?? ""}${parts}`, keys ? keys : size, keys ? size : ""];
    lines.forEach((line, i) => setText(line, cut(texts[i])));
    setText(title, `${edge.kind}${keys ? ` by ${keys}` : ""}, ${count(edge.partitions)} partitions, ${bytes(edge.bytes)}, ${count(edge.rows)} rows`);
  }
  return { node, update };
}

function cut(text) {
  return text.length > LABEL_CHARACTERS ? `${text.slice(0, LABEL_CHARACTERS - 1)}…` : text;
}
