/* The table of classes: sorted and searched. */

const COLUMNS = [
  // Of each: its field, its heading, its text, and what a narrow table calls it.
  ["name", "Class", (one) => one.name, ""],
  ["kind", "Kind", (one) => one.kind || "–", ""],
  ["images", "Images", (one) => whole(one.images), "Images"],
  ["segments", "Segments", (one) => whole(one.segments), "Segments"],
  ["pixels", "Pixels ≈", (one) => (one.drawn ? percent(one.pixels) : "–"), "Pixels ≈"],
  ["score", "Mean score ≈", (one) => fixed(one.score), "Score ≈"],
  ["stability", "Mean stability ≈", (one) => fixed(one.stability), "Stability ≈"],
];

const LISTED = narrow.matches ? 10 : 40;
const order = { column: "segments", down: true, all: false };

function classTable() {
  at("classes-note").append("Images and segments are exact, over the whole run; columns with ≈ are of the drawn samples.");
  const head = make("tr");
  for (const [column, title] of COLUMNS) {
    const cell = make("th", { scope: "col", role: "columnheader", className: column === "kind" ? "kind" : "" }, make("button", { type: "button" }, title));
    cell.dataset.column = column;
    cell.firstChild.onclick = () => {
      order.down = order.column === column ? !order.down : !["name", "kind"].includes(column);
      order.column = column;
      classRows();
    };
    head.append(cell);
  }
  at("class-table").tHead.append(head);
  at("class-find").oninput = () => classRows();
  at("class-found").onchange = () => classRows();
  at("class-more").onclick = () => { order.all = true; classRows(); };
  classRows();
}

function compare(a, b) {
  const [one, other] = [a[order.column], b[order.column]];
  if (one === null || other === null) return (one === null) - (other === null);  // unknown values last, either way
  const difference = typeof one === "string" ? one.localeCompare(other) : one - other;
  return (order.down ? -difference : difference) || a.id - b.id;
}

function classRows() {
  const wanted = at("class-find").value.trim().toLowerCase();
  const rows = classes.filter((one) => (!wanted || one.name.toLowerCase().includes(wanted)) && (!at("class-found").checked || one.segments)).sort(compare);
  for (const cell of at("class-table").tHead.rows[0].cells) {
    if (cell.dataset.column === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const shown = order.all ? rows : rows.slice(0, LISTED);
  at("class-table").tBodies[0].replaceChildren(...shown.map((one) => make("tr", { role: "row" }, ...COLUMNS.map(([column, , text, short]) =>
    make("td", { role: "cell", className: `${column}${one.segments ? "" : " none"}`, "data-label": short }, column === "name" ? named(one, "") : text(one))))));
  const left = report.size - classes.length;
  at("class-count").textContent = `${plural(rows.length, "class", "classes")}${left > 0 ? `; the ${whole(left)} rarest are not listed` : ""}`;
  at("class-more").hidden = shown.length === rows.length;
  at("class-more").textContent = `Show all ${whole(rows.length)}`;
}
