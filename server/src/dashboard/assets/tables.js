import { h, setText } from "./dom.js";
import { bytes, count, UNKNOWN } from "./format.js";
import { getJson } from "./api.js";
import { stateMark } from "./marks.js";
import { mono } from "./links.js";
import { dataTable } from "./table.js";

export function tablesPage() {
  const table = dataTable({
    label: "Tables",
    empty: "There are no tables.",
    sortable: true,
    key: (one) => JSON.stringify([one.schema_name, one.table_name]),
    columns: [
      { label: "Table", head: true, widget: () => mono(nameOf), value: nameOf },
      { label: "Kind", text: (one) => one.kind, value: (one) => one.kind },
      { label: "Format", text: (one) => one.format, value: (one) => one.format },
      { label: "Rows", number: true, text: (one) => count(one.rows), value: (one) => one.rows },
      { label: "Size", number: true, text: (one) => bytes(one.file_bytes), value: (one) => one.file_bytes },
      { label: "Files", number: true, text: (one) => count(one.files), value: (one) => one.files },
      { label: "Median file", number: true, text: (one) => bytes(one.median_file_bytes), value: (one) => one.median_file_bytes },
      { label: "Largest file", number: true, text: (one) => bytes(one.largest_file_bytes), value: (one) => one.largest_file_bytes },
      { label: "Partitioned by", text: (one) => (one.partitioned_by ?? []).join(", ") || UNKNOWN },
      { label: "Layout", widget: layoutMark, value: (one) => one.health },
      { label: "Why it cannot be read", text: (one) => one.reason ?? "", value: (one) => one.state },
      { label: "Advice", widget: adviceCell },
    ],
  });
  const abort = new AbortController();
  const note = h("p", { class: "empty", role: "status" }, "Loading");
  const reload = h("button", { type: "button", on: { click: load } }, "Reload");
  const node = h("div", { class: "page" }, h("div", { class: "title" }, h("h1", {}, "Tables"), note, reload), table.node);
  table.node.hidden = true;

  async function load() {
    try {
      const { tables } = await getJson("api/tables", abort.signal);
      table.update(tables ?? []);
      table.node.hidden = false;
      const all = tables ?? [];
      const away = all.filter((one) => one.health === "unavailable").length;
      const ill = all.filter((one) => !["good", "unknown", "unavailable"].includes(one.health)).length;
      const served = `${count(all.length - away)} tables, ${ill === 0 ? "none with advice on layout" : `${ill} with a layout to mend`}`;
      setText(note, away === 0 ? served : `${served}; ${count(away)} cannot be read`);
    } catch (error) {
      if (error.name !== "AbortError") setText(note, error.message);
    }
  }
  load();
  return { node, title: "Tables", onReconnect: load, close: () => abort.abort() };
}

function nameOf(one) {
  return one.schema_name ? `${one.schema_name}.${one.table_name}` : one.table_name;
}

function layoutMark() {
  const mark = stateMark("good");
  return {
    node: mark.node,
    update(one) {
      const health = one.health ?? "unknown";
      mark.update(stateOf(health), health === "unavailable" ? one.state : health);
    },
  };
}

function stateOf(health) {
  if (health === "unavailable") return "failed";
  return ["good", "unknown"].includes(health) ? health : "warning";
}

function adviceCell() {
  const node = h("code", { class: "advice" });
  return { node, update: (one) => setText(node, one.advice ?? "") };
}
