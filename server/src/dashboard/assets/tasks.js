import { h, setHidden, setText } from "./dom.js";
import { duration } from "./format.js";
import { getJson } from "./api.js";
import { queryHref } from "./links.js";
import { readTheme, TaskCanvas } from "./task_canvas.js";
import { listenToCanvas } from "./task_input.js";
import { layoutLanes, taskAt } from "./task_layout.js";
import { runningSummary, STREAM_HELP, streamLegend } from "./task_legend.js";
import { RUNNING, TaskStore } from "./task_store.js";
import { taskTip } from "./task_tip.js";

const HOUR_MS = 3600 * 1000;
const SHORTEST_MS = 200;
const SPANS = [["1 min", 60000], ["5 min", 300000], ["15 min", 900000], ["1 h", HOUR_MS]];
const AHEAD = 0.02;

export function tasksPage() {
  const store = new TaskStore();
  const canvas = h("canvas", { class: "stream", tabindex: 0, role: "application", "aria-label": "Task stream", "aria-describedby": "stream-help" });
  const painter = new TaskCanvas(canvas);
  const tip = taskTip();
  const summary = runningSummary();
  const note = h("p", { class: "empty", role: "status" }, "Loading");
  const followButton = h("button", { type: "button", on: { click: () => setFollow(!follow) } }, "Follow");
  const spanButtons = SPANS.map(([name, ms]) => h("button", { type: "button", on: { click: () => setSpan(ms) } }, name));
  const range = h("span", { class: "note range" });
  const toolbar = h("div", { class: "toolbar", role: "group", "aria-label": "View of the task stream" }, followButton, h("span", { class: "group" }, spanButtons),
    h("span", { class: "group" }, h("button", { type: "button", "aria-label": "Zoom in", on: { click: () => zoom(1 / 1.5, null) } }, "+"), h("button", { type: "button", "aria-label": "Zoom out", on: { click: () => zoom(1.5, null) } }, "−")), range);
  const box = h("div", { class: "stream-box" }, canvas);
  const node = h("div", { class: "page" }, h("div", { class: "title" }, h("h1", {}, "Task stream"), note), toolbar, box, streamLegend(), h("p", { class: "note", id: "stream-help" }, STREAM_HELP),
    h("section", {}, h("h2", {}, "Running now"), summary.node), tip.node);
  const abort = new AbortController();
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const sqlOf = new Map();
  const counters = { draws: 0, lastDrawMs: 0, get marks() { return painter.shownMarks(); } };
  window.sluiceStream = counters;

  let [clockOffset, frozenAt] = [null, null];
  let span = innerWidth < 600 ? 120000 : 300000;
  let to = 0;
  let follow = true;
  let [dirty, lastColumn] = [true, 0];
  let [chosen, laneChosen, byKeyboard] = [null, null, false];
  let [buffered, ready] = [[], false];
  let [layout, laidOut] = [layoutLanes([]), null];
  let [width, frame, prunedAt] = [0, 0, 0];
  let themeRead = false;

  const now = () => frozenAt ?? Date.now() + (clockOffset ?? 0);
  const gutter = () => (width < 600 ? 74 : 96);
  const view = () => ({ from: to - span, to, now: now(), gutter: gutter(), width, layout, ratio: devicePixelRatio || 1, chosen, lane: laneChosen });

  async function load() {
    ready = false;
    // Before the server's clock is known, this computer's may be far off.
    const since = clockOffset === null ? 0 : Math.floor(now() - HOUR_MS);
    try {
      const told = await getJson(`api/tasks?since_ms=${since}`, abort.signal);
      hearClock(told.now_ms);
      choose(null);
      store.clear();
      store.apply(told);
      // Events that came while the answer was on its way are newer than it or the same.
      for (const event of buffered) store.apply(event);
      setText(note, told.truncated ? "Only the latest 100,000 tasks are shown." : "");
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(note, error.message);
      for (const event of buffered) store.apply(event);
    }
    buffered = [];
    ready = true;
    dirty = true;
  }

  async function loadTexts() {
    try {
      const { queries } = await getJson("api/queries?limit=100", abort.signal);
      for (const query of queries ?? []) sqlOf.set(query.query_id, query.sql);
    } catch {
      // The texts only adorn the tooltip.
    }
  }

  function hearClock(serverNow) {
    const offset = serverNow - Date.now();
    // Deliveries are late by varying amounts; the least late one is nearest to the truth.
    if (clockOffset === null || offset > clockOffset || Math.abs(offset - clockOffset) > 2000) clockOffset = offset;
  }

  function setFollow(on) {
    follow = on;
    dirty = true;
    followButton.setAttribute("aria-pressed", String(on));
  }

  function setSpan(ms) {
    const anchor = follow ? null : to - span / 2;
    span = Math.min(HOUR_MS * 1.05, Math.max(SHORTEST_MS, ms));
    if (anchor !== null) moveTo(anchor + span / 2);
    dirty = true;
  }

  function moveTo(next) {
    const present = now() + span * AHEAD;
    to = Math.min(present, Math.max(now() - HOUR_MS + span * 0.9, next));
    dirty = true;
  }

  function pan(pixels) {
    if (pixels === 0) return;
    const before = to;
    moveTo(to - (pixels * span) / Math.max(1, width - gutter()));
    if (to < before) setFollow(false);
  }

  function zoom(factor, x) {
    const next = Math.min(HOUR_MS * 1.05, Math.max(SHORTEST_MS, span * factor));
    // While it follows, the present stays where it is; otherwise the time below the pointer does.
    if (!follow) {
      const share = x === null ? 0.5 : Math.min(1, Math.max(0, (x - gutter()) / Math.max(1, width - gutter())));
      const at = to - span + share * span;
      span = next;
      moveTo(at + (1 - share) * next);
    } else span = next;
    dirty = true;
  }

  function choose(row, keyboard = false) {
    if (row === chosen && keyboard === byKeyboard) return;
    chosen = row;
    byKeyboard = keyboard;
    dirty = true;
    if (row === null) tip.hide();
    canvas.classList.toggle("over-task", row !== null && !keyboard);
  }

  function showTip(x, y) {
    if (chosen === null) return;
    const box = canvas.getBoundingClientRect();
    tip.show(store, chosen, now(), sqlOf, box.left + x, box.top + y, byKeyboard);
  }

  function openQuery(row) {
    if (row !== null) location.hash = queryHref(store.queries[store.query[row]].id);
  }

  function stepLane(step) {
    const places = layout.places;
    if (!places.length) return;
    const at = places.findIndex((place) => place.lane === laneChosen);
    laneChosen = places[at < 0 ? 0 : Math.min(places.length - 1, Math.max(0, at + step))].lane;
    const edge = to - span * 0.1;
    const index = store.firstFrom(laneChosen, follow ? now() : edge) - 1;
    chooseInLane(index);
  }

  function stepTask(step) {
    if (!laneChosen) return stepLane(0);
    const index = chosen === null ? -1 : laneChosen.rows.subarray(0, laneChosen.length).indexOf(chosen);
    chooseInLane(index < 0 ? laneChosen.length - 1 : index + step);
  }

  function chooseInLane(index) {
    const row = index >= 0 && index < laneChosen.length ? laneChosen.rows[index] : null;
    dirty = true;
    if (row === null) return;
    choose(row, true);
    // A chosen task should not slip away below its details.
    setFollow(false);
    const start = store.start[row];
    const end = store.state[row] === RUNNING ? now() : store.end[row];
    if (end < to - span || start > to || (start < to - span && end > to)) {
      moveTo(start + span / 2);
    }
    const place = layout.places.find((one) => one.lane === laneChosen);
    const x = gutter() + ((Math.max(start, to - span) - (to - span)) / span) * (width - gutter());
    showTip(Math.max(gutter(), x), place.y + layout.laneHeight);
  }

  listenToCanvas(canvas, {
    pan, zoom,
    panShare: (share) => pan(-share * (width - gutter())),
    point(x, y) {
      choose(taskAt(store, view(), x, y));
      showTip(x, y);
    },
    leave: () => !byKeyboard && choose(null),
    click(x, y, kind) {
      const row = taskAt(store, view(), x, y);
      // A finger has no hover: its first tap shows the details and its second opens the query.
      if (kind === "touch" && row !== chosen) {
        choose(row);
        showTip(x, y);
      } else openQuery(row);
    },
    lane: stepLane,
    task: stepTask,
    open: () => openQuery(chosen),
    follow: () => setFollow(true),
    oldest() {
      setFollow(false);
      moveTo(-Infinity);
    },
    clear() {
      laneChosen = null;
      choose(null);
      dirty = true;
    },
  });

  function tick() {
    frame = requestAnimationFrame(tick);
    if (width === 0 || clockOffset === null) return;
    const order = store.order();
    if (order !== laidOut) {
      laidOut = order;
      layout = layoutLanes(order);
      canvas.style.setProperty("height", `${layout.height}px`);
      dirty = true;
    }
    if (follow) {
      const present = now() + span * AHEAD;
      const column = Math.floor((present * (width - gutter()) * (devicePixelRatio || 1)) / span);
      // Without motion the picture steps forward when there is news, once a second.
      if (column !== lastColumn && (!still.matches || dirty)) {
        lastColumn = column;
        dirty = true;
      }
      if (dirty) to = present;
    }
    if (!dirty) return;
    dirty = false;
    if (!themeRead) {
      painter.setTheme(readTheme(canvas));
      themeRead = true;
    }
    const began = performance.now();
    painter.draw(store, view());
    counters.lastDrawMs = performance.now() - began;
    counters.draws += 1;
    setText(range, `${duration(Math.round(span / 100) * 100)} shown`);
    SPANS.forEach(([, ms], i) => spanButtons[i].setAttribute("aria-pressed", String(Math.abs(ms - span) < 1)));
  }

  const watcher = new ResizeObserver((entries) => {
    width = Math.floor(entries[0].contentRect.width);
    canvas.style.setProperty("width", `${width}px`);
    dirty = true;
  });
  watcher.observe(box);
  setFollow(true);
  load();
  loadTexts();
  frame = requestAnimationFrame(tick);

  return {
    node,
    title: "Task stream",
    live: "?tasks=1",
    onTasks(told) {
      hearClock(told.now_ms);
      if (ready) store.apply(told);
      else buffered.push(told);
      dirty = true;
    },
    onOverview(overview) {
      hearClock(overview.now_ms);
      for (const query of overview.queries ?? []) sqlOf.set(query.query_id, query.sql);
      for (const executor of overview.executors ?? []) for (let slot = 0; slot < Math.min(256, executor.threads ?? 0); slot += 1) store.internLane(executor.executor_id, slot);
      if (ready && store.closeOrphans(new Set((overview.queries ?? []).map((query) => query.query_id)), overview.now_ms)) dirty = true;
      summary.update(store, overview.now_ms, sqlOf);
      if (overview.now_ms - prunedAt > 60000) {
        prunedAt = overview.now_ms;
        choose(null);
        store.prune(overview.now_ms - HOUR_MS);
        laneChosen = null;
        dirty = true;
      }
      if (byKeyboard) tip.refresh(store, now());
    },
    onReconnect: load,
    // Without news from the server nobody knows whether the tasks still run: the picture stops.
    onStatus(status) {
      frozenAt = status === "live" ? null : now();
    },
    onTheme() {
      themeRead = false;
      dirty = true;
    },
    close() {
      cancelAnimationFrame(frame);
      watcher.disconnect();
      abort.abort();
      setHidden(tip.node, true);
      delete window.sluiceStream;
    },
  };
}
