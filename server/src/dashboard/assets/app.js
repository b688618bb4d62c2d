import { h, setText } from "./dom.js";
import { time } from "./format.js";
import { Live } from "./api.js";
import { overviewPage } from "./overview.js";
import { tasksPage } from "./tasks.js";
import { queryPage } from "./query.js";
import { executorsPage } from "./executors.js";
import { tablesPage } from "./tables.js";
import { historyPage } from "./history.js";

const PAGES = { overview: overviewPage, tasks: tasksPage, queries: queryPage, executors: executorsPage, tables: tablesPage, history: historyPage };
const THEMES = ["auto", "light", "dark"];

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const connection = document.getElementById("connection");
const themeButton = document.getElementById("theme");

let current = null;
let overview = null;
let version = null;

// A page is { node, title, live, onOverview, onTasks, onQuery, onReconnect, onRoute, onStatus, onTheme, close }; all but node are optional.
const live = new Live({
  onEvent(name, value, again) {
    if (again) current?.page.onReconnect?.();
    if (name === "overview") {
      overview = value;
      noteVersion(value.version);
      current?.page.onOverview?.(value);
    } else if (name === "tasks") current?.page.onTasks?.(value);
    else current?.page.onQuery?.(value);
  },
  onStatus(status, heardAt) {
    connection.dataset.status = status;
    document.documentElement.dataset.status = status;
    setText(connection, { live: "Live", silent: "No news", gone: "Not connected" }[status]);
    current?.page.onStatus?.(status);
    banner.hidden = status === "live";
    const since = heardAt ? ` The figures are from ${time(heardAt)}.` : "";
    if (status === "gone") setText(banner, `The server does not answer.${since} Trying again.`);
    if (status === "silent") setText(banner, `The server has said nothing for some seconds.${since}`);
  },
});

function noteVersion(next) {
  if (version === null) version = next;
  const text = `Sluice ${next ?? ""}`;
  setText(document.getElementById("version"), next === version ? text : `${text}. The server was updated: reload the page.`);
}

/** "#/queries/ID/stages/3?x=y" as { name, parts, search }. */
function parseRoute() {
  const hash = location.hash.replace(/^#\/?/, "");
  const cut = hash.indexOf("?");
  const path = cut < 0 ? hash : hash.slice(0, cut);
  const [name, ...parts] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name: Object.hasOwn(PAGES, name) ? name : "overview", parts, search: new URLSearchParams(cut < 0 ? "" : hash.slice(cut + 1)) };
}

function showRoute() {
  const route = parseRoute();
  const key = route.name === "queries" ? `queries/${route.parts[0] ?? ""}` : route.name;
  if (current?.key === key) {
    current.page.onRoute?.(route);
    return;
  }
  const first = current === null;
  current?.page.close?.();
  const page = PAGES[route.name](route);
  current = { key, page };
  main.replaceChildren(page.node);
  document.title = `${page.title} – Sluice`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === route.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  live.open(page.live ?? "");
  if (overview) page.onOverview?.(overview);
  page.onRoute?.(route);
}

function storedTheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "auto") localStorage.removeItem("sluice-theme");
    else localStorage.setItem("sluice-theme", theme);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
  showTheme();
}

function showTheme() {
  setText(themeButton, `Theme: ${storedTheme()}`);
  current?.page.onTheme?.();
}

themeButton.addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
// The hash belongs to the router, so the skip link moves the focus itself.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", showRoute);
main.replaceChildren(h("p", { class: "empty" }, "Loading"));
showTheme();
showRoute();
