// Tables can be sorted by their columns; whatever is too wide can be scrolled with the keyboard.

const SORTABLE_FROM = 4;
const number = /[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?/i;

function value(cell) {
  const text = cell.textContent.trim().replace(/−/g, "-");
  const found = text.match(number);
  const leads = found && text.search(number) <= 2;
  return { text, number: leads ? parseFloat(found[0].replace(/,/g, "")) : NaN };
}

function compare(a, b) {
  if (!a.text || !b.text) return a.text ? -1 : b.text ? 1 : 0;
  if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
  return a.text.localeCompare(b.text, "en", { numeric: true });
}

function sort(table, column, ascending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: value(row.cells[column]) }));
  rows.sort((a, b) => {
    const order = compare(a.key, b.key);
    return ascending || !a.key.text || !b.key.text ? order : -order;
  });
  body.append(...rows.map(({ row }) => row));
}

function makeSortable(table) {
  const head = table.tHead && table.tHead.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
  const body = table.tBodies[0];
  const regular = body && [...body.rows].every((row) => row.cells.length === head.length);
  if (!regular || body.rows.length < SORTABLE_FROM || table.classList.contains("unsorted")) return;
  head.forEach((cell, column) => {
    if (!cell.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.setAttribute("aria-label", `Sort by ${cell.textContent.trim()}`);
    button.addEventListener("click", () => {
      const ascending = cell.getAttribute("aria-sort") !== "ascending";
      head.forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sort(table, column, ascending);
    });
    (cell.querySelector("p") || cell).append(button);
  });
}

function makeScrollable(box) {
  const wide = [box, ...box.querySelectorAll("div")].filter((one) => one.scrollWidth > one.clientWidth + 1);
  wide.forEach((one) => {
    if (one.tabIndex >= 0) return;
    one.tabIndex = 0;
    if (one.tagName === "FIGURE") return;
    one.setAttribute("role", "region");
    one.setAttribute("aria-label", "Scrolls sideways");
  });
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".bd-article table").forEach(makeSortable);
});
window.addEventListener("load", () => {
  const boxes = [".output", ".cell_output", ".math", "figure", ".pst-scrollable-table-container"];
  document.querySelectorAll(boxes.map((one) => `.bd-article ${one}`).join(", ")).forEach(makeScrollable);
});
