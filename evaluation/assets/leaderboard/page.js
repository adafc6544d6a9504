"use strict";
document.documentElement.classList.add("js");

// Leaderboard: a click on a heading sorts by it, a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const order = now ? (now === "ascending" ? "descending" : "ascending") : button.dataset.first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value;
      const text = column === 1;
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        sign * (text ? key(a).localeCompare(key(b)) : Number(key(a)) - Number(key(b))));
      table.tBodies[0].append(...rows);
    });
  });
}

// Tabs: one panel at a time; in print the style sheet shows them all.
for (const list of document.querySelectorAll("[role=tablist]")) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const choose = (chosen) => tabs.forEach((tab) => {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  });
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
  choose(tabs[0]);
}

// Cases: a click shows the three pictures large; Escape, the button or a click beside them closes.
const zoom = document.getElementById("zoom");
for (const pictures of document.querySelectorAll("figure .pictures")) {
  pictures.addEventListener("click", () => {
    const large = document.createElement("div");
    large.className = "pictures";
    large.append(...[...pictures.children].map((child) => child.cloneNode(true)));
    const caption = pictures.parentElement.querySelector("figcaption").cloneNode(true);
    zoom.querySelector(".zoom-body").replaceChildren(large, caption);
    zoom.showModal();
  });
}
zoom.addEventListener("click", (event) => {
  if (event.target === zoom || event.target.classList.contains("close")) zoom.close();
});
