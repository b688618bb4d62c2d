import { h, setHidden, setText, setVars } from "./dom.js";
import { bytes, count, duration, fullTime, known, oneLine, shortId } from "./format.js";
import { swatch } from "./marks.js";
import { RUNNING, SERVER, STATE_NAMES } from "./task_store.js";

const MARGIN = 8;

/** The details of one task beside the pointer or, for the keyboard, below the task; the latter is also spoken. */
export function taskTip() {
  const title = h("p", { class: "tip-title" });
  const list = h("dl");
  const sql = h("p", { class: "tip-sql" });
  const card = h("div", { class: "tip", role: "tooltip" }, title, list, sql);
  const spoken = h("p", { class: "unseen", "aria-live": "polite" });
  const node = h("div", {}, card, spoken);
  let shown = null;
  card.hidden = true;

  function fill(store, row, now, sqlOf) {
    const query = store.queries[store.query[row]];
    const lane = store.lanes[store.lane[row]];
    const running = store.state[row] === RUNNING;
    const elapsed = (running ? now : store.end[row]) - store.start[row];
    const facts = [
      ["State", STATE_NAMES[store.state[row]] + (store.attempt[row] > 0 ? `, attempt ${store.attempt[row] + 1}` : "")],
      ["Executor", lane.executor === SERVER ? `server, slot ${lane.slot}` : `${shortId(lane.executor)}, slot ${lane.slot}`],
      ["Started", fullTime(store.start[row])],
      [running ? "Running for" : "Took", duration(elapsed)],
      ["Transfer", duration(unknown(store.transfer[row]))],
      ["Rows", count(unknown(store.rows[row]))],
      ["Bytes", bytes(unknown(store.bytes[row]))],
      ["Spilled", bytes(unknown(store.spilled[row]))],
      ["Partitions", store.partitions[row] > 0 ? count(store.partitions[row]) : "–"],
    ];
    title.replaceChildren(swatch(store.colour[row]), `Query ${shortId(query.id)}, stage ${store.stage[row]}, task ${store.task[row]}`);
    list.replaceChildren(...facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
    const text = sqlOf?.get(query.id);
    setHidden(sql, !text);
    setText(sql, oneLine(text, 140));
    return `${title.textContent}, ${facts[0][1]}, ${facts[1][1]}, ${facts[3][0].toLowerCase()} ${facts[3][1]}`;
  }

  return {
    node,
    show(store, row, now, sqlOf, x, y, speak) {
      const changed = shown?.row !== row;
      shown = { row, sqlOf };
      if (changed || card.hidden) {
        const text = fill(store, row, now, sqlOf);
        if (speak) setText(spoken, text);
      }
      setHidden(card, false);
      const box = card.getBoundingClientRect();
      const left = x + 14 + box.width > innerWidth - MARGIN ? Math.max(MARGIN, Math.min(x - 14 - box.width, innerWidth - box.width - MARGIN)) : x + 14;
      const top = y + 14 + box.height > innerHeight - MARGIN ? Math.max(MARGIN, y - 14 - box.height) : y + 14;
      setVars(card, { "--x": `${Math.round(left)}px`, "--y": `${Math.round(top)}px` });
    },
    refresh(store, now) {
      if (shown && !card.hidden && shown.row < store.size) fill(store, shown.row, now, shown.sqlOf);
    },
    hide() {
      shown = null;
      setHidden(card, true);
      setText(spoken, "");
    },
  };
}

function unknown(value) {
  return known(value) ? value : null;
}
