import { h, s, setAttr, setText } from "./dom.js";
import { count, duration, oneLine, shortId, stageColour } from "./format.js";
import { queryHref } from "./links.js";
import { swatch } from "./marks.js";
import { SERVER } from "./task_store.js";
import { dataTable } from "./table.js";

export const STREAM_HELP = "Drag or the left and right arrow keys pan, the wheel or + and − zoom. Up and down choose a lane, n and p the next and previous task, Enter opens its query. F or End follows the present, Home goes to the oldest task.";

/** What the shapes of the canvas mean. */
export function streamLegend() {
  const icon = (...shapes) => s("svg", { viewBox: "0 0 26 14", width: 26, height: 14, "aria-hidden": "true" }, shapes);
  const bar = (cls, x, y, width, height) => s("rect", { class: cls, x, y, width, height });
  const hatch = () => [bar("hatch-frame", 0, 0, 26, 14), s("path", { class: "hatch-lines", d: "M0 0 14 14M6 0 20 14M12 0 26 14M18 0 26 8M0 8 6 14M0 14 14 0M6 14 20 0M12 14 26 0M18 14 26 6M0 6 6 0" })];
  const item = (mark, text) => h("li", {}, mark, h("span", {}, text));
  return h("ul", { class: "legend", "aria-label": "Legend" },
    item(icon([0, 1, 2, 3].map((i) => bar(`c${i}`, i * 6.5, 1, 6, 12))), "Colour: one per stage of a query"),
    item(icon(bar("d1", 0, 4, 10, 6), bar("c1", 10, 1, 16, 12)), "Transfer, then compute"),
    item(icon(bar("c1", 0, 1, 24, 12), bar("ink", 24, 1, 2, 12)), "Running"),
    item(icon(bar("c1", 0, 1, 26, 12), s("path", { class: "spill-mark", d: "M9 6.5h8L13 13Z" })), "Spilled"),
    item(icon(bar("c1", 0, 1, 26, 12), s("circle", { class: "retry-mark", cx: 6, cy: 5, r: 3 })), "Retry"),
    item(icon(hatch(), s("path", { class: "failed-behind", d: "M9 3l8 8M17 3l-8 8" }), s("path", { class: "failed-mark", d: "M9 3l8 8M17 3l-8 8" })), "Failed"),
    item(icon(hatch(), s("path", { class: "lost-mark", d: "M13 2l5 5-5 5-5-5Z" })), "Lost with its executor"),
    h("li", { class: "note" }, "Tasks thinner than a pixel are joined; the longest gives the colour."));
}

/** The same as the canvas shows at its right edge, as a table. */
export function runningSummary() {
  const table = dataTable({
    label: "Tasks that run now, by executor and stage",
    empty: "No task runs.",
    key: (group) => group.key,
    columns: [
      { label: "Executor", head: true, text: (group) => (group.executor === SERVER ? "server" : shortId(group.executor)) },
      { label: "Stage", widget: (group) => ({ node: h("span", { class: "stage-link" }, swatch(stageColour(group.query, group.stage)), String(group.stage)) }) },
      { label: "Tasks", number: true, text: (group) => count(group.tasks) },
      { label: "Longest so far", number: true, text: (group) => duration(group.longest) },
      { label: "Retries", number: true, text: (group) => count(group.retries) },
      { label: "Query", class: "wide", widget: queryCell },
    ],
  });
  return {
    node: table.node,
    update(store, now, sqlOf) {
      const groups = new Map();
      for (const row of store.running) {
        const query = store.queries[store.query[row]].id;
        const { executor } = store.lanes[store.lane[row]];
        const key = JSON.stringify([executor, query, store.stage[row]]);
        const group = groups.get(key) ?? { key, executor, query, stage: store.stage[row], tasks: 0, longest: 0, retries: 0, sql: sqlOf.get(query) };
        group.tasks += 1;
        group.longest = Math.max(group.longest, now - store.start[row]);
        group.retries += store.attempt[row] > 0 ? 1 : 0;
        groups.set(key, group);
      }
      table.update([...groups.values()].sort((a, b) => (a.executor < b.executor ? -1 : a.executor > b.executor ? 1 : a.stage - b.stage)));
    },
  };
}

function queryCell() {
  const text = h("span", { class: "sql-line" });
  const id = h("span", { class: "id" });
  const node = h("a", { class: "query-link" }, text, id);
  return {
    node,
    update(group) {
      setAttr(node, "href", queryHref(group.query));
      setText(text, group.sql ? oneLine(group.sql, 120) : "Query");
      setText(id, shortId(group.query));
    },
  };
}
