import { h, keyed, setAttr, setHidden, setText } from "./dom.js";
import { known, UNKNOWN } from "./format.js";

/**
 * A table whose rows stay in place while their figures change.
 * A column has a `label` and either `text(item)` or `widget(item)` returning { node, update(item) };
 * `number` aligns to the right, `head` makes the cell the row's header, `value(item)` makes the column sortable.
 */
export function dataTable({ label, columns, key, empty = "None.", sortable = false }) {
  let items = [];
  let order = null;
  const heads = columns.map((column) => {
    const th = h("th", { scope: "col", class: column.number ? "number" : null, title: column.title });
    if (sortable && column.value) {
      th.append(h("button", { type: "button", class: "sort", on: { click: () => sortBy(column) } }, column.label));
    } else {
      th.append(column.label);
    }
    return th;
  });
  const body = h("tbody");
  const box = h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "unseen" }, label), h("thead", {}, h("tr", {}, heads)), body));
  const nothing = h("p", { class: "empty" }, empty);
  const node = h("div", { class: "table" }, box, nothing);
  keyboardScroll(box, label);

  function sortBy(column) {
    order = { column, down: order?.column === column ? !order.down : Boolean(column.number) };
    columns.forEach((one, i) => setAttr(heads[i], "aria-sort", one === column ? (order.down ? "descending" : "ascending") : null));
    update(items);
  }

  function sorted() {
    if (!order) return items;
    const { column, down } = order;
    // Unknown figures go last in both directions.
    return [...items].sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : 0;
      const by = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return down ? -by : by;
    });
  }

  function row(first) {
    const cells = columns.map((column) => {
      const cell = h(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: [column.number ? "number" : "", column.class ?? ""].join(" ").trim() || null });
      if (!column.widget) return { cell, update: (item) => setText(cell, column.text(item) ?? UNKNOWN) };
      const widget = column.widget(first);
      cell.append(widget.node);
      return { cell, update: widget.update ?? (() => {}) };
    });
    return { node: h("tr", {}, cells.map((one) => one.cell)), update: (item) => cells.forEach((one) => one.update(item)) };
  }

  function update(next) {
    items = next;
    keyed(body, sorted(), key, row);
    setHidden(box, items.length === 0);
    setHidden(nothing, items.length > 0);
  }
  update([]);
  return { node, update };
}

/** A box that scrolls sideways can be reached by keyboard, but only while there is something to scroll. */
export function keyboardScroll(box, label) {
  new ResizeObserver(() => {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    setAttr(box, "tabindex", scrolls ? 0 : null);
    setAttr(box, "role", scrolls ? "region" : null);
    setAttr(box, "aria-label", scrolls ? label : null);
  }).observe(box);
}
