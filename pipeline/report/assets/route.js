/* Addresses: #VIEW, #VIEW/KEY, and #VIEW/KEY/2 for the second image of one key; a class's view is class-ID. */

const route = { pushed: false };

/** The view of an address without one: the first that has images. */
const USUAL = viewsShown()[0] || "all";

const twins = new Map();  // key -> its pictures, in the order of shard and sample
for (const picture of [...pictures].sort((a, b) => (a.shard === b.shard ? a.index - b.index : a.shard < b.shard ? -1 : 1))) {
  twins.set(picture.key, [...(twins.get(picture.key) || []), picture]);
}

function addressOf(view, picture = null) {
  if (!picture) return `#${view}`;
  const place = twins.get(picture.key).indexOf(picture);
  return `#${view}/${encodeURIComponent(picture.key)}${place ? `/${place + 1}` : ""}`;
}

/** What an address names; null where it is none of ours. */
function parsed(hash) {
  const [view, encoded, place] = hash.slice(1).split("/");
  if (view === "class" || !Object.hasOwn(VIEWS, view.replace(/^class-\d+$/, "class"))) return null;
  let key = encoded || null;
  try {
    key = key && decodeURIComponent(key);
  } catch { /* not encoded as ours are: taken as it is */ }
  const picture = (twins.get(key) || [])[place ? Number(place) - 1 : 0] || null;
  return { view, picture, lost: key && !picture ? key : null };
}

/** Go to a view or an image; with `replace` the step back leads past it. */
function go(view, picture = null, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", addressOf(view, picture));
  follow();
}

/** Show what the address says. */
function follow(first = false) {
  const to = parsed(location.hash);
  if (!to) {
    if (sheet.view !== USUAL && (first || !location.hash)) openView(USUAL);
    if (!location.hash) large.hide();
    return;
  }
  if (to.view !== sheet.view) openView(to.view);
  at("lost").hidden = to.lost === null;
  at("lost").textContent = to.lost === null ? "" : `This page has no image of the key ${to.lost}.`;
  if (!to.picture) {
    large.hide();
    return;
  }
  if (!sheet.shown.includes(to.picture)) {
    at("find").value = "";
    openView("all");
  }
  if (!large.picture) route.pushed = !first;
  large.show(to.picture);
}

/** From the large picture to its view: a step back where one led here. */
function leave() {
  if (route.pushed) history.back();
  else go(sheet.view, null, true);
  route.pushed = false;
}
