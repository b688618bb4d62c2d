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
      { label: "Table", head: true, widget: () => mono((one) => `${one.schema_name}.${one.table_name}`), value: (one) => `${one.schema_name}.${one.table_name}` },
      { label: "Kind", text: (one) => one.kind, value: (one) => one.kind },
      { label: "Format", text: (one) => one.format, value: (one) => one.format },
      { label: "Rows", number: true, text: (one) => count(one.rows), value: (one) => one.rows },
      { label: "Size", number: true, text: (one) => bytes(one.file_bytes), value: (one) => one.file_bytes },
      { label: "Files", number: true, text: (one) => count(one.files), value: (one) => one.files },
      { label: "Median file", number: true, text: (one) => bytes(one.median_file_bytes), value: (one) => one.median_file_bytes },
      { label: "Largest file", number: true, text: (one) => bytes(one.largest_file_bytes), value: (one) => one.largest_file_bytes },
      { label: "Partitioned by", text: (one) => (one.partitioned_by ?? []).join(", ") || UNKNOWN },
      { label: "Layout", widget: layoutMark, value: (one) => one.health },
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
      const ill = (tables ?? []).filter((one) => !["good", "unknown"].includes(one.health)).length;
      setText(note, `${count((tables ?? []).length)} tables, ${ill === 0 ? "none with advice on layout" : `${ill} with a layout to mend`}`);
    } catch (error) {
      if (error.name !== "AbortError") setText(note, error.message);
    }
  }
  load();
  return { node, title: "Tables", onReconnect: load, close: () => abort.abort() };
}

function layoutMark() {
  const mark = stateMark("good");
  return {
    node: mark.node,
    update(one) {
      const health = one.health ?? "unknown";
      mark.update(health === "good" ? "good" : health === "unknown" ? "unknown" : "warning", health);
    },
  };
}

function adviceCell() {
  const node = h("code", { class: "advice" });
  return { node, update: (one) => setText(node, one.advice ?? "") };
}
