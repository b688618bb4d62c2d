import { h, keyed, setText, setVars } from "./dom.js";
import { bytes, count, decimal, duration, known, shortCount, stageColour, UNKNOWN } from "./format.js";
import { deviationMark, stateMark, swatch } from "./marks.js";
import { dataTable } from "./table.js";

const OPEN_UP_TO = 4;
const SKEW_TO_NOTE = 3;

/** A row per stage: predicted against actual. */
export function stageTable(queryId, stageHref) {
  return dataTable({
    label: "Stages",
    key: (stage) => stage.stage_id,
    columns: [
      { label: "Stage", head: true, widget: (stage) => ({ node: h("a", { href: stageHref(stage.stage_id), class: "stage-link" }, swatch(stageColour(queryId, stage.stage_id)), `Stage ${stage.stage_id}`) }) },
      { label: "State", widget: (stage) => {
        const mark = stateMark(stage.state);
        return { node: mark.node, update: (next) => mark.update(next.state) };
      } },
      { label: "Tasks", number: true, text: (stage) => `${stage.tasks_finished ?? UNKNOWN}/${stage.tasks_total ?? UNKNOWN}` },
      { label: "Elapsed", number: true, text: (stage) => duration(stage.elapsed_ms) },
      { label: "Compute", number: true, text: (stage) => duration(stage.compute_ms) },
      { label: "Rows predicted", number: true, text: (stage) => count(stage.predicted_rows) },
      { label: "Rows", number: true, text: (stage) => count(stage.rows) },
      { label: "Rows differ", widget: rowsDiffer },
      { label: "Bytes predicted", number: true, text: (stage) => bytes(stage.predicted_bytes) },
      { label: "Bytes", number: true, text: (stage) => bytes(stage.bytes) },
      { label: "Task memory predicted", number: true, text: (stage) => bytes(stage.predicted_task_bytes) },
      { label: "Task memory peak", number: true, text: (stage) => bytes(stage.peak_task_bytes) },
      { label: "Spilled", number: true, text: (stage) => bytes(stage.spilled_bytes) },
      { label: "Skew", number: true, title: "The largest part of the stage against the typical one", widget: skewMark },
    ],
  });
}

/** The operators of each stage in a box that opens; open(id) is for the links of the graph. */
export function stageOperators(queryId, startOpen) {
  const node = h("div", { class: "stage-list" });
  let few = null;
  function update(stages) {
    few ??= startOpen || stages.length <= OPEN_UP_TO;
    keyed(node, stages, (stage) => stage.stage_id, (stage) => operatorBox(queryId, stage, few));
  }
  function open(id) {
    const box = node.querySelector(`details[data-stage="${CSS.escape(String(id))}"]`);
    if (!box) return;
    box.open = true;
    box.scrollIntoView({ block: "start" });
    box.querySelector("summary").focus({ preventScroll: true });
  }
  return { node, update, open };
}

function operatorBox(queryId, first, startOpen) {
  const state = stateMark(first.state);
  const figures = h("span", { class: "note" });
  const table = operatorTable(first.stage_id);
  const node = h("details", { class: "stage", id: `stage-${first.stage_id}`, "data-stage": first.stage_id, open: startOpen },
    h("summary", {}, swatch(stageColour(queryId, first.stage_id)), h("strong", {}, `Stage ${first.stage_id}`), state.node, figures), table.node);
  return {
    node,
    update(stage) {
      state.update(stage.state);
      setText(figures, `${stage.tasks_finished ?? UNKNOWN}/${stage.tasks_total ?? UNKNOWN} tasks, ${shortCount(stage.rows)} rows, ${duration(stage.elapsed_ms)}${stage.spilled_bytes > 0 ? `, spilled ${bytes(stage.spilled_bytes)}` : ""}`);
      const operators = stage.operators ?? [];
      const most = Math.max(0, ...operators.map((one) => one.compute_ms ?? 0));
      table.update(operators.map((operator, i) => ({ ...operator, state: stage.state, key: `${i} ${operator.depth} ${operator.name}`, most })));
    },
  };
}

function operatorTable(stageId) {
  return dataTable({
    label: `Operators of stage ${stageId}`,
    empty: "No operators are told.",
    key: (operator) => operator.key,
    columns: [
      { label: "Operator", head: true, class: "operator-cell", widget: operatorName },
      { label: "Rows predicted", number: true, text: (operator) => count(operator.predicted_rows) },
      { label: "Rows", number: true, text: (operator) => count(operator.rows) },
      { label: "Rows differ", widget: rowsDiffer },
      { label: "Compute", number: true, widget: computeMark },
      { label: "Bytes", number: true, text: (operator) => bytes(operator.bytes) },
      { label: "Spilled", number: true, text: (operator) => bytes(operator.spilled_bytes) },
    ],
  });
}

function operatorName() {
  const name = h("span", { class: "operator-name" });
  const detail = h("span", { class: "detail" });
  const node = h("div", { class: "operator" }, name, " ", detail);
  return {
    node,
    update(operator) {
      setVars(node, { "--depth": Math.min(20, operator.depth ?? 0) });
      setText(name, operator.name);
      setText(detail, operator.detail ?? "");
    },
  };
}

function rowsDiffer() {
  const mark = deviationMark();
  return { node: mark.node, update: (item) => mark.update(item.predicted_rows, item.rows, item.state === "finished") };
}

function computeMark() {
  const bar = h("i", { class: "compute", "aria-hidden": "true" });
  const text = h("span");
  return {
    node: h("span", { class: "compute-cell" }, bar, text),
    update(operator) {
      setVars(bar, { "--done": operator.most > 0 ? (operator.compute_ms ?? 0) / operator.most : 0 });
      setText(text, duration(operator.compute_ms));
    },
  };
}

function skewMark() {
  const node = h("span", { class: "deviation" });
  return {
    node,
    update(stage) {
      setText(node, known(stage.skew) ? `${decimal(stage.skew)}×` : UNKNOWN);
      node.classList.toggle("far", stage.skew >= SKEW_TO_NOTE);
    },
  };
}
