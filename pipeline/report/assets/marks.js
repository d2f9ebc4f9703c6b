/* Marks: images that the reader starred, kept in this browser for this run, and copied as a list of keys. */

const STORED = `maskmill-marks ${report.run.output} ${report.run.fingerprint}`;
const identify = (picture) => `${picture.shard}\n${picture.index}`;

function stored() {
  try {
    const names = new Set(JSON.parse(localStorage.getItem(STORED) || "[]"));
    return pictures.filter((picture) => names.has(identify(picture)));
  } catch {
    return [];  // no storage, or not what was put there
  }
}

const marks = new Set(stored());

function mark(picture) {
  if (!marks.delete(picture)) marks.add(picture);
  try {
    localStorage.setItem(STORED, JSON.stringify([...marks].map(identify)));
  } catch { /* they then last as long as the page */ }
  for (const button of document.querySelectorAll(".star")) if (button.picture === picture) showMark(button);
  countViews();
  if (sheet.view === "marked") refresh();
}

function showMark(button) {
  const on = marks.has(button.picture);
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? "★" : "☆";
  button.setAttribute("aria-label", `Mark ${button.picture.key}`);
}

function star(picture) {
  const button = make("button", { type: "button", className: "star", title: "Mark (s)", onclick: () => mark(picture) });
  button.picture = picture;
  showMark(button);
  return button;
}

async function copyMarks() {
  const keys = at("marked-keys");
  try {
    await navigator.clipboard.writeText(keys.value);
  } catch {
    keys.select();
    document.execCommand("copy");
  }
  at("marked-copied").textContent = `${plural(keys.value ? keys.value.split("\n").length : 0, "key")} copied.`;
}
