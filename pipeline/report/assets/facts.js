/* What is exact of the run: the top of the page, ledger, identity, foot. */

function top() {
  const { run, ledger, drawn } = report;
  const { identity } = run;
  const title = report.title || run.output;
  document.title = `${title} · maskmill report`;
  at("output").append(make("bdi", {}, title));
  const day = run.created ? new Date(run.created) : null;
  const created = day && !isNaN(day) ? `, begun ${day.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" })}` : "";
  if (report.title) at("about").append(make("bdi", {}, run.output), ": ");
  at("about").append(`${identity.model}, ${plural(report.size, "class", "classes")}, ${identity.inference} form${created}${run.sealed ? ", sealed" : ""}`);
  if (report.filter.length) {
    at("filter").hidden = false;
    at("filter").append("Images, charts and means show only segments with ");
    report.filter.forEach((word, index) => at("filter").append(index ? " " : "", make("code", {}, word)));
  }
  const failed = ledger.read - ledger.labeled, open = ledger.asked - ledger.shards.done;
  const ious = truths.map(iouOf).filter((iou) => iou !== null);
  const entries = [
    ["images labeled", brief(ledger.labeled)],
    ["samples failed", brief(failed), failed > 0, reasons(ledger.failed)],
    ["segments", brief(ledger.segments)],
    ["segments an image", ledger.labeled ? (ledger.segments / ledger.labeled).toFixed(1) : "–"],
    drawn.unlabeled === null ? null : ["of pixels unlabeled ≈", percent(drawn.unlabeled)],
    ious.length ? ["mean IoU an image", fixed(ious.reduce((sum, iou) => sum + iou, 0) / ious.length), false, `${whole(ious.length)} shown with truth`] : null,
    [`of ${whole(report.size)} classes found`, whole(report.everFound)],
    [`of ${plural(ledger.asked, "shard")} done`, brief(ledger.shards.done), open > 0, unfinished(ledger.shards)],
  ];
  for (const [name, value, alarm, more] of entries.filter((entry) => entry !== null)) {
    at("numbers").append(make("div", {}, make("dt", {}, name, more ? make("span", { className: "more" }, more) : null), make("dd", { className: alarm ? "alarm" : "" }, value)));
  }
  if (report.incomplete) {
    at("notices").append(make("p", { className: "notice", id: "incomplete" },
      make("b", {}, "This run is "), make("bdi", {}, report.incomplete), ". ", make("a", { href: "#ledger" }, "See them")));
  }
  if (report.gone.length) {
    notice(`The images of ${plural(report.gone.length, "source shard")} can't be read; their samples are shown as masks alone.`, report.gone.map(([shard, why]) => `${shard}: ${why}`));
  }
  if (drawn.unread.length) {
    notice(`${plural(drawn.unread.length, "label file")} couldn't be read and ${drawn.unread.length === 1 ? "is" : "are"} left out: maskmill verify says more.`, drawn.unread);
  }
}

const reasons = (failed) => Object.entries(failed).map(([reason, count]) => `${reason} ${whole(count)}`).join(", ");

const unfinished = (shards) => ["failed", "missing"].filter((state) => shards[state]).map((state) => `${whole(shards[state])} ${state}`).join(", ");

function notice(text, lines) {
  const list = make("ul", {}, ...lines.map((line) => make("li", {}, make("bdi", {}, line))));
  at("notices").append(make("details", { className: "notice" }, make("summary", {}, text), list));
}

function sheetNotes() {
  const { drawn, ledger } = report;
  const all = drawn.samples === ledger.read ? `all ${plural(drawn.samples, "sample")}` : `${whole(drawn.samples)} of ${plural(drawn.of, "sample")}`;
  at("sheet-note").append(pictures.length
    ? `${plural(pictures.length, "image")} from ${plural(drawn.imageShards, "shard")}, chosen from ${whole(drawn.chosenFrom)}`
    : "None are shown.");
  at("charts-note").append(`${plural(drawn.segments, "segment")} of ${all} in ${plural(drawn.shards, "shard")}, seed ${drawn.seed}${drawn.cut ? "; cut where there were too many" : ""}`);
}

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
      ...(read - labeled ? [` (${reasons(failed)})`] : [])]);
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

