import { h } from "./dom.js";
import { fullTime } from "./format.js";
import { stateMark } from "./marks.js";
import { profileView } from "./profile_view.js";

function showReport() {
  const profile = JSON.parse(document.getElementById("profile").textContent);
  const view = profileView({ queryId: profile.query_id, stageHref: (stage) => `#stage-${stage}`, openAll: true });
  const state = stateMark(profile.state);
  view.update(profile);
  document.title = `Query ${profile.query_id} – Sluice report`;
  document.getElementById("main").replaceChildren(h("div", { class: "page" },
    h("div", { class: "title" }, h("h1", {}, "Query ", h("span", { class: "mono" }, profile.query_id)), state.node),
    h("p", { class: "note" }, `Report of Sluice. The query was submitted at ${fullTime(profile.started_at_ms)} (times of this computer's zone).`), view.node));
}

showReport();
