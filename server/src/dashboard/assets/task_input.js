const CLICK_PIXELS = 4;

/**
 * Pointer, wheel and keyboard on the canvas, told as intentions:
 * pan(pixels), panShare(share), zoom(factor, x), point(x, y), leave(), click(x, y), lane(step), task(step), open(), follow(), oldest(), clear().
 */
export function listenToCanvas(canvas, act) {
  const pointers = new Map();
  let moved = 0;
  let pinch = null;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.max(10, Math.abs(a.x - b.x)), x: (a.x + b.x) / 2 };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (pointers.size === 1) moved = 0;
    pinch = pointers.size === 2 ? spread() : null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      act.point(now.x, now.y);
      return;
    }
    pointers.set(event.pointerId, now);
    moved = Math.max(moved, moved + Math.abs(now.x - before.x));
    if (pinch && pointers.size === 2) {
      const next = spread();
      act.zoom(pinch.distance / next.distance, next.x);
      act.pan(next.x - pinch.x);
      pinch = next;
    } else if (pointers.size === 1 && moved > CLICK_PIXELS) act.pan(now.x - before.x);
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    pinch = null;
    const at = place(event);
    if (event.type === "pointerup" && moved <= CLICK_PIXELS) act.click(at.x, at.y, event.pointerType);
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  // A finger leaves with every tap; what it chose stays until the next one.
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && act.leave());

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) act.pan(-sideways * unit);
    else act.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.002)))), place(event).x);
  }, { passive: false });

  const keys = {
    ArrowLeft: () => act.panShare(-0.15),
    ArrowRight: () => act.panShare(0.15),
    ArrowUp: () => act.lane(-1),
    ArrowDown: () => act.lane(1),
    "+": () => act.zoom(1 / 1.5, null),
    "=": () => act.zoom(1 / 1.5, null),
    "-": () => act.zoom(1.5, null),
    n: () => act.task(1),
    p: () => act.task(-1),
    f: () => act.follow(),
    Home: () => act.oldest(),
    End: () => act.follow(),
    Enter: () => act.open(),
    Escape: () => act.clear(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  canvas.addEventListener("blur", () => act.clear());
}
