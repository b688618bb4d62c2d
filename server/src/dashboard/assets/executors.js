import { h, keyed, setHidden, setText } from "./dom.js";
import { ago, bytes, count, decimal, rate, shortId, UNKNOWN } from "./format.js";
import { getJson, post } from "./api.js";
import { roundUp, timeChart } from "./chart.js";
import { mono } from "./links.js";
import { shareMark, stateMark } from "./marks.js";
import { memoryBar } from "./memory_bar.js";
import { pressTwice } from "./press_twice.js";
import { dataTable } from "./table.js";

const HOUR_MS = 3600 * 1000;
const CHARTS = [
  { label: "Memory", format: bytes, binary: true, lines: [["resident_bytes", "resident", "s0"], ["pool_reserved_bytes", "reserved", "s1"], ["cached_bytes", "cached", "s2"]] },
  { label: "CPU, cores", format: (value) => decimal(value), lines: [["cpu_cores", "", "s0"]] },
  { label: "Network", format: rate, binary: true, lines: [["network_bytes_per_second", "", "s1"]] },
  { label: "Disk", format: rate, binary: true, lines: [["disk_bytes_per_second", "", "s2"]] },
  { label: "Spilled", format: bytes, binary: true, lines: [["spilled_bytes", "", "s3"]] },
  { label: "Tasks running", format: count, lines: [["tasks_running", "", "s0"]] },
];

export function executorsPage() {
  const table = executorTable();
  const grid = h("div", { class: "executor-charts" });
  const note = h("p", { class: "empty", role: "status" }, "Loading");
  const node = h("div", { class: "page" }, h("h1", {}, "Executors"), table.node, h("h2", {}, "Last hour"), note, grid);
  const abort = new AbortController();
  let states = new Map();
  let next = 0;
  let series = null;

  async function load() {
    try {
      series = await getJson("api/executors", abort.signal);
      setText(note, "");
      setHidden(note, true);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      setHidden(note, false);
      setText(note, error.message);
    }
  }

  function draw() {
    if (!series) return;
    const all = Object.entries(series.executors ?? {}).map(([id, data]) => ({ id, data, state: id === "server" ? "alive" : states.get(id) ?? "gone" }));
    all.sort((a, b) => (a.state === "gone") - (b.state === "gone") || (b.id === "server") - (a.id === "server") || a.id.localeCompare(b.id));
    // All executors share the scale of a measure, so that their charts can be compared.
    const maxima = CHARTS.map((chart) => roundUp(Math.max(0, ...all.map((one) => Math.max(0, ...chart.lines.map(([key]) => largest(one.data[key]))))), chart.binary));
    keyed(grid, all, (one) => one.id, (one) => executorCharts(one));
    for (const one of all) grid.keyedChildren.get(one.id).draw(one, maxima, series.now_ms);
  }

  return {
    node,
    title: "Executors",
    onOverview(overview) {
      table.update(overview.executors ?? []);
      states = new Map((overview.executors ?? []).map((one) => [one.executor_id, one.state]));
      if (overview.now_ms >= next) {
        next = overview.now_ms + (series?.interval_ms ?? 5000);
        load();
      }
    },
    onReconnect: load,
    close: () => abort.abort(),
  };
}

function executorTable() {
  return dataTable({
    label: "Executors",
    empty: "No executor is connected: every query runs in the server.",
    key: (one) => one.executor_id,
    columns: [
      { label: "Executor", head: true, widget: () => mono((one) => one.executor_id), class: "executor-id" },
      { label: "State", widget: (one) => {
        const mark = stateMark(one.state);
        return { node: mark.node, update: (next) => mark.update(next.state) };
      } },
      { label: "Drain", widget: drainButton },
      { label: "Memory: resident of cap", widget: (one) => memoryBar(`executor ${shortId(one.executor_id)}`), class: "memory-cell" },
      { label: "Highest resident", number: true, text: (one) => bytes(one.resident_bytes_max) },
      { label: "Pool limit", number: true, text: (one) => bytes(one.pool_limit_bytes) },
      { label: "Spilled", number: true, text: (one) => bytes(one.spilled_bytes) },
      { label: "CPU, cores", widget: () => {
        const mark = shareMark();
        return { node: mark.node, update: (one) => mark.update(one.cpu_cores, one.threads, `${decimal(one.cpu_cores)} of ${one.threads ?? UNKNOWN}`) };
      } },
      { label: "Network", number: true, text: (one) => rate(one.network_bytes_per_second) },
      { label: "Disk", number: true, text: (one) => rate(one.disk_bytes_per_second) },
      { label: "Tasks running", number: true, text: (one) => count(one.tasks_running) },
      { label: "Tasks finished", number: true, text: (one) => count(one.tasks_finished) },
      { label: "Address", widget: () => mono((one) => one.address) },
      { label: "Process", number: true, text: (one) => String(one.process_id ?? UNKNOWN) },
      { label: "Heard", number: true, text: (one) => ago(one.heard_ms_ago) },
    ],
  });
}

function drainButton(executor) {
  const press = pressTwice({
    label: "Drain",
    confirm: "Press again to drain",
    busy: "Asking",
    done: "Asked to drain",
    describedBy: `executor ${shortId(executor.executor_id)}`,
    action: () => post(`api/executors/${encodeURIComponent(executor.executor_id)}/drain`),
  });
  return { node: press.node, update: (one) => setHidden(press.button, one.state === "draining") };
}

function executorCharts(one) {
  const charts = CHARTS.map((chart) => timeChart({ label: chart.label, format: chart.format, binary: chart.binary, series: chart.lines.map(([, name, cls]) => ({ name, class: cls })) }));
  const state = stateMark("alive");
  const node = h("section", { class: "executor" }, h("h3", {}, h("span", { class: "mono" }, one.id), state.node), h("div", { class: "charts" }, charts.map((chart) => chart.node)));
  return {
    node,
    update(next) {
      state.update(next.state === "gone" ? "lost" : next.state, next.state);
    },
    draw({ data }, maxima, now) {
      charts.forEach((chart, k) => chart.update({ at: data.at_ms ?? [], values: CHARTS[k].lines.map(([key]) => data[key] ?? []), from: now - HOUR_MS, to: now, max: maxima[k] }));
    },
  };
}

function largest(values) {
  let max = 0;
  for (const value of values ?? []) if (value > max) max = value;
  return max;
}
