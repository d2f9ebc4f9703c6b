/* Draws a report from the JSON in #data. Text of the data set only ever becomes text nodes: no HTML is made of it. */

const report = JSON.parse(document.getElementById("data").textContent);
const pictures = report.pictures;

const classes = report.classes.map(([id, name, kind, images, segments, drawn, pixels, score, stability]) =>
  ({ id, name, kind, images, segments, drawn, pixels, score, stability }));

// --- words -----------------------------------------------------------------------------------------------------------

const at = (id) => document.getElementById(id);
const whole = (value) => value.toLocaleString("en");
const fixed = (value) => (value === null ? "–" : value.toFixed(2));

function brief(value) {
  return value < 100000 ? whole(value) : Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

function percent(share) {
  if (share === null) return "–";
  if (share > 0 && share < 0.0005) return "<0.1%";
  return `${(share * 100).toFixed(1)}%`;
}

function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function plural(count, word) {
  return `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
}

/** An element: its properties, then its children; strings become text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function pairs(list, entries) {
  for (const [name, value, kind] of entries) list.append(make("dt", {}, name), make("dd", { className: kind || "" }, make("bdi", {}, value)));
}

// --- the top ---------------------------------------------------------------------------------------------------------

function top() {
  const { run, ledger, drawn } = report;
  const { identity } = run;
  document.title = `${run.output} · maskmill report`;
  at("output").append(make("bdi", {}, run.output));
  const day = run.created ? new Date(run.created) : null;
  const created = day && !isNaN(day) ? `, begun ${day.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" })}` : "";
  at("about").append(`${identity.model}, ${plural(report.size, "class").replace(/classs$/, "classes")}, ${identity.inference} form${created}${run.sealed ? ", sealed" : ""}`);
  if (report.filter.length) {
    at("filter").hidden = false;
    at("filter").append("Images, charts and means show only segments with ");
    report.filter.forEach((word, index) => at("filter").append(index ? " " : "", make("code", {}, word)));
  }
  const failed = ledger.read - ledger.labeled;
  const entries = [
    ["images labeled", brief(ledger.labeled)],
    ["samples failed", brief(failed), failed > 0],
    ["segments", brief(ledger.segments)],
    ["segments an image", ledger.labeled ? (ledger.segments / ledger.labeled).toFixed(1) : "–"],
    [`of ${whole(report.size)} classes found`, whole(report.everFound)],
    [`of ${plural(ledger.asked, "shard")} done`, brief(ledger.shards.done), ledger.shards.done < ledger.asked],
  ];
  for (const [name, value, alarm] of entries) {
    at("numbers").append(make("div", {}, make("dt", {}, name), make("dd", { className: alarm ? "alarm" : "" }, value)));
  }
  if (report.incomplete) at("notices").append(make("p", { className: "notice" }, report.incomplete));
  if (report.gone.length) {
    notice(`The images of ${plural(report.gone.length, "source shard")} can't be read; their samples are shown as masks alone.`, report.gone.map(([shard, why]) => `${shard}: ${why}`));
  }
  if (drawn.unread.length) {
    notice(`${plural(drawn.unread.length, "label file")} couldn't be read and ${drawn.unread.length === 1 ? "is" : "are"} left out: maskmill verify says more.`, drawn.unread);
  }
}

function notice(text, lines) {
  const list = make("ul", {}, ...lines.map((line) => make("li", {}, make("bdi", {}, line))));
  at("notices").append(make("details", { className: "notice" }, make("summary", {}, text), list));
}

// --- masks -----------------------------------------------------------------------------------------------------------

/** COCO's compressed run lengths as row-major bytes: 1 inside the mask. */
function decode(text, width, height) {
  const mask = new Uint8Array(width * height);
  const runs = [];
  for (let i = 0, position = 0; i < text.length; ) {
    let value = 0, shift = 0, code;
    do {
      code = text.charCodeAt(i++) - 48;
      value += (code & 31) * 2 ** shift;
      shift += 5;
    } while (code & 32 && i < text.length);
    if (code & 16) value -= 2 ** shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    if (runs.length % 2) {
      for (let pixel = position; pixel < position + value; pixel++) mask[(pixel % height) * width + Math.floor(pixel / height)] = 1;
    }
    position += value;
    runs.push(value);
  }
  return mask;
}

function masksOf(picture) {
  return picture.segments.map((segment) => decode(segment.rle, picture.shownWidth, picture.shownHeight));
}

function loaded(picture) {
  if (!picture.jpeg) return Promise.resolve(null);
  const image = new Image();
  image.src = `data:image/jpeg;base64,${picture.jpeg}`;
  return image.decode().then(() => image, () => null);
}

const colourOf = (text) => [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16));

/**
 * Paint a picture with its masks.
 *
 * masks: as `masksOf` gives them; on: which of them to paint; tint: share of a mask's colour in its pixels;
 * hot: the one to bring out, or -1; side: about how many pixels the long side should have.
 */
function paint(canvas, picture, image, masks, { on, tint, hot = -1, side }) {
  const width = picture.shownWidth, height = picture.shownHeight;
  const factor = Math.max(1, Math.min(8, Math.round(side / Math.max(width, height))));
  canvas.width = width * factor;
  canvas.height = height * factor;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (image) {
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = "#8c8f94";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  if (!masks.some((_, number) => on[number])) return;
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = pixels.data;
  const edge = Math.max(1, Math.round(canvas.width / 500));
  masks.forEach((mask, number) => {
    if (!on[number]) return;
    const colour = colourOf(picture.segments[number].colour);
    const share = hot === -1 ? tint : hot === number ? Math.max(tint, 0.65) : tint * 0.25;
    const inside = (x, y) => x >= 0 && y >= 0 && x < canvas.width && y < canvas.height && mask[Math.floor(y / factor) * width + Math.floor(x / factor)];
    for (let y = 0; y < canvas.height; y++) {
      const row = Math.floor(y / factor) * width;
      for (let x = 0; x < canvas.width; x++) {
        if (!mask[row + Math.floor(x / factor)]) continue;
        const outline = !(inside(x - edge, y) && inside(x + edge, y) && inside(x, y - edge) && inside(x, y + edge));
        const most = outline && (hot === -1 || hot === number) ? 1 : share;
        const place = (y * canvas.width + x) * 4;
        // The tint goes over grey, so that its hue is the mask's.
        const grey = 0.3 * data[place] + 0.59 * data[place + 1] + 0.11 * data[place + 2];
        const washed = Math.min(1, most * 1.7);
        for (let channel = 0; channel < 3; channel++) {
          const base = data[place + channel] + (grey - data[place + channel]) * washed;
          data[place + channel] = base + (colour[channel] - base) * most;
        }
      }
    }
  });
  context.putImageData(pixels, 0, 0);
}

function described(picture) {
  const names = picture.segments.slice(0, 8).map((segment) => segment.name);
  const more = picture.segments.length - names.length;
  return `${picture.key}: ${names.length ? names.join(", ") : "no segments"}${more > 0 ? ` and ${more} more` : ""}`;
}

// --- the contact sheet -----------------------------------------------------------------------------------------------

const GROUPS = {
  random: ["Random", "Drawn at random.", null],
  best: ["Best", "Highest mean of score × stability over an image’s segments, weighted by their areas.", (a, b) => b.confidence - a.confidence],
  worst: ["Worst", "Lowest mean of score × stability over an image’s segments, weighted by their areas.", (a, b) => a.confidence - b.confidence],
  class: ["By class", "", null],
  empty: ["Nothing found", "Labeled, without a segment.", null],
};

const sheet = { group: "random", classId: null, shown: [] };

const holding = new Map();  // class id -> its pictures
for (const picture of pictures) {
  for (const id of new Set(picture.segments.map((segment) => segment.id))) {
    if (!holding.has(id)) holding.set(id, []);
    holding.get(id).push(picture);
  }
}

function members(group) {
  if (group !== "class") {
    const mine = pictures.filter((picture) => picture.groups.includes(group));
    return GROUPS[group][2] ? mine.sort(GROUPS[group][2]) : mine;
  }
  const best = (picture) => Math.max(...picture.segments.filter((segment) => segment.id === sheet.classId).map((segment) => segment.score));
  return [...(holding.get(sheet.classId) || [])].sort((a, b) => best(b) - best(a));
}

function secondOf(picture) {
  return picture.segments.some((segment) => segment.stability !== null) ? "stability" : "margin";
}

function tabs() {
  const { drawn, ledger } = report;
  const all = drawn.samples === ledger.read ? `all ${plural(drawn.samples, "sample")}` : `${whole(drawn.samples)} of ${plural(drawn.of, "sample")}`;
  at("sheet-note").append(pictures.length
    ? `${plural(pictures.length, "image")} from ${plural(drawn.imageShards, "shard")}, chosen from ${whole(drawn.chosenFrom)}`
    : "None are shown.");
  at("charts-note").append(`${plural(drawn.segments, "segment")} of ${all} in ${plural(drawn.shards, "shard")}, seed ${drawn.seed}${drawn.cut ? "; cut where there were too many" : ""}`);
  const counts = Object.fromEntries(Object.keys(GROUPS).map((group) => [group, group === "class" ? holding.size : members(group).length]));
  const groups = Object.keys(GROUPS).filter((group) => counts[group]);
  if (!groups.length) at("sheet").querySelector(".bar").hidden = true;
  for (const group of groups) {
    const tab = make("button", { type: "button", id: `tab-${group}`, role: "tab", "aria-controls": "cards", onclick: () => open(group) },
      GROUPS[group][0], " ", make("span", { className: "count" }, whole(counts[group])));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = groups[(groups.indexOf(group) + step + groups.length) % groups.length];
      open(next);
      at(`tab-${next}`).focus();
    });
    at("tabs").append(tab);
  }
  const named = [...holding.keys()].map((id) => [id, pictures.flatMap((picture) => picture.segments).find((segment) => segment.id === id).name]);
  named.sort((a, b) => a[1].localeCompare(b[1]));
  for (const [id, name] of named) at("class-select").append(make("option", { value: String(id) }, `${name} (${holding.get(id).length})`));
  at("class-select").onchange = () => openClass(Number(at("class-select").value));
  at("sheet-masks").onchange = cards;
  sheet.classId = named.length ? [...holding].sort((a, b) => b[1].length - a[1].length)[0][0] : null;
  if (groups.length) open(groups[0]);
  else at("cards").append(make("p", { className: "nothing" }, report.filter.length ? "No image has a segment that passes." : "No images."));
}

function open(group) {
  sheet.group = group;
  for (const tab of at("tabs").children) {
    const mine = tab.id === `tab-${group}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
  }
  at("class-pick").hidden = group !== "class";
  at("class-select").value = String(sheet.classId);
  at("tab-note").textContent = group === "class" ? "Shown images that hold the class, its highest score first." : GROUPS[group][1];
  cards();
}

function openClass(id, scroll = false) {
  sheet.classId = id;
  open("class");
  if (scroll) at("sheet").scrollIntoView();
}

let seen = null;

function cards() {
  if (seen) seen.disconnect();
  sheet.shown = members(sheet.group);
  const painters = new Map();
  seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      painters.get(entry.target)();
    }
  }, { rootMargin: "600px" });
  at("cards").replaceChildren(...sheet.shown.map((picture, number) => {
    const canvas = make("canvas", { width: picture.shownWidth, height: picture.shownHeight, role: "img", "aria-label": described(picture) });
    const words = picture.caption || picture.key;
    const confidence = sheet.group === "class"
      ? Math.max(...picture.segments.filter((segment) => segment.id === sheet.classId).map((segment) => segment.score))
      : picture.confidence;
    const card = make("button", { type: "button", className: "card", onclick: () => large.show(number) },
      make("span", { className: "frame" }, canvas),
      make("span", { className: "line" },
        make("span", { className: "words", dir: "auto" }, words),
        confidence === null ? null : make("span", { className: "confidence", title: sheet.group === "class" ? "score of the class" : "score × stability" }, fixed(confidence))));
    // As wide as it is in proportion: rows of one height, nothing cropped.
    const proportion = Math.min(2.6, Math.max(0.5, picture.shownWidth / picture.shownHeight));
    card.style.flex = `${proportion} 1 ${Math.round(proportion * 172)}px`;
    card.style.maxWidth = `${Math.round(proportion * 300)}px`;
    painters.set(canvas, async () => {
      const image = await loaded(picture);
      const masks = at("sheet-masks").checked ? masksOf(picture) : [];
      paint(canvas, picture, image, masks, {
        on: picture.segments.map((segment) => sheet.group !== "class" || segment.id === sheet.classId), tint: 0.5, side: 420,
      });
      canvas.dataset.painted = "yes";
    });
    seen.observe(canvas);
    return card;
  }));
}

// --- one image, large ------------------------------------------------------------------------------------------------

const large = {
  number: 0, picture: null, image: null, masks: [], on: [], hot: -1,

  async show(number) {
    const picture = sheet.shown[number];
    Object.assign(this, { number, picture, image: null, masks: masksOf(picture), on: picture.segments.map(() => true), hot: -1 });
    at("large-title").replaceChildren(make("bdi", {}, picture.key));
    at("large-place").textContent = `${number + 1} of ${sheet.shown.length}`;
    at("large-before").disabled = number === 0;
    at("large-after").disabled = number === sheet.shown.length - 1;
    at("large-caption").textContent = picture.caption || "";
    at("large-caption").hidden = !picture.caption;
    const gone = picture.jpeg ? [] : ["The image can't be read from its shard: masks alone."];
    at("large-notes").replaceChildren(...[...gone, ...picture.notes].map((note) => make("li", {}, make("bdi", {}, note))));
    at("large-canvas").setAttribute("aria-label", described(picture));
    at("large-all").checked = true;
    at("large-here").textContent = "";
    this.list();
    const facts = at("large-facts");
    facts.replaceChildren();
    pairs(facts, [
      ["Image", `${whole(picture.width)} × ${whole(picture.height)}`],
      ["Sample", `${whole(picture.index)} of its shard`],
      ["Shard", picture.shard],
    ]);
    if (!at("large").open) at("large").showModal();
    at("large").querySelector(".large-body").scrollTop = 0;
    const image = await loaded(picture);
    if (this.picture !== picture) return;
    this.image = image;
    this.paint();
    at("large-canvas").dataset.painted = String(number);
  },

  list() {
    const { picture } = this;
    const second = secondOf(picture);
    at("large-second").textContent = second === "stability" ? "Stability" : "Margin";
    const agreed = picture.segments.some((segment) => segment.agreement !== null);
    at("large-agreement").hidden = !agreed;
    at("large-segments").hidden = !picture.segments.length;
    const rows = picture.segments.map((segment, number) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = segment.colour;
      const box = make("input", { type: "checkbox", checked: true });
      const row = make("tr", {},
        make("td", {}, make("label", {}, box, swatch, make("bdi", {}, segment.name))),
        make("td", {}, fixed(segment.score)), make("td", {}, fixed(segment[second])),
        agreed ? make("td", {}, fixed(segment.agreement)) : null, make("td", {}, percent(segment.share)));
      box.onchange = () => {
        this.on[number] = box.checked;
        row.classList.toggle("off", !box.checked);
        at("large-all").checked = this.on.every(Boolean);
        at("large-all").indeterminate = !at("large-all").checked && this.on.some(Boolean);
        this.paint();
      };
      row.onpointerenter = (event) => event.pointerType === "mouse" && this.bringOut(number);
      row.onpointerleave = () => this.bringOut(-1);
      return row;
    });
    at("large-segments").tBodies[0].replaceChildren(...rows);
    const said = [];
    if (!picture.segments.length) said.push(report.filter.length ? "No segment passes." : "No segment was found.");
    if (picture.left) said.push(`${plural(picture.left, "smaller segment")} not shown.`);
    if (picture.dropped) said.push(`${plural(picture.dropped, "segment")} did not pass the filter.`);
    at("large-left").textContent = said.join(" ");
  },

  bringOut(number) {
    if (this.hot === number || (number !== -1 && !this.on[number])) return;
    this.hot = number;
    [...at("large-segments").tBodies[0].rows].forEach((row, place) => row.classList.toggle("hot", place === number));
    this.paint();
  },

  paint() {
    paint(at("large-canvas"), this.picture, this.image, this.masks, {
      on: this.on, tint: Number(at("large-tint").value) / 100, hot: this.hot, side: 1100,
    });
    // A small image is enlarged; its box keeps the proportion.
    at("large-canvas").style.aspectRatio = `${this.picture.shownWidth} / ${this.picture.shownHeight}`;
  },

  /** Which segment lies under the pointer: of several the smallest, which is painted last. */
  under(event) {
    const box = at("large-canvas").getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.picture.shownWidth);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.picture.shownHeight);
    let found = -1;
    this.masks.forEach((mask, number) => { if (this.on[number] && mask[y * this.picture.shownWidth + x]) found = number; });
    const segment = this.picture.segments[found];
    at("large-here").textContent = segment ? `${segment.name}  ${fixed(segment.score)}` : "";
    [...at("large-segments").tBodies[0].rows].forEach((row, place) => row.classList.toggle("hot", place === found));
  },

  step(by) {
    const next = this.number + by;
    if (next >= 0 && next < sheet.shown.length) this.show(next);
  },

  listen() {
    at("large-before").onclick = () => this.step(-1);
    at("large-after").onclick = () => this.step(1);
    at("large-close").onclick = () => at("large").close();
    at("large").onclick = (event) => { if (event.target === at("large")) at("large").close(); };
    at("large").onkeydown = (event) => {
      if (event.target.type === "range") return;
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    };
    at("large-all").onchange = () => {
      const checked = at("large-all").checked;
      this.on = this.on.map(() => checked);
      for (const row of at("large-segments").tBodies[0].rows) {
        row.querySelector("input").checked = checked;
        row.classList.toggle("off", !checked);
      }
      this.paint();
    };
    at("large-tint").oninput = () => this.paint();
    at("large-canvas").onpointermove = (event) => this.under(event);
    at("large-canvas").onpointerleave = () => {
      at("large-here").textContent = "";
      for (const row of at("large-segments").tBodies[0].rows) row.classList.remove("hot");
    };
  },
};

// --- charts ----------------------------------------------------------------------------------------------------------

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

function named(one, className) {
  return holding.has(one.id)
    ? make("button", { type: "button", className, title: "Show images", onclick: () => openClass(one.id, true) }, make("bdi", {}, one.name))
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

// --- the class table -------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["name", "Class", (one) => one.name],
  ["kind", "Kind", (one) => one.kind || "–"],
  ["images", "Images", (one) => whole(one.images)],
  ["segments", "Segments", (one) => whole(one.segments)],
  ["pixels", "Pixels ≈", (one) => (one.drawn ? percent(one.pixels) : "–")],
  ["score", "Mean score ≈", (one) => fixed(one.score)],
  ["stability", "Mean stability ≈", (one) => fixed(one.stability)],
];

const LISTED = 40;
const order = { column: "segments", down: true, all: false };

function classTable() {
  at("classes-note").append("Images and segments are exact, over the whole run; columns with ≈ are of the drawn samples.");
  const head = make("tr");
  for (const [column, title] of COLUMNS) {
    const cell = make("th", { scope: "col", className: column === "kind" ? "kind" : "" }, make("button", { type: "button" }, title));
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
  at("class-table").tBodies[0].replaceChildren(...shown.map((one) => make("tr", {}, ...COLUMNS.map(([column, , text]) =>
    make("td", { className: `${column}${one.segments ? "" : " none"}` }, column === "name" ? named(one, "") : text(one))))));
  const left = report.size - classes.length;
  at("class-count").textContent = `${plural(rows.length, "class").replace(/classs$/, "classes")}${left > 0 ? `; the ${whole(left)} rarest are not listed` : ""}`;
  at("class-more").hidden = shown.length === rows.length;
  at("class-more").textContent = `Show all ${whole(rows.length)}`;
}

// --- ledger, identity, foot ------------------------------------------------------------------------------------------

function stack(parts, words) {
  const bar = make("div", { className: "stack", "aria-hidden": "true" });
  for (const [count, kind] of parts) {
    if (!count) continue;
    const span = make("span", { className: kind });
    span.style.flexGrow = String(count);
    bar.append(span);
  }
  at("ledger-bars").append(make("div", { className: "ledger-row" }, bar, make("p", { className: "note" }, ...words)));
}

function ledger() {
  const { shards, asked, read, labeled, failed, listed, unkeyed, truncated } = report.ledger;
  const bold = (count) => make("b", {}, whole(count));
  stack([[labeled, "good"], [read - labeled, "bad"]],
    ["samples: ", bold(read), " read = ", bold(labeled), " labeled + ", bold(read - labeled), " failed",
      ...(read - labeled ? [` (${Object.entries(failed).map(([reason, count]) => `${reason} ${whole(count)}`).join(", ")})`] : [])]);
  stack([[shards.done, "good"], [shards.failed, "bad"], [shards.missing, "open"]],
    ["shards: ", bold(asked), " asked for = ", bold(shards.done), " done + ", bold(shards.failed), " failed + ", bold(shards.missing), " missing",
      ...(shards.stale ? ["; ", bold(shards.stale), " changed since"] : [])]);
  const said = [];
  said.push(`${bytes(report.ledger.bytes)} of label files${labeled ? `, ${bytes(report.ledger.bytes / labeled)} a labeled image` : ""}.`);
  if (unkeyed) said.push(`${plural(unkeyed, "file")} in the shards belong to no sample.`);
  if (truncated) said.push(`${plural(truncated, "done shard")} were cut; their whole samples were taken.`);
  at("ledger-bars").append(make("p", { className: "note" }, said.join(" ")));
  for (const [state, words] of [["failed", "failed"], ["missing", "missing"], ["stale", "changed since they were labeled"]]) {
    const count = shards[state];
    if (!count) continue;
    const rows = listed[state].map(([url, error]) => make("li", {}, make("bdi", {}, url), error ? ": " : "", make("bdi", {}, error)));
    if (count > rows.length) rows.push(make("li", {}, `and ${whole(count - rows.length)} more`));
    at("ledger-lists").append(make("details", {}, make("summary", {}, `${plural(count, "shard")} ${words}`), make("ul", {}, ...rows)));
  }
}

function identity() {
  const hashed = (text) => (/^[0-9a-f]{40,}$/.test(text) ? "hash" : "");
  const first = ["model", "weights", "inference", "score_threshold", "overlap_threshold", "vocabulary", "templates"];
  const place = (name) => (first.includes(name) ? first.indexOf(name) : first.length);
  const rows = Object.entries(report.run.identity).sort((a, b) => place(a[0]) - place(b[0]))
    .map(([name, text]) => [name.replaceAll("_", " "), text, hashed(text)]);
  pairs(at("identity-list"), [["fingerprint", report.run.fingerprint, "hash"], ...rows,
    ["versions", Object.entries(report.run.versions).map(([name, version]) => `${name} ${version}`).join(", ")]]);
}

function foot() {
  const { drawn } = report;
  at("foot").append(make("p", {},
    `Ledger and class counts are added up over the whole run. Charts and means are of ${plural(drawn.samples, "sample")} from ${plural(drawn.shards, "shard")}, drawn with seed ${drawn.seed}${drawn.holding ? " from the shards that hold the classes asked for" : ""}: `,
    "a shard is as likely as it is large, and consecutive samples are taken of each. ",
    "This page is one file and asks the network for nothing."));
}

top();
tabs();
frequency();
map();
areas();
anImage();
classTable();
ledger();
identity();
foot();
large.listen();
document.documentElement.dataset.ready = "yes";
