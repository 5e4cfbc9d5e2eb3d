"use strict";
// The number a cell starts with; words and dashes have none.
const numberOf = (text) => {
  const found = /^[\d.,]+(?:e[-+]?\d+)?/.exec(text);
  return found ? Number(found[0].replaceAll(",", "")) : NaN;
};

const sortBy = (table, column, descending) => {
  const body = table.tBodies[0];
  const lines = Array.from(body.rows, (row) => {
    const text = row.cells[column].textContent;
    return { row, text, number: numberOf(text) };
  });
  // What has no number comes last, both ways.
  const numbers = lines.filter((line) => !Number.isNaN(line.number)).length;
  const numeric = numbers > 0 && lines.every((line) => !Number.isNaN(line.number) || line.text === "–");
  const sign = descending ? -1 : 1;
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  lines.sort((a, b) => {
    if (!numeric) return sign * compare(a.text, b.text);
    const missing = Number.isNaN(a.number) - Number.isNaN(b.number);
    return missing || sign * (a.number - b.number) || 0;
  });
  body.append(...lines.map((line) => line.row));
};

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

for (const form of document.querySelectorAll("form.filters")) {
  const rows = Array.from(document.getElementById(form.dataset.table).tBodies[0].rows);
  const lists = Array.from(form.querySelectorAll("select"));
  const search = form.querySelector("input");
  for (const list of lists) {
    const values = new Set(rows.map((row) => row.cells[list.dataset.column].textContent));
    for (const value of values) list.add(new Option(value, value));
    if (values.size < 2) list.parentElement.remove();
  }
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const chosen = lists.every(
        (list) => !list.value || row.cells[list.dataset.column].textContent === list.value,
      );
      const cells = Array.from(row.cells, (cell) => cell.textContent.toLowerCase());
      const found = words.every((word) => cells.some((cell) => cell.includes(word)));
      row.hidden = !(chosen && found);
      shown += !row.hidden;
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length} cases`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

const zoom = document.getElementById("zoom");
const image = zoom.querySelector("img");
const size = zoom.querySelector("input");
const scale = () => {
  image.style.width = `${size.value * 100}%`;
};
size.addEventListener("input", scale);
for (const button of document.querySelectorAll(".mask button")) {
  button.addEventListener("click", () => {
    const small = button.querySelector("img");
    image.src = small.src;
    image.alt = small.alt;
    zoom.querySelector("b").textContent = button.parentElement.querySelector("b").textContent;
    size.value = 1;
    scale();
    zoom.showModal();
  });
}
