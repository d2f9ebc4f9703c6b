/* One image, large: its segments or its truth, in a dialog. */

const large = {
  picture: null, image: null, state: null, off: new Set(), hot: -1,

  async show(picture) {
    if (this.picture === picture) return;
    Object.assign(this, { picture, image: images.get(picture) || null, off: new Set(), hot: -1 });
    const number = sheet.shown.indexOf(picture);
    at("large-title").replaceChildren(make("bdi", {}, picture.key));
    at("large-place").textContent = `${number + 1} of ${sheet.shown.length}`;
    at("large-before").disabled = number <= 0;
    at("large-after").disabled = number === sheet.shown.length - 1;
    at("large-star").replaceChildren(star(picture));
    at("large-caption").textContent = picture.caption || "";
    at("large-caption").hidden = !picture.caption;
    const gone = picture.jpeg ? [] : ["The image can't be read from its shard: masks alone."];
    at("large-notes").replaceChildren(...[...gone, ...picture.notes].map((note) => make("li", {}, make("bdi", {}, note))));
    at("large-canvas").setAttribute("aria-label", described(picture));
    at("large-truth").hidden = picture.truth === null;
    this.facts();
    if (!at("large").open) {
      at("large").showModal();
      at("large-title").focus();
    }
    at("large").querySelector(".large-body").scrollTop = 0;
    this.refresh();
    const image = await loaded(picture);
    if (this.picture !== picture) return;
    this.image = image;
    this.paint();
    at("large-canvas").dataset.painted = String(number);
  },

  hide() {
    this.picture = null;
    delete at("large-canvas").dataset.painted;
    if (at("large").open) at("large").close();
  },

  facts() {
    const { picture } = this;
    const entries = [["Image", `${whole(picture.width)} × ${whole(picture.height)}`], ["Sample", `${whole(picture.index)} of its shard`], ["Shard", picture.shard]];
    if (picture.truth) entries.unshift(["Mean IoU", fixed(picture.truth.iou)], ["Pixels right", percent(picture.truth.accuracy)]);
    at("large-facts").replaceChildren();
    pairs(at("large-facts"), entries);
  },

  /** Table and picture, as chosen. */
  refresh() {
    const { picture } = this;
    const { truth, regions, on } = chosenOf(picture);
    this.state = { truth, regions, on };
    const second = picture.segments.some((segment) => segment.stability !== null) ? "stability" : "margin";
    const columns = [
      ["Score", !truth, (one) => fixed(one.score)],
      [second === "stability" ? "Stability" : "Margin", !truth, (one) => fixed(one[second])],
      ["Agreement", !truth && picture.segments.some((segment) => segment.agreement !== null), (one) => fixed(one.agreement)],
      ["IoU", picture.truth !== null, (one) => fixed(one.iou)],
      ["Area", true, (one) => percent(one.share)],
    ].filter(([, shown]) => shown);
    const table = at("large-segments");
    table.hidden = !regions.length;
    table.tHead.rows[0].replaceChildren(...[truth ? "Truth" : "Segment", ...columns.map(([name]) => name)].map((name) => make("th", { scope: "col" }, name)));
    table.tBodies[0].replaceChildren(...regions.map((region, number) => this.row(region, number, columns)));
    const said = [];
    const below = truth ? 0 : regions.filter((segment) => !passes(segment)).length;
    if (truth && !picture.truth) said.push("No truth in its shard.");
    if (!truth && !picture.segments.length) said.push(report.filter.length ? "No segment passes." : "No segment was found.");
    if (below) said.push(`${plural(below, "segment")} below the score.`);
    if (picture.left) said.push(`${plural(picture.left, "smaller segment")} not shown.`);
    if (picture.dropped) said.push(`${plural(picture.dropped, "segment")} did not pass the filter.`);
    at("large-left").textContent = said.join(" ");
    at("large-here").textContent = "";
    this.paint();
  },

  row(region, number, columns) {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = region.colour;
    const box = make("input", { type: "checkbox", checked: !this.off.has(number), onchange: () => this.toggle(number) });
    const row = make("tr", { hidden: !this.state.truth && !passes(region), className: this.off.has(number) ? "off" : "" },
      make("td", {}, make("label", {}, box, swatch, make("span", { className: "nth" }, String(number + 1)), make("bdi", {}, region.name))),
      ...columns.map(([, , text]) => make("td", {}, text(region))));
    row.onpointerenter = (event) => event.pointerType === "mouse" && this.bringOut(number);
    row.onpointerleave = () => this.bringOut(-1);
    return row;
  },

  /** Whether a region is painted now. */
  painted() {
    return this.state.on.map((on, number) => on && !this.off.has(number));
  },

  toggle(number) {
    const row = at("large-segments").tBodies[0].rows[number];
    if (!row || row.hidden) return;
    if (!this.off.delete(number)) this.off.add(number);
    row.classList.toggle("off", this.off.has(number));
    row.querySelector("input").checked = !this.off.has(number);
    this.paint();
  },

  bringOut(number) {
    if (this.hot === number || (number !== -1 && !this.painted()[number])) return;
    this.hot = number;
    [...at("large-segments").tBodies[0].rows].forEach((row, place) => row.classList.toggle("hot", place === number));
    const region = this.state.regions[number];
    at("large-here").textContent = region ? `${region.name}  ${region.score === undefined ? "" : fixed(region.score)}` : "";
    this.paint();
  },

  paint() {
    const { picture } = this;
    if (picture.jpeg && !this.image) return;
    const canvas = at("large-canvas"), frame = canvas.parentElement.getBoundingClientRect();
    const room = narrow.matches || frame.width > innerWidth * 0.9 ? innerHeight * 0.55 : frame.height - 36;
    const scale = Math.max(0.1, Math.min((frame.width - (narrow.matches ? 0 : 36)) / picture.shownWidth, room / picture.shownHeight));
    const size = [picture.shownWidth * scale, picture.shownHeight * scale];
    canvas.style.width = `${size[0]}px`;
    canvas.style.height = `${size[1]}px`;
    paint(canvas, picture, this.image, {
      regions: this.state.regions, on: this.painted(), fill: choice.fills, hot: this.hot, size,
      words: (region) => (region.score === undefined || region.score === null ? region.name : `${region.name} ${fixed(region.score)}`),
    });
  },

  step(by) {
    const next = sheet.shown[sheet.shown.indexOf(this.picture) + by];
    if (next) go(sheet.view, next, true);
  },

  listen() {
    at("large-before").onclick = () => this.step(-1);
    at("large-after").onclick = () => this.step(1);
    at("large-close").onclick = () => leave();
    at("large").onclick = (event) => { if (event.target === at("large")) leave(); };
    at("large").onclose = () => { if (this.picture) { this.hide(); leave(); } };
    const point = (event) => this.bringOut(under(event, at("large-canvas"), this.picture, this.state.regions, this.painted()));
    at("large-canvas").onpointermove = (event) => event.pointerType === "mouse" && point(event);
    at("large-canvas").onpointerdown = point;
    at("large-canvas").onpointerleave = (event) => event.pointerType === "mouse" && this.bringOut(-1);
    window.addEventListener("resize", () => { if (this.picture) this.paint(); });
  },
};
