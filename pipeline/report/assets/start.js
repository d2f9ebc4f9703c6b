/* What the reader's hands do, and the page's start. */

function toggle(name) {
  if (name === "truth" && !truths.length) return;
  choice[name] = !choice[name];
  refresh();
}

const typing = (event) => event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const toggles = { m: "masks", f: "fills", t: "truth" };
  if (event.key in toggles) toggle(toggles[event.key]);
  else if (/^[1-9]$/.test(event.key)) large.picture ? large.toggle(Number(event.key) - 1) : switchClass(Number(event.key) - 1);
  else if (event.key === "s" && large.picture) mark(large.picture);
  else if (event.key in steps && large.picture && event.target.type !== "range") large.step(steps[event.key]);
  else if (event.key === "/" && !large.picture) at("find").focus();
  else return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", pressed);
  window.addEventListener("popstate", () => follow());
  for (const box of document.querySelectorAll("[data-toggle]")) box.onchange = () => toggle(box.dataset.toggle);
  at("find").oninput = () => {
    if (sheet.view === "all") { sheet.most = PAGE; refresh(); }
    else go("all");
  };
  at("class-select").onchange = () => openTab("class");
  at("order").append(...Object.entries(ORDERS).map(([name, [words]]) => make("option", { value: name }, words)));
  at("order").onchange = refresh;
  for (const place of ["order-pick", "truth-check"]) at(place).hidden = !truths.length;
  const scores = pictures.flatMap((picture) => picture.segments.map((segment) => segment.score)).filter((score) => score !== null);
  at("least").min = String(scores.length ? Math.floor(Math.min(...scores) * 100) / 100 : 0);
  at("least").value = at("least").min;
  choice.least = 0;
  at("least-value").textContent = fixed(Number(at("least").value));
  at("least").oninput = () => {
    choice.least = Number(at("least").value);
    at("least-value").textContent = fixed(choice.least);
    refresh();
  };
  at("cards-more").onclick = () => { sheet.most += PAGE; cards(); };
  at("marked-copy").onclick = copyMarks;
  at("tools").hidden = at("tabs").hidden = !pictures.length;
  at("identity").open = !narrow.matches;
  large.listen();
}

top();
sheetNotes();
tabs();
listen();
follow(true);
frequency();
map();
areas();
anImage();
classTable();
ledger();
identity();
foot();
document.documentElement.dataset.ready = "yes";
