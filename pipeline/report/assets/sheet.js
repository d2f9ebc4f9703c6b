/* The contact sheet: which images it shows, in which order, and with which of their segments. */

const PAGE = narrow.matches ? 8 : 24;

/** What the reader chose, for the contact sheet and the large picture alike. */
const choice = { masks: true, fills: false, truth: false, least: 0, hidden: new Set() };

/** The regions of a picture as chosen: its segments, or those of its truth; and which of them to paint. */
function chosenOf(picture) {
  const { truth } = choice;
  const regions = truth ? picture.truth?.segments ?? [] : picture.segments;
  return { truth, regions, on: regions.map((region) => choice.masks && (truth || passes(region))) };
}

const passes = (segment) => segment.score === null || segment.score >= choice.least;
const truths = pictures.filter((picture) => picture.truth !== null);
const iouOf = (picture) => (picture.truth === null ? null : picture.truth.iou);

const VIEWS = {
  random: ["Random", "Drawn at random."],
  best: ["Best", "Highest mean of score × stability over an image’s segments, weighted by their areas."],
  worst: ["Worst", "Lowest mean of score × stability over an image’s segments, weighted by their areas."],
  class: ["By class", "Images that hold the class, its highest score first."],
  empty: ["Nothing found", "Labeled, without a segment."],
  all: ["All", "All images of this page."],
  marked: ["Marked", "Images that you marked with a star."],
};

/** Orders by a number, images without one last. */
function by(number, sign) {
  return (a, b) => {
    const [one, other] = [number(a), number(b)];
    return one === null || other === null ? (one === null) - (other === null) : sign * (one - other);
  };
}

const ORDERS = {
  view: ["of the view", null],
  low: ["IoU, lowest first", by(iouOf, 1)],
  high: ["IoU, highest first", by(iouOf, -1)],
};

const sheet = { view: "", shown: [], most: PAGE, legend: [], cards: new Map() };

/** The class of a view that shows one; else null. */
const classOf = (view) => (view.startsWith("class-") ? Number(view.slice(6)) : null);

const best = (picture, id) => Math.max(...picture.segments.filter((segment) => segment.id === id && passes(segment)).map((segment) => segment.score));

/** Class id -> its pictures, of segments that pass the slider. */
function holding() {
  const found = new Map();
  for (const picture of pictures) {
    for (const id of new Set(picture.segments.filter(passes).map((segment) => segment.id))) found.set(id, [...(found.get(id) || []), picture]);
  }
  return found;
}

function members(view) {
  if (view === "all") return [...pictures];
  if (view === "marked") return pictures.filter((picture) => marks.has(picture));
  const id = classOf(view);
  if (id !== null) return (holding().get(id) || []).sort((a, b) => best(b, id) - best(a, id));
  const mine = pictures.filter((picture) => picture.groups.includes(view));
  return view === "best" || view === "worst" ? mine.sort(by((picture) => picture.confidence, view === "best" ? -1 : 1)) : mine;
}

const folded = (text) => text.normalize("NFKC").toLowerCase();

function found(list) {
  const wanted = folded(at("find").value.trim());
  return wanted ? list.filter((picture) => folded(`${picture.key}\n${picture.caption || ""}`).includes(wanted)) : list;
}

function countOf(view) {
  return view === "class" ? holding().size : members(view).length;
}

/** Views with something in them; the one for marked images always. */
const viewsShown = () => Object.keys(VIEWS).filter((view) => view === "marked" ? pictures.length : countOf(view));

function tabs() {
  for (const [view, [name]] of Object.entries(VIEWS)) {
    const tab = make("button", { type: "button", id: `tab-${view}`, role: "tab", "aria-controls": "cards", onclick: () => openTab(view) },
      name, " ", make("span", { className: "count" }));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const views = viewsShown();
      const next = views[(views.indexOf(view) + step + views.length) % views.length];
      openTab(next);
      at(`tab-${next}`).focus();
    });
    at("tabs").append(tab);
  }
}

/** By class, the class that was last looked at, else the one with the most images. */
function openTab(view) {
  go(view === "class" ? `class-${at("class-select").value}` : view);
}

/** Bring counts and names of views up to date: the slider and marks move them. */
function countViews() {
  const views = viewsShown();
  for (const tab of at("tabs").children) {
    const view = tab.id.slice(4);
    const mine = view === sheet.view || (view === "class" && classOf(sheet.view) !== null);
    tab.hidden = !views.includes(view) && !mine;
    tab.querySelector(".count").textContent = whole(countOf(view));
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
  }
  const names = new Map(pictures.flatMap((picture) => picture.segments).map((segment) => [segment.id, segment.name]));
  const options = [...holding()].map(([id, mine]) => [id, names.get(id), mine.length]).sort((a, b) => a[1].localeCompare(b[1]));
  at("class-select").replaceChildren(...options.map(([id, name, count]) => make("option", { value: String(id) }, `${name} (${count})`)));
  if (!options.length) return;
  const before = classOf(sheet.view) ?? options.reduce((most, one) => (one[2] > most[2] ? one : most))[0];
  at("class-select").value = String(before);
}

/** Show a view from its first image on. */
function openView(view) {
  sheet.view = view;
  sheet.most = PAGE;
  choice.hidden.clear();
  at("class-pick").hidden = classOf(view) === null;
  at("marked").hidden = view !== "marked";
  refresh();
}

function openClass(id) {
  go(`class-${id}`);
  at("sheet").scrollIntoView();
}

/** All that depends on the reader's choices, anew. */
function refresh() {
  countViews();
  const list = found(members(sheet.view));
  const order = ORDERS[at("order").value][1];
  sheet.shown = order ? list.sort(order) : list;
  const segments = sheet.shown.flatMap((picture) => picture.segments);
  const passing = segments.filter(passes).length;
  const number = passing === segments.length ? plural(passing, "segment") : `${whole(passing)} of ${plural(segments.length, "segment")}`;
  at("tab-note").textContent = `${VIEWS[classOf(sheet.view) === null ? sheet.view : "class"][1]} ${plural(sheet.shown.length, "image")}, ${number}.`;
  at("marked-keys").value = [...new Set(pictures.filter((picture) => marks.has(picture)).map((picture) => picture.key))].join("\n");
  for (const name of ["masks", "fills", "truth"]) for (const box of document.querySelectorAll(`[data-toggle=${name}]`)) box.checked = choice[name];
  legend();
  cards();
  if (large.picture) large.refresh();
}

/** The most frequent classes of the view, each a switch. */
function legend() {
  const counts = new Map();
  for (const picture of sheet.shown) {
    for (const region of chosenOf(picture).regions) {
      if (region.score !== undefined && !passes(region)) continue;
      const one = counts.get(region.id) || { id: region.id, name: region.name, count: 0 };
      counts.set(region.id, { ...one, count: one.count + 1 });
    }
  }
  sheet.legend = [...counts.values()].sort((a, b) => b.count - a.count || a.id - b.id).slice(0, 9);
  at("legend").replaceChildren(...sheet.legend.map(({ id, name, count }, place) =>
    make("button", { type: "button", "aria-pressed": String(!choice.hidden.has(id)), onclick: () => switchClass(place) },
      make("kbd", {}, String(place + 1)), make("bdi", {}, name), make("span", { className: "count" }, whole(count)))));
}

function switchClass(place) {
  const one = sheet.legend[place];
  if (!one) return;
  if (!choice.hidden.delete(one.id)) choice.hidden.add(one.id);
  at("legend").children[place].setAttribute("aria-pressed", String(!choice.hidden.has(one.id)));
  cards();
}

let seen = null;

function cards() {
  if (seen) seen.disconnect();
  const painters = new Map();
  const before = sheet.cards;
  sheet.cards = new Map();
  seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      painters.get(entry.target)();
    }
  }, { rootMargin: "600px" });
  const shown = sheet.shown.slice(0, sheet.most);
  at("cards").replaceChildren(...shown.map((picture) => {
    const old = before.get(picture);
    const made = old && old.view === sheet.view ? old : { view: sheet.view, ...cardOf(picture) };
    sheet.cards.set(picture, made);
    painters.set(made.canvas, made.painter);
    if (made.canvas.dataset.painted) made.painter();
    else seen.observe(made.canvas);
    return made.card;
  }));
  if (!shown.length) at("cards").append(make("p", { className: "nothing" }, nothing()));
  const left = sheet.shown.length - shown.length;
  at("cards-more").hidden = !left;
  at("cards-more").textContent = `Show ${whole(Math.min(left, PAGE))} more${left > PAGE ? ` of ${whole(left)}` : ""}`;
}

function nothing() {
  if (!pictures.length) return report.filter.length ? "No image has a segment that passes." : "No images.";
  if (at("find").value.trim()) return "No key or caption holds these words.";
  return sheet.view === "marked" ? "No image is marked yet: press the star on an image, or s when it is open." : "No images.";
}

function cardOf(picture) {
  const canvas = make("canvas", { width: picture.shownWidth, height: picture.shownHeight, role: "img", "aria-label": described(picture) });
  const id = classOf(sheet.view);
  const confidence = id === null ? picture.confidence : best(picture, id);
  const numbers = make("span", { className: "numbers-line" },
    confidence === null ? null : make("span", { className: "confidence", title: id === null ? "score × stability" : "score of the class" }, fixed(confidence)),
    iouOf(picture) === null ? null : make("span", { className: "iou", title: "mean IoU with the truth" }, `IoU ${fixed(iouOf(picture))}`));
  const card = make("div", { className: "card" },
    make("a", { href: addressOf(sheet.view, picture) },
      make("span", { className: "frame" }, canvas),
      make("span", { className: "line" }, make("span", { className: "words", dir: "auto" }, picture.caption || picture.key), numbers)),
    star(picture));
  // As wide as it is in proportion: rows of one height, nothing cropped.
  card.style.setProperty("--proportion", Math.min(2.6, Math.max(0.5, picture.shownWidth / picture.shownHeight)).toFixed(3));
  let image = null, hot = -1;
  const repaint = () => {
    const { regions, on } = chosenOf(picture);
    const shown = on.map((one, number) => one && !choice.hidden.has(regions[number].id) && (id === null || regions[number].id === id));
    const wide = canvas.clientWidth || 260;
    paint(canvas, picture, image, { regions, on: shown, fill: choice.fills, hot, size: [wide, wide * picture.shownHeight / picture.shownWidth], words: (region) => region.name, corner: 38 });
    return { regions, on: shown };
  };
  let state = null;
  const painter = async () => {
    image = image || await loaded(picture);
    state = repaint();
    canvas.dataset.painted = "yes";
  };
  const point = (number) => {
    if (number === hot || !state) return;
    hot = number;
    state = repaint();
  };
  canvas.onpointermove = (event) => event.pointerType === "mouse" && state && point(under(event, canvas, picture, state.regions, state.on));
  canvas.onpointerleave = () => point(-1);
  return { card, canvas, painter };
}
