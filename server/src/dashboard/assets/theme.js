// A classic script in the head, so that the first paint already has the chosen theme.
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem("sluice-theme");
  } catch {
    // Storage can be forbidden; the theme then follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
