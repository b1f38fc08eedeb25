"use strict";
// Draws the table of nights from the data of the page: a window of nights, and the cells that the filters let through.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.querySelector("table.matrix");
  const filters = document.querySelector(".filters");
  const words = filters.querySelector("input");
  const select = filters.querySelector("select");
  const told = filters.querySelector("output");
  const newer = filters.querySelector(".newer");
  const older = filters.querySelector(".older");
  const pointed = document.querySelector(".pointed");
  const inWords = data.signs.map((sign) => sign[1]);
  const red = new Set(["regressed", "error", "missing"].map((name) => String(data.signs.findIndex((sign) => sign[2] === name))));
  const pass = String(data.signs.findIndex((sign) => sign[2] === "pass"));
  let start = 0; // the newest night that is shown

  function element(name, text, more) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    return Object.assign(made, more || {});
  }

  function link(text, to) {
    return to ? element("a", text, { href: to }) : element("span", text);
  }

  function shownNights() {
    return data.nights.slice(start, start + data.columns);
  }

  function wanted(cell) {
    const [id, , row] = cell;
    const here = row.slice(start, start + data.columns).replace(/\./g, "");
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!asked.every((word) => id.toLowerCase().includes(word))) return false;
    if (select.value === "red") return red.has(row[0]);
    if (select.value === "notpass") return row[0] !== pass && row[0] !== ".";
    if (select.value === "moved") return new Set(here).size > 1;
    return true;
  }

  function head() {
    const line = element("tr");
    line.append(element("th", "cell", { scope: "col" }));
    shownNights().forEach(([date, name, to, , changed]) => {
      const cell = element("th", "", { scope: "col", title: name });
      const box = element("div", "", { className: "date" });
      box.append(link(date, to));
      if (changed >= 0) box.append(" ", element("a", "◆", { className: "moved", href: "#change-" + changed, title: "what moved that night" }));
      cell.append(box);
      line.append(cell);
    });
    return line;
  }

  function counts() {
    const line = element("tr", "", { className: "reds" });
    line.append(element("th", "red cells", { scope: "row" }));
    shownNights().forEach((night) => line.append(element("td", night[3] ? String(night[3]) : "")));
    return line;
  }

  // The squares hold signs of our own alone, so that they may be made as text, which is ten times as fast.
  function squares(row) {
    let text = "";
    for (const place of row.slice(start, start + data.columns)) {
      text += place === "." ? "<td>" : '<td class="v-' + data.signs[place][2] + '">' + data.signs[place][0];
    }
    return text;
  }

  function show() {
    const fitting = data.cells.filter(wanted);
    const body = document.createDocumentFragment();
    body.append(counts());
    let model = null;
    for (const [id, file, row] of fitting) {
      const [own, variant] = [id.slice(0, id.indexOf("/")), id.slice(id.indexOf("/") + 1)];
      if (own !== model) {
        model = own;
        const group = element("tr", "", { className: "model" });
        group.append(element("th", own, { scope: "rowgroup" }), element("td", "", { colSpan: shownNights().length }));
        body.append(group);
      }
      const line = element("tr");
      line.innerHTML = squares(row);
      const name = element("th", "", { scope: "row", title: id });
      name.append(link(variant, file.split("/").map(encodeURIComponent).join("/")));
      line.prepend(name);
      line.dataset.cell = id;
      body.append(line);
    }
    table.tHead.replaceChildren(head());
    table.tBodies[0].replaceChildren(body);
    const last = Math.min(start + data.columns, data.nights.length);
    told.textContent =
      fitting.length + " of " + data.cells.length + " cells; nights " + data.nights[last - 1][0] + " to " +
      data.nights[start][0] + " (" + (last - start) + " of " + data.nights.length + ")";
    newer.disabled = start === 0;
    older.disabled = last === data.nights.length;
  }

  function move(by) {
    start = Math.max(0, Math.min(start + by, data.nights.length - 1));
    show();
  }

  function point(event) {
    const square = event.target.closest("td");
    const line = square && square.closest("tr[data-cell]");
    if (!line) return;
    const at = start + square.cellIndex - 1;
    const cell = data.cells.find((one) => one[0] === line.dataset.cell);
    const place = cell[2][at];
    pointed.textContent = cell[0] + ", night " + data.nights[at][1] + ": " + (place === "." ? "not measured" : inWords[place]);
  }

  // A change that is folded away is unfolded when it is linked to.
  function unfold() {
    const found = location.hash.startsWith("#change-") && document.getElementById(location.hash.slice(1));
    const fold = found && found.closest("details");
    if (fold) {
      fold.open = true;
      found.scrollIntoView();
    }
  }

  words.addEventListener("input", show);
  select.addEventListener("change", show);
  newer.addEventListener("click", () => move(-data.columns));
  older.addEventListener("click", () => move(data.columns));
  filters.querySelector(".reset").addEventListener("click", () => {
    words.value = select.value = "";
    start = 0;
    show();
  });
  table.addEventListener("mouseover", point);
  window.addEventListener("hashchange", unfold);
  filters.hidden = false;
  show();
  unfold();
})();
