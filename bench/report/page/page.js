"use strict";
// Sorts and filters the table of all cells, and unfolds the cell that the address names.
(() => {
  const table = document.querySelector("table.cells");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const filters = document.querySelector(".filters");
  const words = filters.querySelector("input");
  const selects = Array.from(filters.querySelectorAll("select"));
  const told = filters.querySelector("output");
  const names = new Map(rows.map((row) => [row, (row.dataset.model + "/" + row.cells[1].textContent).toLowerCase()]));
  const inWords = new Intl.Collator("en", { numeric: true });

  // What a column sorts by: its own key, a leading number, or its text.
  function keyOf(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
    if (column < 3) return cell.textContent;
    return parseFloat(cell.textContent.replace(/,/g, ""));
  }

  // What is absent stays at the end, whichever way the rest is sorted.
  function compare(a, b, direction) {
    if (typeof a === "string") return direction * inWords.compare(a, b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return direction * (a - b);
  }

  function sort(column) {
    const head = heads[column];
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const keys = new Map(rows.map((row) => [row, keyOf(row, column)]));
    rows.sort((a, b) => compare(keys.get(a), keys.get(b), direction));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    body.append(...rows);
  }

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits =
        wanted.every((word) => names.get(row).includes(word)) &&
        selects.every((select) => !select.value || row.dataset[select.dataset.of] === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    told.textContent = shown + " of " + rows.length + " cells";
  }

  function reset() {
    words.value = "";
    selects.forEach((select) => (select.value = ""));
    filter();
  }

  function unfold() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      return; // not an address of ours
    }
    const found = name ? document.getElementById(name) : null;
    const fold = found && found.closest("details.cell");
    if (fold) {
      fold.open = true;
      found.scrollIntoView();
    }
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  words.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  filters.querySelector(".reset").addEventListener("click", reset);
  window.addEventListener("hashchange", unfold);
  filters.hidden = false;
  filter();
  unfold();
})();
