import { stageColour, STAGE_COLOURS } from "./format.js";

export const STATE_NAMES = ["running", "finished", "failed", "lost", "end not told"];
export const [RUNNING, FINISHED, FAILED, LOST, UNTOLD] = [0, 1, 2, 3, 4];
export const SERVER = "server";
const MOST_ROWS = 200000;
const FLOATS = ["start", "end", "rows", "bytes", "spilled", "transfer"];
const INTEGERS = ["query", "stage", "task", "attempt", "lane", "partitions"];
const SMALL = ["state", "colour"];

/** Tasks in columns of typed arrays; every lane has its tasks in the order of their starts. */
export class TaskStore {
  constructor() {
    this.clear();
  }

  clear() {
    this.size = 0;
    this.capacity = 0;
    this.queries = [];
    this.queryIndex = new Map();
    this.lanes = [];
    this.laneIndex = new Map();
    this.rowOf = new Map();
    this.running = new Set();
    this.missed = new Map();
    this.sortedLanes = null;
    this.grow(4096);
  }

  grow(capacity) {
    const bigger = (Type, old) => {
      const array = new Type(capacity);
      if (old) array.set(old);
      return array;
    };
    for (const name of FLOATS) this[name] = bigger(Float64Array, this[name]?.subarray(0, this.size));
    for (const name of INTEGERS) this[name] = bigger(Int32Array, this[name]?.subarray(0, this.size));
    for (const name of SMALL) this[name] = bigger(Uint8Array, this[name]?.subarray(0, this.size));
    this.capacity = capacity;
  }

  /** Takes over what /api/tasks or a `tasks` event tells. */
  apply(told) {
    const queries = told.queries.map((id) => this.internQuery(id));
    const touched = new Set();
    for (let i = 0; i < told.query.length; i += 1) {
      const state = STATE_NAMES.indexOf(told.state[i]);
      this.put({
        query: queries[told.query[i]], stage: told.stage[i], task: told.task[i], attempt: told.attempt?.[i] ?? 0,
        lane: this.internLane(told.executors[told.executor[i]], told.slot?.[i] ?? 0), start: told.started_ms[i], end: told.ended_ms?.[i] ?? NaN, state: state < 0 ? UNTOLD : state,
        rows: told.rows?.[i] ?? NaN, bytes: told.bytes?.[i] ?? NaN, spilled: told.spilled_bytes?.[i] ?? NaN, transfer: told.transfer_ms?.[i] ?? NaN, partitions: told.partitions?.[i] ?? 0,
      }, touched);
    }
    for (const lane of touched) this.sort(lane);
    if (this.size > MOST_ROWS) this.rebuild(this.size - MOST_ROWS * 0.9, -Infinity);
  }

  put(one, touched) {
    const key = this.keyOf(one.query, one.stage, one.task, one.attempt);
    let row = this.rowOf.get(key);
    const known = row !== undefined;
    if (!known) {
      if (this.size === this.capacity) this.grow(this.capacity * 2);
      row = this.size;
      this.size += 1;
      this.rowOf.set(key, row);
    }
    // What has ended does not run again: an answer may be older than an event.
    if (known && one.state === RUNNING && this.state[row] !== RUNNING) return;
    const movedLane = known && this.lane[row] !== one.lane;
    if (movedLane) this.lanes[this.lane[row]].remove(row);
    for (const name of FLOATS) this[name][row] = one[name];
    for (const name of INTEGERS) this[name][row] = one[name];
    this.state[row] = one.state;
    this.colour[row] = (this.queries[one.query].colour + one.stage) % STAGE_COLOURS;
    const lane = this.lanes[one.lane];
    if (!known || movedLane) {
      lane.append(row);
      touched.add(lane);
    }
    if (one.state === RUNNING) this.running.add(row);
    else {
      this.running.delete(row);
      lane.longest = Math.max(lane.longest, this.end[row] - this.start[row]);
    }
    if (one.attempt > 0) this.endEarlierAttempt(one);
  }

  // A re-run says that the attempt before it is over, even when its end was never told.
  endEarlierAttempt(one) {
    const row = this.rowOf.get(this.keyOf(one.query, one.stage, one.task, one.attempt - 1));
    if (row !== undefined && this.state[row] === RUNNING) this.close(row, LOST, one.start);
  }

  close(row, state, at) {
    this.state[row] = state;
    this.end[row] = Math.max(at, this.start[row]);
    this.running.delete(row);
    const lane = this.lanes[this.lane[row]];
    lane.longest = Math.max(lane.longest, this.end[row] - this.start[row]);
  }

  /** Ends tasks of queries that have not been among the live ones for two events in a row. */
  closeOrphans(liveQueries, now) {
    let changed = false;
    for (const row of this.running) {
      if (liveQueries.has(this.queries[this.query[row]].id)) {
        this.missed.delete(row);
        continue;
      }
      const times = (this.missed.get(row) ?? 0) + 1;
      this.missed.set(row, times);
      if (times < 3) continue;
      this.missed.delete(row);
      this.close(row, UNTOLD, now);
      changed = true;
    }
    return changed;
  }

  // 16 bits of query, 12 of stage, 20 of task and 4 of attempt fit the 53 bits of a number.
  keyOf(query, stage, task, attempt) {
    return ((query * 4096 + (stage & 4095)) * 1048576 + (task & 1048575)) * 16 + Math.min(attempt, 15);
  }

  internQuery(id) {
    let index = this.queryIndex.get(id);
    if (index === undefined) {
      index = this.queries.length;
      this.queries.push({ id, colour: stageColour(id, 0) });
      this.queryIndex.set(id, index);
    }
    return index;
  }

  internLane(executor, slot) {
    const key = `${slot} ${executor}`;
    let index = this.laneIndex.get(key);
    if (index === undefined) {
      index = this.lanes.length;
      this.lanes.push(new Lane(executor, slot));
      this.laneIndex.set(key, index);
      this.sortedLanes = null;
    }
    return index;
  }

  /** Lanes in the order in which they are drawn: the server first, then the executors. */
  order() {
    this.sortedLanes ??= [...this.lanes].sort((a, b) => (b.executor === SERVER) - (a.executor === SERVER) || (a.executor < b.executor ? -1 : a.executor > b.executor ? 1 : a.slot - b.slot));
    return this.sortedLanes;
  }

  sort(lane) {
    const { start } = this;
    let sorted = true;
    for (let i = lane.sortedUpTo; i < lane.length; i += 1) {
      if (i > 0 && start[lane.rows[i - 1]] > start[lane.rows[i]]) {
        sorted = false;
        break;
      }
    }
    if (!sorted) lane.rows.subarray(0, lane.length).sort((a, b) => start[a] - start[b]);
    lane.sortedUpTo = lane.length;
  }

  /** The place of the first task of a lane that starts at or after a time. */
  firstFrom(lane, time) {
    let low = 0;
    let high = lane.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start[lane.rows[middle]] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Forgets what ended before a time, once that is worth a copy. */
  prune(before) {
    let old = 0;
    for (let row = 0; row < this.size; row += 1) if (this.end[row] < before) old += 1;
    if (old > 5000 && old > this.size / 5) this.rebuild(0, before);
  }

  rebuild(skip, before) {
    const from = { ...this };
    const rows = [];
    for (let row = 0; row < from.size; row += 1) if (!(from.end[row] < before)) rows.push(row);
    rows.sort((a, b) => from.start[a] - from.start[b]);
    for (const name of [...FLOATS, ...INTEGERS, ...SMALL]) this[name] = null;
    this.clear();
    const touched = new Set();
    for (const row of rows.slice(skip)) {
      const lane = from.lanes[from.lane[row]];
      const one = { state: from.state[row] };
      for (const name of FLOATS) one[name] = from[name][row];
      for (const name of INTEGERS) one[name] = from[name][row];
      this.put({ ...one, query: this.internQuery(from.queries[from.query[row]].id), lane: this.internLane(lane.executor, lane.slot) }, touched);
    }
    for (const lane of touched) this.sort(lane);
  }
}

class Lane {
  constructor(executor, slot) {
    this.executor = executor;
    this.slot = slot;
    this.rows = new Int32Array(256);
    this.length = 0;
    this.sortedUpTo = 0;
    this.longest = 0;
  }

  append(row) {
    if (this.length === this.rows.length) {
      const rows = new Int32Array(this.length * 2);
      rows.set(this.rows);
      this.rows = rows;
    }
    this.rows[this.length] = row;
    this.length += 1;
  }

  remove(row) {
    const place = this.rows.subarray(0, this.length).indexOf(row);
    if (place < 0) return;
    this.rows.copyWithin(place, place + 1, this.length);
    this.length -= 1;
    this.sortedUpTo = 0;
  }
}
