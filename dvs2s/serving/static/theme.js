// Runs before the first paint, so that a dark page never flashes white.
(function () {
  var theme = "auto";
  try { theme = (JSON.parse(localStorage.getItem("dvs2s.settings")) || {}).theme || "auto"; } catch (error) { theme = "auto"; }
  document.documentElement.dataset.theme = theme;
})();
