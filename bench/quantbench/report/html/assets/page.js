"use strict";
// Sorts and filters the table of all cells, and unfolds the cell that the address names. Of a page of many cells, most
// waits as data: it is put in place here when it is asked for.
(() => {
  const table = document.querySelector("table.cells");
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  const filters = document.querySelector(".filters");
  const words = filters.querySelector("input");
  const selects = Array.from(filters.querySelectorAll("select"));
  const told = filters.querySelector("output");
  const more = document.querySelector("button.more");
  const data = document.getElementById("later");
  const total = Number(table.dataset.rows);
  const atOnce = Number(table.dataset.first);
  const rows = Array.from(body.rows);
  const names = new Map();
  const inWords = new Intl.Collator("en", { numeric: true });
  let limit = data ? atOnce : Infinity; // of rows in the document: a browser takes long over more
  let kept = data ? null : { rows: [], cells: {}, folds: [] }; // what the page keeps for later, once it is read
  let reading = null;

  // Reads what the page keeps: JSON that was deflated, and is long.
  async function read() {
    const signs = atob(data.textContent);
    const bytes = new Uint8Array(signs.length);
    for (let i = 0; i < signs.length; i++) bytes[i] = signs.charCodeAt(i);
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    kept = await new Response(inflated).json();
    data.remove();
  }

  // Says once that this browser cannot read it.
  let warned = false;
  function tell() {
    if (warned) return;
    warned = true;
    const words = document.createElement("p");
    words.textContent = "This browser cannot read the rows that the page keeps for later: open it in a newer one.";
    table.before(words);
  }

  // Acts at once where everything is read, and in the order asked for once it is.
  function later(act) {
    if (kept) return act();
    reading = reading || read();
    reading.then(act, tell);
  }

  // All rows, of which some may never have been in the document.
  function everyRow() {
    if (rows.length < total) {
      const box = document.createElement("template");
      box.innerHTML = kept.rows.join("");
      rows.push(...box.content.children);
    }
    return rows;
  }

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
    const keys = new Map(everyRow().map((row) => [row, keyOf(row, column)]));
    rows.sort((a, b) => compare(keys.get(a), keys.get(b), direction));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    show();
  }

  function nameOf(row) {
    let name = names.get(row);
    if (name === undefined) {
      name = (row.dataset.model + "/" + row.cells[1].textContent).toLowerCase();
      names.set(row, name);
    }
    return name;
  }

  // The rows that the filters let through, as many of them as there is room for.
  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = selects.filter((select) => select.value);
    const fitting = everyRow().filter(
      (row) =>
        chosen.every((select) => row.dataset[select.dataset.of] === select.value) &&
        wanted.every((word) => nameOf(row).includes(word))
    );
    const here = document.createDocumentFragment();
    here.append(...number(fitting.slice(0, limit)));
    body.replaceChildren(here);
    tell(fitting.length);
  }

  // Where only some rows are in the document, each says which one it is; 1 is the row of headings.
  function number(some) {
    if (data) some.forEach((row, place) => row.setAttribute("aria-rowindex", place + 2));
    return some;
  }

  function tell(fitting) {
    const there = Math.min(fitting, limit);
    told.textContent = fitting + " of " + total + " cells" + (there < fitting ? ", the first " + there + " shown" : "");
    if (data) table.setAttribute("aria-rowcount", fitting + 1);
    more.hidden = there === fitting;
  }

  // A new question is answered from its first row on.
  function filter() {
    if (data) limit = atOnce;
    show();
  }

  function reset() {
    words.value = "";
    selects.forEach((select) => (select.value = ""));
    filter();
  }

  // Further rows; who pressed the key goes on reading at the first of them.
  function lengthen() {
    const before = body.rows.length;
    limit += atOnce;
    show();
    const next = body.rows[before] && body.rows[before].querySelector("a");
    if (next) next.focus();
  }

  function unfold() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      return; // not an address of ours
    }
    if (!name || document.getElementById(name)) return open(name);
    later(() => {
      if (!document.getElementById(name) && Object.hasOwn(kept.cells, name)) {
        document.querySelector(".added").insertAdjacentHTML("beforeend", kept.cells[name]);
      }
      open(name);
    });
  }

  function open(name) {
    const found = name && document.getElementById(name);
    const fold = found && found.closest("details.cell");
    if (fold) {
      fold.open = true;
      found.scrollIntoView();
    }
  }

  // A fold that waits is filled when it is opened.
  function fill(event) {
    const fold = event.target;
    if (!fold.open || fold.dataset.later === undefined) return;
    const place = Number(fold.dataset.later);
    delete fold.dataset.later;
    later(() => fold.insertAdjacentHTML("beforeend", kept.folds[place]));
  }

  // Paper has room for all of them.
  function print(whole) {
    limit = whole ? Infinity : atOnce;
    show();
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => later(() => sort(column))));
  words.addEventListener("input", () => later(filter));
  selects.forEach((select) => select.addEventListener("change", () => later(filter)));
  filters.querySelector(".reset").addEventListener("click", () => later(reset));
  more.addEventListener("click", () => later(lengthen));
  window.addEventListener("hashchange", unfold);
  document.addEventListener("toggle", fill, true);
  if (data) {
    window.addEventListener("beforeprint", () => kept && print(true)); // who prints cannot be made to wait
    window.addEventListener("afterprint", () => kept && print(false));
    const idle = window.requestIdleCallback || window.setTimeout; // once the page is shown
    window.addEventListener("load", () => idle(() => later(() => {}))); // so that nobody waits who asks later
  }
  filters.hidden = false;
  number(rows);
  tell(total);
  unfold();
})();
