import { h, setHidden, setText } from "./dom.js";
import { bytes, count, duration, fullTime, known, UNKNOWN } from "./format.js";
import { deviationMark, shareMark } from "./marks.js";
import { dataTable } from "./table.js";
import { stageGraph } from "./stage_graph.js";
import { stageOperators, stageTable } from "./profile_stages.js";

/** All that a profile tells about its query. Used by the query page and by the downloaded report. */
export function profileView({ queryId, stageHref, openAll = false }) {
  const facts = factList();
  const error = h("pre", { class: "error-text" });
  const errorSection = section("Error", error);
  const sql = h("pre", { class: "sql", tabindex: 0, "aria-label": "SQL" });
  const lints = simpleList("lints", lintItem);
  const lintSection = section("Lints", lints.node);
  const recoveries = recoveryTable();
  const recoverySection = section("Retries and recoveries", recoveries.node);
  const graph = stageGraph(stageHref);
  const graphSection = section("Stage graph", graph.node);
  const memory = memoryView();
  const memorySection = section("Memory", memory.node);
  const input = inputTable();
  const inputSection = section("Input tables", input.node);
  const avoided = simpleList("avoided", avoidedItem);
  const avoidedSection = section("Avoided exchanges", avoided.node);
  const stages = stageTable(queryId, stageHref);
  const stageSection = section("Stages", stages.node);
  const exchanges = exchangeTable();
  const exchangeSection = section("Exchanges", exchanges.node);
  const operators = stageOperators(queryId, openAll);
  const operatorSection = section("Operators", operators.node);
  const node = h("div", { class: "profile" }, facts.node, errorSection, section("SQL", sql), lintSection, recoverySection,
    graphSection, h("div", { class: "columns" }, h("div", {}, memorySection, avoidedSection), inputSection), stageSection, exchangeSection, operatorSection);

  function update(profile) {
    facts.update(profile);
    setHidden(errorSection, !profile.error);
    setText(error, profile.error ?? "");
    setText(sql, profile.sql ?? "");
    fill(lintSection, lints, profile.lint_list);
    fill(recoverySection, recoveries, profile.recoveries);
    fill(inputSection, input, profile.input);
    fill(avoidedSection, avoided, profile.avoided);
    const finished = new Set((profile.stages ?? []).filter((stage) => stage.state === "finished").map((stage) => stage.stage_id));
    fill(exchangeSection, exchanges, (profile.exchanges ?? []).map((one) => ({ ...one, ended: finished.has(one.from_stage) })));
    fill(stageSection, stages, profile.stages);
    fill(operatorSection, operators, profile.stages);
    setHidden(memorySection, !profile.memory);
    if (profile.memory) memory.update(profile.memory);
    setHidden(graphSection, !(profile.exchanges ?? []).length);
    if ((profile.exchanges ?? []).length) graph.update(profile);
  }
  return { node, update, openStage: operators.open };
}

function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), children);
}

function fill(box, view, items) {
  setHidden(box, !(items ?? []).length);
  view.update(items ?? []);
}

function factList() {
  const values = {};
  const item = (key, label) => {
    values[key] = h("dd");
    return h("div", { class: key === "reason" ? "long" : null }, h("dt", {}, label), values[key]);
  };
  const node = h("dl", { class: "strip" }, item("elapsed", "Elapsed"), item("planning", "Planning"), item("queued", "Queued"), item("rows", "Rows"), item("tasks", "Tasks"), item("exchanged", "Exchanged"),
    item("spilled", "Spilled"), item("retries", "Retries"), item("route", "Route"), item("reason", "Reason"), item("started", "Started"), item("ended", "Ended"), item("user", "User"), item("pid", "Process"), item("sqlstate", "SQLSTATE"));
  return {
    node,
    update(profile) {
      setText(values.elapsed, duration(profile.elapsed_ms));
      setText(values.planning, duration(profile.planning_ms));
      setText(values.queued, duration(profile.queued_ms));
      setText(values.rows, count(profile.rows));
      setText(values.tasks, `${profile.tasks_finished ?? UNKNOWN} of ${profile.tasks_total ?? UNKNOWN}`);
      setText(values.exchanged, bytes(profile.exchanged_bytes));
      setText(values.spilled, bytes(profile.spilled_bytes));
      setText(values.retries, count(profile.retries));
      setText(values.route, profile.route ?? UNKNOWN);
      setText(values.reason, profile.reason ?? UNKNOWN);
      setText(values.started, fullTime(profile.started_at_ms));
      setText(values.ended, fullTime(profile.ended_at_ms));
      setText(values.user, profile.user_name ?? UNKNOWN);
      setText(values.pid, profile.pid ?? UNKNOWN);
      setText(values.sqlstate, profile.sqlstate ?? UNKNOWN);
      setHidden(values.sqlstate.parentNode, !profile.sqlstate);
    },
  };
}

function simpleList(name, makeItem) {
  const node = h("ul", { class: `plain ${name}` });
  let shown = null;
  return {
    node,
    update(items) {
      const next = JSON.stringify(items);
      if (next === shown) return;
      shown = next;
      node.replaceChildren(...items.map(makeItem));
    },
  };
}

function lintItem(lint) {
  return h("li", {}, h("code", {}, lint.code), " ", lint.message, lint.hint ? h("div", { class: "hint" }, "Hint: ", lint.hint) : null);
}

function avoidedItem(avoided) {
  return h("li", {}, "By ", h("code", {}, (avoided.keys ?? []).join(", ")), `: ${avoided.reason ?? UNKNOWN}`);
}

function recoveryTable() {
  return dataTable({
    label: "Recoveries",
    key: (one) => `${one.at_ms} ${one.cause}`,
    columns: [
      { label: "At", text: (one) => fullTime(one.at_ms) },
      { label: "Cause", head: true, text: (one) => one.cause },
      { label: "Tasks kept", number: true, text: (one) => count(one.kept_tasks) },
      { label: "Tasks run again", number: true, text: (one) => count(one.rerun_tasks) },
      { label: "Time added", number: true, text: (one) => duration(one.added_ms) },
    ],
  });
}

function inputTable() {
  return dataTable({
    label: "Input tables",
    key: (one) => one.table,
    columns: [
      { label: "Table", head: true, text: (one) => one.table },
      { label: "Files read", number: true, text: (one) => count(one.files) },
      { label: "Files pruned", number: true, text: (one) => count(one.files_pruned) },
      { label: "Bytes", number: true, text: (one) => bytes(one.bytes) },
      { label: "Rows predicted", number: true, text: (one) => count(one.predicted_rows) },
    ],
  });
}

function exchangeTable() {
  return dataTable({
    label: "Exchanges",
    key: (one) => `${one.from_stage} ${one.to_stage}`,
    columns: [
      { label: "From → to", head: true, text: (one) => `${one.from_stage} → ${one.to_stage ?? "result"}` },
      { label: "Kind", text: (one) => one.kind },
      { label: "Keys", text: (one) => (one.keys ?? []).join(", ") || UNKNOWN, class: "keys" },
      { label: "Partitions", number: true, text: (one) => count(one.partitions) },
      { label: "Rows predicted", number: true, text: (one) => count(one.predicted_rows) },
      { label: "Rows", number: true, text: (one) => count(one.rows) },
      { label: "Rows differ", widget: () => {
        const mark = deviationMark();
        return { node: mark.node, update: (one) => mark.update(one.predicted_rows, one.rows, one.ended) };
      } },
      { label: "Bytes predicted", number: true, text: (one) => bytes(one.predicted_bytes) },
      { label: "Bytes", number: true, text: (one) => bytes(one.bytes) },
      { label: "Largest partition", number: true, text: (one) => bytes(one.largest_partition_bytes) },
      { label: "Median partition", number: true, text: (one) => bytes(one.median_partition_bytes) },
      { label: "Largest / median", number: true, widget: partitionSkew },
    ],
  });
}

function partitionSkew() {
  const node = h("span", { class: "deviation" });
  return {
    node,
    update(one) {
      const told = known(one.largest_partition_bytes) && one.median_partition_bytes > 0;
      const factor = told ? one.largest_partition_bytes / one.median_partition_bytes : null;
      setText(node, told ? `${factor.toFixed(1)}×` : UNKNOWN);
      node.classList.toggle("far", told && factor >= 4);
    },
  };
}

function memoryView() {
  const verdict = h("p", { class: "verdict" });
  const task = shareMark();
  const peak = shareMark();
  const executor = shareMark();
  const spill = h("dd");
  const line = (label, mark) => h("div", {}, h("dt", {}, label), h("dd", {}, mark.node));
  const node = h("div", {}, verdict, h("dl", { class: "meters" }, line("Task, predicted of its share", task), line("Task, peak of its share", peak), line("Executor, predicted of its pool", executor), h("div", {}, h("dt", {}, "Spill, predicted"), spill)));
  return {
    node,
    update(memory) {
      setText(verdict, `Verdict: ${memory.verdict ?? "not known"}`);
      task.update(memory.predicted_task_bytes, memory.task_share_bytes);
      peak.update(memory.peak_task_bytes, memory.task_share_bytes);
      executor.update(memory.predicted_executor_bytes, memory.executor_pool_bytes);
      setText(spill, bytes(memory.predicted_spill_bytes));
    },
  };
}
