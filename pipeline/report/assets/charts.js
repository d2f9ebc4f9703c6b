/* The charts: drawn in SVG, each with its numbers beneath. */

// Text has the size of the page's only where a chart isn't scaled down much.
const W = window.innerWidth < 560 ? 330 : 460, H = 250, LEFT = 42, BOTTOM = 34, TOP = 8;
const across = (share) => LEFT + share * (W - LEFT - 8);
const up = (share) => H - BOTTOM - share * (H - BOTTOM - TOP);

function figure(title, note, chart, head, rows) {
  const table = make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))));
  const numbers = rows.length ? make("details", {}, make("summary", {}, "Numbers"), make("div", { className: "scroll" }, table)) : null;
  at("figures").append(make("figure", { className: "figure" },
    make("figcaption", {}, make("h3", {}, title), make("p", { className: "note" }, note)), chart, numbers));
}

function canvasOf(label) {
  return draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
}

function words(svg, x, y, text, anchor, kind = "") {
  const element = draw("text", { x, y, "text-anchor": anchor, class: kind });
  element.textContent = text;
  svg.append(element);
}

/** A round number at or above the value, for the top of an axis; its half is whole too. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((top) => top >= Math.max(value, 2));
}

function columns(svg, counts, names) {
  const most = roundUp(Math.max(...counts, 1));
  for (const share of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "grid", x1: across(0), x2: across(1), y1: up(share), y2: up(share) }));
    words(svg, LEFT - 6, up(share) + 4, brief(Math.round(most * share)), "end");
  }
  counts.forEach((count, place) => {
    if (!count) return;
    const x = across(place / counts.length), width = across((place + 1) / counts.length) - x;
    const height = Math.max(1, up(0) - up(count / most));
    const bar = draw("rect", { class: "mark", x: x + width * 0.06, y: up(0) - height, width: width * 0.88, height, rx: Math.min(2, width / 4) });
    const title = draw("title");
    title.textContent = `${names[place]}: ${whole(count)}`;
    bar.append(title);
    svg.append(bar);
  });
}

function median(svg, place, text) {
  svg.append(draw("line", { class: "median", x1: across(place), x2: across(place), y1: up(1), y2: up(0) }));
  words(svg, across(place) + (place > 0.72 ? -5 : 5), up(1) + 10, text, place > 0.72 ? "end" : "start", "strong");
}

function frequency() {
  const found = classes.filter((one) => one.segments > 0);
  const most = found.length ? found[0].segments : 1;
  const list = make("ol", { className: "bars" });
  for (const one of found.slice(0, 12)) {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${(one.segments / most) * 100}%`;
    list.append(make("li", {}, named(one, "name"), make("span", { className: "track" }, fill), make("span", { className: "value" }, brief(one.segments))));
  }
  const total = report.ledger.segments || 1;
  let sum = 0, few = 0;
  for (const one of found) { if (sum >= 0.9 * total) break; sum += one.segments; few++; }
  const never = report.size - report.everFound;
  const note = `Segments of the whole run; ${few === 1 ? "one class has" : `${whole(few)} classes have`} nine tenths of them${never ? `, ${whole(never)} were never found` : ""}.`;
  figure("Class frequency", note, list, [], []);
}

const illustrated = new Set(pictures.flatMap((picture) => picture.segments.map((segment) => segment.id)));

/** A class's name, which leads to its images where there are any. */
function named(one, className) {
  return illustrated.has(one.id)
    ? make("button", { type: "button", className, title: "Show images", onclick: () => openClass(one.id) }, make("bdi", {}, one.name))
    : make("bdi", { className, title: one.name }, one.name);
}

function map() {
  const { against, counts } = report.figures.map;
  const { medians } = report.figures;
  const size = counts.length;
  const most = Math.max(1, ...counts.flat());
  const said = medians.score === null ? "no segments" : `median score ${fixed(medians.score)}, median ${against} ${fixed(medians[against])}`;
  const svg = canvasOf(`Map of score against ${against}: ${said}`);
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(draw("line", { class: "grid", x1: across(0), x2: across(1), y1: up(share), y2: up(share) }));
    svg.append(draw("line", { class: "grid", y1: up(0), y2: up(1), x1: across(share), x2: across(share) }));
    words(svg, LEFT - 6, up(share) + 4, String(share), "end");
    words(svg, across(share), up(0) + 15, String(share), "middle");
  }
  const rows = [];
  counts.forEach((column, x) => column.forEach((count, y) => {
    if (!count) return;
    const range = (place) => `${(place / size).toFixed(2)} to ${((place + 1) / size).toFixed(2)}`;
    const cell = draw("rect", {
      class: "mark", "fill-opacity": (0.18 + 0.82 * Math.sqrt(count / most)).toFixed(3),
      x: across(x / size), y: up((y + 1) / size), width: (across(1) - across(0)) / size, height: (up(0) - up(1)) / size,
    });
    const title = draw("title");
    title.textContent = `score ${range(x)}, ${against} ${range(y)}: ${whole(count)}`;
    cell.append(title);
    svg.append(cell);
    rows.push([range(x), range(y), whole(count), count]);
  }));
  words(svg, across(0.5), H - 4, "score", "middle", "strong");
  words(svg, across(0) + 6, up(1) + 12, against, "start", "strong");
  rows.sort((a, b) => b[3] - a[3]);
  figure(`Score against ${against}`, `${said[0].toUpperCase()}${said.slice(1)}. The stronger a cell, the more segments.`, svg, ["Score", against, "Segments"], rows.slice(0, 40).map((row) => row.slice(0, 3)));
}

function areas() {
  const counts = report.figures.area, middle = report.figures.medians.area;
  const svg = canvasOf(`Histogram of segments' areas as shares of their images: median ${percent(middle)}`);
  const edge = (place) => 10 ** (-4 + (4 * place) / counts.length);
  const shown = (share) => `${+(share * 100).toPrecision(2)}%`;
  const names = counts.map((_, place) => `${shown(edge(place))} to ${shown(edge(place + 1))}`);
  columns(svg, counts, names);
  [0.0001, 0.001, 0.01, 0.1, 1].forEach((share, place) => words(svg, across(place / 4), up(0) + 15, shown(share), "middle"));
  words(svg, across(0.5), H - 4, "share of the image", "middle", "strong");
  if (middle !== null && middle > 0) median(svg, Math.min(1, Math.max(0, (Math.log10(middle) + 4) / 4)), `median ${percent(middle)}`);
  figure("Area", "Share of its image that a segment covers.", svg, ["Share", "Segments"], counts.map((count, place) => [names[place], whole(count)]).filter((_, place) => counts[place]));
}

function anImage() {
  const counts = report.figures.segments.length ? report.figures.segments : [0];
  const middle = report.figures.medians.segments;
  const svg = canvasOf(`Histogram of segments an image: median ${middle === null ? "none" : middle}`);
  const names = counts.map((_, place) => (place === 40 ? "40 or more" : String(place)));
  columns(svg, counts, names);
  const step = Math.ceil(counts.length / 12);
  counts.forEach((_, place) => { if (place % step === 0) words(svg, across((place + 0.5) / counts.length), up(0) + 15, names[place], "middle"); });
  words(svg, across(0.5), H - 4, "segments", "middle", "strong");
  if (middle !== null) median(svg, (Math.min(middle, 40) + 0.5) / counts.length, `median ${middle}`);
  figure("Segments an image", "Labeled images by how many segments they have.", svg, ["Segments", "Images"], counts.map((count, place) => [names[place], whole(count)]));
}
