import { h, setAttr, setText } from "./dom.js";
import { fullTime, oneLine, shortId, time } from "./format.js";
import { stateMark } from "./marks.js";

export function queryHref(id) {
  return `#/queries/${encodeURIComponent(id)}`;
}

/** The SQL of a query on one line as the link to its page. */
export function queryLink() {
  const text = h("span", { class: "sql-line" });
  const id = h("span", { class: "id" });
  const node = h("a", { class: "query-link" }, text, id);
  return {
    node,
    update(query) {
      setAttr(node, "href", queryHref(query.query_id));
      setAttr(node, "title", `${oneLine(query.sql, 600)}\n${query.query_id}`);
      setText(text, oneLine(query.sql) || "(no text)");
      setText(id, shortId(query.query_id));
    },
  };
}

export function queryState() {
  const mark = stateMark("queued");
  return { node: mark.node, update: (query) => mark.update(query.state) };
}

export function timeCell(of) {
  const node = h("time");
  return {
    node,
    update(item) {
      setText(node, time(of(item)));
      setAttr(node, "title", fullTime(of(item)));
    },
  };
}

export function mono(of) {
  const node = h("span", { class: "mono" });
  return { node, update: (item) => setText(node, of(item) ?? "–") };
}
