import { h, setAttr, setText, setVars } from "./dom.js";
import { bytes, known } from "./format.js";

/** What is resident and neither reserved nor cached; null when it cannot be told. */
export function otherBytes(process) {
  if (!known(process.resident_bytes)) return null;
  return Math.max(0, process.resident_bytes - (process.pool_reserved_bytes ?? 0) - (process.cached_bytes ?? 0));
}

/** Reserved, other and cached against the cap; a line marks the limit of the pool. */
export function memoryBar(name) {
  const parts = ["reserved", "other", "cached"].map((part) => h("i", { class: part }));
  const limit = h("b", { class: "limit" });
  const bar = h("div", { class: "memory-bar", role: "img" }, parts, limit);
  const labels = ["reserved", "other", "cached"].map((part) => {
    const value = h("span");
    return { value, node: h("span", { class: "key" }, h("i", { class: part, "aria-hidden": "true" }), `${part} `, value) };
  });
  const total = h("span", { class: "total" });
  const node = h("div", { class: "memory" }, h("div", { class: "memory-line" }, bar, total), h("div", { class: "memory-keys" }, labels.map((one) => one.node)));

  function update(process) {
    const sizes = [process.pool_reserved_bytes, otherBytes(process), process.cached_bytes];
    const sum = sizes.reduce((all, size) => all + (size ?? 0), 0);
    const cap = process.memory_cap_bytes;
    const scale = Math.max(cap ?? 0, sum, 1);
    sizes.forEach((size, i) => {
      setVars(parts[i], { "--part": (size ?? 0) / scale });
      setText(labels[i].value, bytes(size));
    });
    limit.hidden = !known(process.pool_limit_bytes) || process.pool_limit_bytes >= scale;
    setVars(limit, { "--at": (process.pool_limit_bytes ?? 0) / scale });
    setAttr(limit, "title", `The pool's limit: ${bytes(process.pool_limit_bytes)}`);
    const resident = process.resident_bytes;
    const over = known(cap) && known(resident) && resident > cap;
    bar.classList.toggle("over", over);
    setText(total, `${bytes(resident)} of ${bytes(cap)}${over ? ", over the cap" : ""}`);
    setAttr(bar, "aria-label", `Memory of ${name}: ${bytes(resident)} resident of ${bytes(cap)}; reserved ${bytes(sizes[0])}, other ${bytes(sizes[1])}, cached ${bytes(sizes[2])}, pool limit ${bytes(process.pool_limit_bytes)}`);
  }
  return { node, update };
}
