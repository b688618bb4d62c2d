import { RUNNING } from "./task_store.js";

/** The height of the axis above the lanes, in CSS pixels. */
export const AXIS = 22;
const GROUP_GAP = 6;
const NEAR_PIXELS = 4;

/** The vertical places of the lanes, in CSS pixels. */
export function layoutLanes(lanes) {
  const height = lanes.length <= 12 ? 22 : lanes.length <= 24 ? 18 : lanes.length <= 48 ? 13 : lanes.length <= 96 ? 9 : 6;
  let y = AXIS;
  const places = lanes.map((lane, i) => {
    if (i > 0 && lanes[i - 1].executor !== lane.executor) y += GROUP_GAP;
    const place = { lane, y, first: i === 0 || lanes[i - 1].executor !== lane.executor };
    y += height;
    return place;
  });
  return { places, laneHeight: height, height: Math.max(y + 4, 80) };
}

/** The task at a point, or the nearest one within some pixels; null when there is none. */
export function taskAt(store, view, x, y) {
  const place = view.layout.places.find((one) => y >= one.y && y < one.y + view.layout.laneHeight);
  if (!place || x < view.gutter) return null;
  const perPixel = (view.to - view.from) / (view.width - view.gutter);
  const time = view.from + (x - view.gutter) * perPixel;
  const { lane } = place;
  let best = null;
  let bestAway = NEAR_PIXELS * perPixel;
  const look = (row) => {
    const finish = store.state[row] === RUNNING ? view.now : store.end[row];
    const away = Math.max(store.start[row] - time, time - finish, 0);
    if (away < bestAway || (away === 0 && bestAway > 0)) {
      best = row;
      bestAway = away;
    }
  };
  for (let i = store.firstFrom(lane, time - lane.longest - bestAway); i < lane.length && store.start[lane.rows[i]] <= time + NEAR_PIXELS * perPixel; i += 1) look(lane.rows[i]);
  for (const row of store.running) if (store.lanes[store.lane[row]] === lane) look(row);
  return best;
}
