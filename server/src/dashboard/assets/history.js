import { h, setHidden, setText } from "./dom.js";
import { bytes, count, duration } from "./format.js";
import { getJson } from "./api.js";
import { queryLink, queryState, timeCell } from "./links.js";
import { dataTable } from "./table.js";

const PAGE = 100;
const STATES = ["", "finished", "failed", "cancelled"];

export function historyPage() {
  const search = h("input", { type: "search", id: "history-search", name: "search", placeholder: "Text in SQL", autocomplete: "off", spellcheck: "false" });
  const state = h("select", { id: "history-state", name: "state" }, STATES.map((name) => h("option", { value: name }, name || "all")));
  const form = h("form", { class: "filter", role: "search" }, h("label", { for: "history-search" }, "Search"), search, h("span", { class: "pair" }, h("label", { for: "history-state" }, "State"), state), h("button", { type: "submit" }, "Search"));
  const note = h("p", { class: "empty", role: "status" });
  const strip = percentileStrip();
  const table = historyTable();
  const more = h("button", { type: "button" }, "Show older queries");
  const node = h("div", { class: "page" }, h("div", { class: "title" }, h("h1", {}, "History"), note), form, strip.node, table.node, h("p", {}, more));
  let abort = new AbortController();
  let queries = [];
  let shown = null;
  more.hidden = true;
  table.node.hidden = true;

  async function load(older) {
    abort.abort();
    abort = new AbortController();
    const wanted = new URLSearchParams({ limit: String(PAGE) });
    if (search.value.trim()) wanted.set("search", search.value.trim());
    if (state.value) wanted.set("state", state.value);
    if (older && queries.length) wanted.set("before_ms", String(queries[queries.length - 1].started_at_ms));
    try {
      const answer = await getJson(`api/queries?${wanted}`, abort.signal);
      const seen = new Set(older ? queries.map((query) => query.query_id) : []);
      const fresh = (answer.queries ?? []).filter((query) => !seen.has(query.query_id));
      queries = older ? [...queries, ...fresh] : fresh;
      table.update(queries);
      table.node.hidden = false;
      if (!older) {
        strip.update(answer.percentiles ?? {});
        setText(note, `${count(answer.matched)} queries match`);
      }
      setHidden(more, (answer.queries ?? []).length < PAGE || fresh.length === 0);
    } catch (error) {
      if (error.name !== "AbortError") setText(note, error.message);
    }
  }

  function go() {
    const wanted = new URLSearchParams();
    if (search.value.trim()) wanted.set("search", search.value.trim());
    if (state.value) wanted.set("state", state.value);
    const text = String(wanted);
    const hash = `#/history${text ? `?${text}` : ""}`;
    if (hash === location.hash) load(false);
    else location.hash = hash;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  state.addEventListener("change", go);
  more.addEventListener("click", () => load(true));

  return {
    node,
    title: "History",
    // The filter lives in the address, so that it can be shared and the back button works.
    onRoute(route) {
      const text = String(route.search);
      if (shown === text) return;
      shown = text;
      search.value = route.search.get("search") ?? "";
      state.value = STATES.includes(route.search.get("state")) ? route.search.get("state") : "";
      load(false);
    },
    onReconnect: () => load(false),
    close: () => abort.abort(),
  };
}

function percentileStrip() {
  const values = {};
  const item = (key, label) => {
    values[key] = h("dd", {}, "–");
    return h("div", {}, h("dt", {}, label), values[key]);
  };
  const node = h("dl", { class: "strip", "aria-label": "Elapsed time over all that match" }, item("count", "Queries"), item("failed", "Failed"), item("p50_ms", "Median"), item("p90_ms", "p90"), item("p99_ms", "p99"), item("max_ms", "Longest"));
  return {
    node,
    update(percentiles) {
      for (const [key, cell] of Object.entries(values)) setText(cell, key.endsWith("_ms") ? duration(percentiles[key]) : count(percentiles[key]));
      values.failed.classList.toggle("bad", percentiles.failed > 0);
    },
  };
}

function historyTable() {
  return dataTable({
    label: "Queries, latest first",
    empty: "No query matches.",
    sortable: true,
    key: (query) => query.query_id,
    columns: [
      { label: "Query", head: true, widget: queryLink, class: "wide" },
      { label: "State", widget: queryState, value: (query) => query.state },
      { label: "Started", widget: () => timeCell((query) => query.started_at_ms), value: (query) => query.started_at_ms },
      { label: "Elapsed", number: true, text: (query) => duration(query.elapsed_ms), value: (query) => query.elapsed_ms },
      { label: "Rows", number: true, text: (query) => count(query.rows), value: (query) => query.rows },
      { label: "Route", text: (query) => query.route, value: (query) => query.route },
      { label: "Tasks", number: true, text: (query) => count(query.tasks_total), value: (query) => query.tasks_total },
      { label: "Exchanged", number: true, text: (query) => bytes(query.exchanged_bytes), value: (query) => query.exchanged_bytes },
      { label: "Spilled", number: true, text: (query) => bytes(query.spilled_bytes), value: (query) => query.spilled_bytes },
      { label: "Retries", number: true, text: (query) => count(query.retries), value: (query) => query.retries },
      { label: "Lints", number: true, text: (query) => count(query.lints), value: (query) => query.lints },
      { label: "SQLSTATE", text: (query) => query.sqlstate ?? "" },
      { label: "User", text: (query) => query.user_name, value: (query) => query.user_name },
    ],
  });
}
