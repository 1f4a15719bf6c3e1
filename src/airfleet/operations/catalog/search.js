"use strict";
const box = document.getElementById("find");
const told = document.getElementById("told");
const rows = Array.from(document.querySelectorAll("tr[data-find]"));
const sections = Array.from(document.querySelectorAll("section"));
const MOST = 500;
function show() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const row of rows) {
    // Tasks are shown only where somebody looks for one.
    const hit = words.every((word) => row.dataset.find.includes(word)) && (words.length > 0 || row.dataset.kind !== "task");
    found += hit ? 1 : 0;
    row.hidden = !hit || found > MOST;
  }
  for (const section of sections) {
    section.hidden = !section.querySelector("tr[data-find]:not([hidden])");
  }
  told.textContent = found > MOST ? `${found} found, the first ${MOST} are shown` : `${found} found`;
}
function follow() {
  try {
    box.value = decodeURIComponent(location.hash.slice(1));
  } catch {
    box.value = "";
  }
  show();
}
box.addEventListener("input", () => {
  history.replaceState(null, "", `#${encodeURIComponent(box.value)}`);
  show();
});
addEventListener("hashchange", follow);
follow();
