import { h, setHidden, setText } from "./dom.js";
import { ago, bytes, count, decimal, duration, known, rate, shortId, UNKNOWN } from "./format.js";
import { getJson } from "./api.js";
import { timeChart } from "./chart.js";
import { queryLink } from "./links.js";
import { progressMark, shareMark, stateMark } from "./marks.js";
import { memoryBar } from "./memory_bar.js";
import { dataTable } from "./table.js";

const CHART_MS = 10 * 60 * 1000;
const MEASURES = ["cpu_cores", "network_bytes_per_second", "disk_bytes_per_second"];

export function overviewPage() {
  const strip = summaryStrip();
  const running = runningTable();
  const queue = queueTable();
  const queueSection = h("section", {}, h("h2", {}, "Queue"), queue.node);
  const processes = processTable();
  const charts = clusterCharts();
  const chartSection = h("section", {}, h("h2", {}, "Executors together, last 10 minutes"), charts.node);
  const node = h("div", { class: "page" }, h("h1", { class: "unseen" }, "Overview"), strip.node,
    h("section", {}, h("h2", {}, "Running queries"), running.node), queueSection,
    h("section", {}, h("h2", {}, "Processes"), processes.node, h("p", { class: "note" }, "Other is what is resident and neither reserved nor cached. The line in a bar marks the limit of the pool.")),
    chartSection);
  charts.load();

  return {
    node,
    title: "Overview",
    onOverview(overview) {
      const queries = overview.queries ?? [];
      const queued = queries.filter((query) => query.state === "queued");
      strip.update(overview);
      running.update(queries.filter((query) => query.state !== "queued"));
      queue.update(queued.sort((a, b) => (a.queue_position ?? Infinity) - (b.queue_position ?? Infinity)));
      setHidden(queueSection, queued.length === 0);
      setHidden(chartSection, !(overview.executors ?? []).length);
      processes.update([{ ...overview.server, executor_id: "server" }, ...(overview.executors ?? [])]);
      charts.add(overview);
    },
    onReconnect: charts.reload,
    close: charts.close,
  };
}

function summaryStrip() {
  const values = {};
  const item = (key, label) => {
    values[key] = h("dd");
    return h("div", {}, h("dt", {}, label), values[key]);
  };
  const node = h("dl", { class: "strip" }, item("running", "Running"), item("queued", "Queued"), item("finished", "Finished, last minute"), item("failed", "Failed"),
    item("cancelled", "Cancelled"), item("executors", "Executors"), item("tasks", "Tasks running"), item("connections", "Connections"), item("up", "Up for"));
  return {
    node,
    update({ now_ms: now, server, executors, queries, queued, ended_last_minute: ended }) {
      const draining = (executors ?? []).filter((one) => one.state === "draining").length;
      setText(values.running, (queries ?? []).filter((query) => query.state === "running").length);
      setText(values.queued, count(queued));
      for (const state of ["finished", "failed", "cancelled"]) setText(values[state], count(ended?.[state]));
      values.failed.classList.toggle("bad", (ended?.failed ?? 0) > 0);
      setText(values.executors, `${(executors ?? []).length}${draining ? ` (${draining} draining)` : ""}`);
      setText(values.tasks, `${sum(executors, "tasks_running") ?? UNKNOWN} of ${sum(executors, "threads") ?? UNKNOWN}`);
      setText(values.connections, `${server?.connections ?? UNKNOWN} of ${server?.connections_max ?? UNKNOWN}`);
      setText(values.up, known(server?.started_at_ms) ? duration(Math.floor((now - server.started_at_ms) / 1000) * 1000) : UNKNOWN);
    },
  };
}

function runningTable() {
  return dataTable({
    label: "Running queries",
    empty: "No query runs.",
    key: (query) => query.query_id,
    columns: [
      { label: "Query", head: true, widget: queryLink, class: "wide" },
      { label: "Progress", widget: () => {
        const mark = progressMark("Tasks finished");
        return { node: mark.node, update: (query) => mark.update({ finished: query.tasks_finished, running: query.tasks_running, total: query.tasks_total }) };
      } },
      { label: "Elapsed", number: true, text: (query) => duration(query.elapsed_ms) },
      { label: "Tasks now", number: true, text: (query) => count(query.tasks_running) },
      { label: "Exchanged", number: true, text: (query) => bytes(query.exchanged_bytes) },
      { label: "Spilled", number: true, text: (query) => bytes(query.spilled_bytes) },
      { label: "Retries", number: true, text: (query) => count(query.retries) },
      { label: "Lints", number: true, text: (query) => count(query.lints) },
      { label: "Route", text: (query) => query.route },
      { label: "User", text: (query) => query.user_name },
    ],
  });
}

function queueTable() {
  return dataTable({
    label: "Queued queries",
    key: (query) => query.query_id,
    columns: [
      { label: "Position", number: true, class: "narrow", text: (query) => count(query.queue_position) },
      { label: "Query", head: true, widget: queryLink, class: "wide" },
      { label: "Waiting for", number: true, text: (query) => duration(query.elapsed_ms) },
      { label: "User", text: (query) => query.user_name },
    ],
  });
}

function processTable() {
  return dataTable({
    label: "Memory, CPU, network and disk of each process",
    key: (process) => process.executor_id,
    columns: [
      { label: "Process", head: true, widget: processName },
      { label: "Memory: resident of cap", widget: (process) => memoryBar(process.executor_id === "server" ? "the server" : `executor ${shortId(process.executor_id)}`), class: "memory-cell" },
      { label: "Spilled", number: true, text: (process) => bytes(process.spilled_bytes) },
      { label: "CPU, cores", widget: () => {
        const mark = shareMark();
        return { node: mark.node, update: (process) => mark.update(process.cpu_cores, process.threads, `${decimal(process.cpu_cores)} of ${process.threads ?? UNKNOWN}`) };
      } },
      { label: "Network", number: true, text: (process) => rate(process.network_bytes_per_second) },
      { label: "Disk", number: true, text: (process) => rate(process.disk_bytes_per_second) },
      { label: "Tasks", number: true, text: (process) => count(process.tasks_running) },
      { label: "Heard", number: true, text: (process) => (process.executor_id === "server" ? "" : ago(process.heard_ms_ago)) },
    ],
  });
}

function processName(process) {
  if (process.executor_id === "server") return { node: h("span", {}, "Server"), update() {} };
  const state = stateMark(process.state);
  const address = h("span", { class: "id" });
  const node = h("div", { class: "process" }, h("a", { href: "#/executors", title: process.executor_id }, shortId(process.executor_id)), state.node, address);
  return {
    node,
    update(next) {
      state.update(next.state);
      setText(address, next.address);
    },
  };
}

/** Sums over the executors: the first ten minutes come from the stored series, what follows from the events. */
function clusterCharts() {
  const charts = [
    timeChart({ label: "CPU, cores", format: (value) => decimal(value), series: [{ name: "", class: "s0" }] }),
    timeChart({ label: "Network", format: rate, series: [{ name: "", class: "s1" }], binary: true }),
    timeChart({ label: "Disk", format: rate, series: [{ name: "", class: "s2" }], binary: true }),
  ];
  const node = h("div", { class: "charts three" }, charts.map((chart) => chart.node));
  const abort = new AbortController();
  let points = [];
  let latest = null;

  async function load() {
    try {
      const { interval_ms: interval, executors } = await getJson("api/executors", abort.signal);
      const sums = new Map();
      for (const one of Object.values(executors ?? {})) {
        let before = null;
        (one.at_ms ?? []).forEach((at, i) => {
          const bucket = Math.floor(at / interval) * interval;
          // Two samples of one executor in one bucket would count it twice.
          if (bucket === before) return;
          before = bucket;
          const values = sums.get(bucket) ?? [null, null, null];
          MEASURES.forEach((measure, k) => {
            if (known(one[measure]?.[i])) values[k] = (values[k] ?? 0) + one[measure][i];
          });
          sums.set(bucket, values);
        });
      }
      const first = points[0]?.at ?? Infinity;
      points = [...[...sums].map(([at, values]) => ({ at, values })).filter((point) => point.at < first - interval).sort((a, b) => a.at - b.at), ...points];
      if (latest !== null) draw();
    } catch {
      // The charts then begin with the present.
    }
  }

  // What happened while the server was away is only in the stored series.
  function reload() {
    points = [];
    load();
  }

  function add(overview) {
    const now = overview.now_ms;
    if (points.length && points[points.length - 1].at >= now) return;
    latest = now;
    points.push({ at: now, values: MEASURES.map((measure) => sum(overview.executors, measure)) });
    draw();
  }

  function draw() {
    points = points.filter((point) => point.at >= latest - CHART_MS);
    const at = points.map((point) => point.at);
    charts.forEach((chart, k) => chart.update({ at, values: [points.map((point) => point.values[k])], from: latest - CHART_MS, to: latest }));
  }
  return { node, load, reload, add, close: () => abort.abort() };
}

function sum(items, key) {
  let total = null;
  for (const item of items ?? []) if (known(item[key])) total = (total ?? 0) + item[key];
  return total;
}
