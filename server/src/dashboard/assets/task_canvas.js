import { STAGE_COLOURS, shortId } from "./format.js";
import { FAILED, LOST, RUNNING, SERVER } from "./task_store.js";
import { AXIS } from "./task_layout.js";
import { drawMarks, makeHatch, makeSprites } from "./task_marks.js";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map((seconds) => seconds * 1000);
const MARK_DISTANCE = 9;

/** Colours come from the style sheet, so that the canvas follows the theme. */
export function readTheme(node) {
  const style = getComputedStyle(node);
  const get = (name) => style.getPropertyValue(name).trim();
  const theme = { background: get("--surface"), ink: get("--ink"), muted: get("--muted"), line: get("--line"), lane: get("--lane"), bad: get("--bad"), font: style.fontFamily, stages: [], dark: [] };
  for (let i = 0; i < STAGE_COLOURS; i += 1) {
    theme.stages.push(get(`--c${i}`));
    theme.dark.push(get(`--d${i}`));
  }
  return theme;
}

export class TaskCanvas {
  constructor(canvas) {
    this.context = canvas.getContext("2d", { alpha: false });
    this.canvas = canvas;
    this.strip = document.createElement("canvas");
    this.stripContext = this.strip.getContext("2d", { willReadFrequently: true });
    this.marks = [];
    this.broken = [];
    this.tips = [];
  }

  setTheme(theme) {
    this.theme = theme;
    this.bodyPixels = Uint32Array.from(theme.stages, pixelOf);
    this.transferPixels = Uint32Array.from(theme.dark, pixelOf);
    this.tools = null;
  }

  /** view: { from, to, now, gutter, width, layout, ratio, chosen, lane }; sizes in CSS pixels. */
  draw(store, view) {
    const { context, theme, canvas } = this;
    const { ratio, layout } = view;
    const width = Math.round(view.width * ratio);
    const height = Math.round(layout.height * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const wanted = `${ratio} ${layout.laneHeight}`;
    if (this.tools !== wanted) {
      this.tools = wanted;
      this.hatch = makeHatch(context, theme, ratio);
      this.sprites = makeSprites(theme, ratio, layout.laneHeight);
    }
    context.fillStyle = theme.background;
    context.fillRect(0, 0, width, height);
    const left = Math.round(view.gutter * ratio);
    const plot = Math.max(1, width - left);
    const scale = plot / (view.to - view.from);
    this.lanesBehind(view, left, width);
    this.axis(view, left, width, height, scale);
    this.clearPixels(plot, layout.places.length * 2);
    this.marks.length = this.broken.length = this.tips.length = 0;
    layout.places.forEach((place, i) => this.lane(store, view, place, i, plot, scale));
    for (const row of store.running) this.longRunning(store, view, row, plot, scale);
    context.save();
    context.beginPath();
    context.rect(left, 0, plot, height);
    context.clip();
    context.translate(left, 0);
    this.paint(view, plot);
    this.chosen(store, view, scale);
    context.restore();
    this.labels(view, left);
  }

  /** The kinds of marks that the last draw has put down. */
  shownMarks() {
    return new Set(this.marks.filter((_, i) => i % 4 === 0));
  }

  clearPixels(plot, rows) {
    if (this.strip.width !== plot || this.strip.height !== rows || !this.image) {
      this.strip.width = plot;
      this.strip.height = Math.max(1, rows);
      this.image = new ImageData(plot, Math.max(1, rows));
      this.pixels = new Uint32Array(this.image.data.buffer);
    } else this.pixels.fill(0);
  }

  lane(store, view, { lane, y }, index, plot, scale) {
    const { start, end, colour, state, spilled, attempt } = store;
    const { rows, length } = lane;
    const { ratio, from, to, now } = view;
    const { pixels, bodyPixels } = this;
    const top = Math.round(y * ratio) + 1;
    const tall = Math.round(view.layout.laneHeight * ratio) - 2;
    const base = index * 2 * plot;
    const distance = MARK_DISTANCE * ratio;
    let column = -1;
    let share = 0;
    let lastBroken = -1e9;
    let lastShape = -1e9;
    let lastSpill = -1e9;
    let lastRetry = -1e9;

    for (let i = store.firstFrom(lane, from - lane.longest); i < length; i += 1) {
      const row = rows[i];
      const begin = start[row];
      if (begin > to) break;
      const finish = state[row] === RUNNING ? Math.max(now, begin) : end[row];
      if (finish < from) continue;
      const x0 = (begin - from) * scale;
      const x1 = (finish - from) * scale;
      const wide = x1 - x0;
      if (wide < 1.5) {
        // Of the tasks in one column of pixels, the longest gives the colour.
        const at = x0 < 0 ? 0 : x0 | 0;
        if (at !== column || wide > share) {
          column = at;
          share = wide;
          if (at < plot) pixels[base + at] = bodyPixels[colour[row]];
        }
      } else this.body(store, row, x0, x1, top, tall, base, plot, ratio, scale);
      if ((state[row] === FAILED || state[row] === LOST) && (wide > 3 || x0 - lastBroken > 3)) {
        const shown = Math.max(wide, 3);
        this.broken.push(Math.round(x0), top, Math.round(shown), tall);
        lastBroken = x0;
        const middle = (Math.max(x0, 0) + Math.min(x0 + shown, plot)) / 2;
        if (middle - lastShape > distance) {
          this.marks.push(state[row] === FAILED ? "failed" : "lost", middle, top, tall);
          lastShape = middle;
        }
      }
      if (spilled[row] > 0 && x0 - lastSpill > distance) {
        this.marks.push("spill", x0 + Math.min(wide / 2, 6 * ratio), top, tall);
        lastSpill = x0;
      }
      if (attempt[row] > 0 && x0 - lastRetry > distance) {
        this.marks.push("retry", x0 + 4 * ratio, top, tall);
        lastRetry = x0;
      }
    }
  }

  // A lane is two rows of pixels, stretched to its height later: whole-height bodies, and the thinner transfers.
  body(store, row, x0, x1, top, tall, base, plot, ratio, scale) {
    const colour = store.colour[row];
    const gap = Math.max(1, Math.round(ratio * 0.5));
    const a = Math.max(0, Math.round(x0));
    const b = Math.min(plot, Math.round(x1));
    const last = b - a > 3 * gap ? b - gap : b;
    const transferred = store.transfer[row] > 0 ? Math.min(last, Math.round(x0 + store.transfer[row] * scale)) : a;
    const split = transferred - a >= 2 ? transferred : a;
    const { pixels } = this;
    const dark = this.transferPixels[colour];
    const full = this.bodyPixels[colour];
    for (let x = a; x < split; x += 1) pixels[base + plot + x] = dark;
    for (let x = split; x < last; x += 1) pixels[base + x] = full;
    if (store.state[row] === RUNNING) this.tips.push(b - 2 * gap, top, 2 * gap, tall);
  }

  paint({ ratio, layout }, plot) {
    const { context, theme, strip } = this;
    this.stripContext.putImageData(this.image, 0, 0);
    context.imageSmoothingEnabled = false;
    const tall = Math.round(layout.laneHeight * ratio) - 2;
    const thin = Math.max(2, Math.round(tall * 0.5));
    layout.places.forEach(({ y }, i) => {
      const top = Math.round(y * ratio) + 1;
      context.drawImage(strip, 0, i * 2, plot, 1, 0, top, plot, tall);
      context.drawImage(strip, 0, i * 2 + 1, plot, 1, 0, top + Math.round((tall - thin) / 2), plot, thin);
    });
    fillAll(context, this.broken, this.hatch);
    fillAll(context, this.tips, theme.ink);
    drawMarks(context, this.sprites, this.marks);
  }

  // The search for the first visible task goes back by the longest ended task, which a running one may exceed.
  longRunning(store, view, row, plot, scale) {
    const lane = store.lanes[store.lane[row]];
    if (store.start[row] >= view.from - lane.longest) return;
    const index = view.layout.places.findIndex((one) => one.lane === lane);
    if (index < 0) return;
    const top = Math.round(view.layout.places[index].y * view.ratio) + 1;
    const tall = Math.round(view.layout.laneHeight * view.ratio) - 2;
    this.body(store, row, (store.start[row] - view.from) * scale, (view.now - view.from) * scale, top, tall, index * 2 * plot, plot, view.ratio, scale);
  }

  lanesBehind({ ratio, layout, lane: chosenLane }, left, width) {
    const { context, theme } = this;
    const tall = Math.round(layout.laneHeight * ratio);
    for (const place of layout.places) {
      context.fillStyle = place.lane === chosenLane ? theme.line : theme.lane;
      context.fillRect(left, Math.round(place.y * ratio) + 1, width - left, tall - 2);
    }
  }

  axis({ ratio, from, to, now }, left, width, height, scale) {
    const { context, theme } = this;
    const step = STEPS.find((one) => one * scale > 84 * ratio) ?? STEPS[STEPS.length - 1];
    context.font = `${11 * ratio}px ${theme.font}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    // Ticks stand at round local times, also in zones with odd offsets.
    const zone = new Date(to).getTimezoneOffset() * 60000;
    for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) {
      const x = Math.round(left + (t - from) * scale);
      context.fillStyle = theme.line;
      context.fillRect(x, AXIS * ratio - 4 * ratio, Math.max(1, Math.round(ratio * 0.5)), height);
      context.fillStyle = theme.muted;
      if (x - left > 24 * ratio && width - x > 24 * ratio) context.fillText(clock(t, step), x, 9 * ratio);
    }
    if (now <= to && now >= from) {
      context.fillStyle = theme.ink;
      context.fillRect(Math.round(left + (now - from) * scale), (AXIS - 4) * ratio, Math.max(1, Math.round(ratio)), height);
    }
  }

  labels({ ratio, layout, gutter }, left) {
    const { context, theme } = this;
    const size = Math.min(11, Math.max(8, layout.laneHeight - 2));
    context.fillStyle = theme.background;
    context.fillRect(0, 0, left, this.canvas.height);
    context.font = `${size * ratio}px ${theme.font}`;
    context.textBaseline = "middle";
    for (const { lane, y, first } of layout.places) {
      const middle = (y + layout.laneHeight / 2) * ratio;
      context.textAlign = "left";
      context.fillStyle = theme.ink;
      if (first) context.fillText(lane.executor === SERVER ? "server" : shortId(lane.executor), 4 * ratio, middle, (gutter - 24) * ratio);
      if (layout.laneHeight < 9) continue;
      context.textAlign = "right";
      context.fillStyle = theme.muted;
      context.fillText(String(lane.slot), left - 6 * ratio, middle);
    }
  }

  chosen(store, view, scale) {
    if (view.chosen === null || view.chosen >= store.size) return;
    const row = view.chosen;
    const place = view.layout.places.find((one) => one.lane === store.lanes[store.lane[row]]);
    if (!place) return;
    const { context, theme } = this;
    const { ratio } = view;
    const x0 = (store.start[row] - view.from) * scale;
    const x1 = ((store.state[row] === RUNNING ? view.now : store.end[row]) - view.from) * scale;
    context.strokeStyle = theme.ink;
    context.lineWidth = 2 * ratio;
    context.strokeRect(x0 - ratio, place.y * ratio, Math.max(3 * ratio, x1 - x0) + ratio, view.layout.laneHeight * ratio);
  }
}

/** "#rrggbb" as the four bytes of an ImageData, which every browser's machine reads from the lowest byte on. */
function pixelOf(colour) {
  const value = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

function fillAll(context, rectangles, style) {
  context.fillStyle = style;
  for (let i = 0; i < rectangles.length; i += 4) context.fillRect(rectangles[i], rectangles[i + 1], rectangles[i + 2], rectangles[i + 3]);
}

function clock(t, step) {
  const date = new Date(t);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step >= 60000) return minutes;
  return `${minutes}:${two(date.getSeconds())}${step < 1000 ? `.${Math.floor(date.getMilliseconds() / 100)}` : ""}`;
}
