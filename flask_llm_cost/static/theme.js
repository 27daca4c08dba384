// Before the first paint: the chosen theme, and the mark that scripts run.
(function () {
  const root = document.documentElement;
  let theme = null;
  try {
    theme = localStorage.getItem("llm-cost-theme");
  } catch (error) {
    // Storage may be forbidden; the theme then follows the system.
  }
  root.classList.add("js");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
})();
