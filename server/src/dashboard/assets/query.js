import { h, setHidden, setText } from "./dom.js";
import { shortId } from "./format.js";
import { getJson, post, queryPath } from "./api.js";
import { stateMark } from "./marks.js";
import { pressTwice } from "./press_twice.js";
import { profileView } from "./profile_view.js";

export function queryPage(first) {
  const id = first.parts[0] ?? "";
  const state = stateMark("queued", "loading");
  const position = h("span", { class: "note" });
  const cancel = pressTwice({ label: "Cancel query", confirm: "Press again to cancel", busy: "Asking", done: "Asked to cancel", action: () => post(queryPath(id, "cancel")) });
  const report = h("a", { href: queryPath(id, "report"), download: "" }, "Download report");
  const note = h("p", { class: "empty", role: "status" }, "Loading");
  const view = profileView({ queryId: id, stageHref: (stage) => `#/queries/${encodeURIComponent(id)}/stages/${stage}` });
  const actions = h("span", { class: "actions" }, report, cancel.node);
  const node = h("div", { class: "page" },
    h("div", { class: "title" }, h("h1", {}, "Query ", h("span", { class: "mono", title: id }, id)), state.node, position, actions), note, view.node);
  const abort = new AbortController();
  let shown = false;
  let latest = null;
  let wantedStage = null;
  setHidden(view.node, true);
  setHidden(actions, true);
  setHidden(cancel.node, true);

  function show(profile) {
    latest = profile;
    shown = true;
    setHidden(view.node, false);
    setHidden(actions, false);
    setHidden(note, true);
    state.update(profile.state);
    setText(position, profile.state === "queued" && profile.queue_position ? `at position ${profile.queue_position} of the queue` : "");
    const ended = !["queued", "running"].includes(profile.state);
    // A hidden button must not keep the focus of whoever has just pressed it.
    if (ended && node.contains(document.activeElement) && cancel.node.contains(document.activeElement)) report.focus();
    setHidden(cancel.node, ended);
    view.update(profile);
    openWanted();
  }

  function openWanted() {
    if (wantedStage === null || !shown) return;
    const stage = wantedStage;
    wantedStage = null;
    requestAnimationFrame(() => view.openStage(stage));
  }

  async function load() {
    try {
      const profile = await getJson(queryPath(id), abort.signal);
      // An event may have been faster than this answer and then is newer.
      if (!latest || (latest.elapsed_ms ?? 0) <= (profile.elapsed_ms ?? 0)) show(profile);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (shown) return;
      state.update("unknown", "");
      setHidden(note, false);
      setText(note, error.status === 404 ? "This query is not known. It may have left the history." : error.message);
    }
  }
  load();

  return {
    node,
    title: `Query ${shortId(id)}`,
    live: `?query=${encodeURIComponent(id)}`,
    onQuery: show,
    onReconnect: load,
    onRoute(route) {
      if (route.parts[1] !== "stages" || !route.parts[2]) return;
      wantedStage = route.parts[2];
      openWanted();
    },
    close: () => abort.abort(),
  };
}
