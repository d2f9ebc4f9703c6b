/* Masks: run lengths to outlines, and outlines, fills and names over a picture. */

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
      let x = Math.floor(position / height), y = position % height;
      for (let left = value; left > 0; left--) {
        mask[y * width + x] = 1;
        if (++y === height) { y = 0; x++; }
      }
    }
    position += value;
    runs.push(value);
  }
  return mask;
}

/** The border of a mask as closed loops in its pixels, through the middles of pixel edges: corners are cut by half a pixel. */
function outline(mask, width, height) {
  const path = new Path2D();
  const across = width + 1;
  const leaving = new Uint8Array(across * (height + 1));  // of each corner: a bit for an edge to the right, down, left, up
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      const corner = y * across + x;
      if (!inside(x, y - 1)) leaving[corner] |= 1;
      if (!inside(x + 1, y)) leaving[corner + 1] |= 2;
      if (!inside(x, y + 1)) leaving[corner + across + 1] |= 4;
      if (!inside(x - 1, y)) leaving[corner + across] |= 8;
    }
  }
  const steps = [1, across, -1, -across], dx = [0.5, 0, -0.5, 0], dy = [0, 0.5, 0, -0.5];
  for (let start = 0; start < leaving.length; start++) {
    while (leaving[start]) {
      let corner = start, way = -1, first = true;
      do {
        // To the right where two loops meet: pixels that touch at a corner only are apart.
        const next = way === -1 ? [0, 1, 2, 3].find((one) => leaving[corner] & (1 << one)) : [1, 0, 3].map((turn) => (way + turn) % 4).find((one) => leaving[corner] & (1 << one));
        const x = corner % across, y = Math.floor(corner / across);
        if (next !== way) {
          if (way !== -1) path.lineTo(x - dx[way], y - dy[way]);
          if (first) path.moveTo(x + dx[next], y + dy[next]);
          else path.lineTo(x + dx[next], y + dy[next]);
          first = false;
        }
        leaving[corner] &= ~(1 << next);
        way = next;
        corner += steps[way];
      } while (corner !== start);
      path.lineTo(corner % across - dx[way], Math.floor(corner / across) - dy[way]);
      path.closePath();
    }
  }
  return path;
}

/** A pixel far from a mask's border, and about how far: where its label goes. A large mask is looked at on a grid. */
function heart(mask, width, height, step = Math.ceil(Math.max(width, height) / 160)) {
  const wide = Math.ceil(width / step), high = Math.ceil(height / step), row = wide + 2;
  const far = new Uint16Array(row * (high + 2));  // with a border of zeros
  for (let y = 0, place = row + 1; y < high; y++, place += 2) {
    for (let x = 0; x < wide; x++, place++) {
      if (mask[y * step * width + x * step]) far[place] = 1 + Math.min(far[place - 1], far[place - row]);
    }
  }
  let best = 0;
  for (let place = row * (high + 1) - 2; place > row; place--) {
    if (far[place]) far[place] = Math.min(far[place], 1 + Math.min(far[place + 1], far[place + row]));
    if (far[place] > far[best]) best = place;
  }
  if (!best && step > 1) return heart(mask, width, height, 1);
  return { x: ((best % row) - 0.5) * step, y: (Math.floor(best / row) - 0.5) * step, depth: far[best] * step };
}

const shapes = new Map();

/** Outline and heart of a segment of a picture, made once. */
function shapeOf(picture, region) {
  if (!shapes.has(region)) {
    const mask = decode(region.rle, picture.shownWidth, picture.shownHeight);
    shapes.set(region, { path: outline(mask, picture.shownWidth, picture.shownHeight), ...heart(mask, picture.shownWidth, picture.shownHeight) });
  }
  return shapes.get(region);
}

const images = new Map();  // picture -> its decoded image

async function loaded(picture) {
  if (picture.jpeg && !images.has(picture)) {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${picture.jpeg}`;
    images.set(picture, await image.decode().then(() => image, () => null));
  }
  return images.get(picture) || null;
}

const FILL = 0.5;

/**
 * Paint a picture with some of its regions, the largest first.
 *
 * on: which regions to paint; fill: whether their areas are tinted; hot: the one to bring out, or -1;
 * size: width and height in CSS pixels; words: what a region's label says; corner: side of a square at the top right that
 * labels leave free.
 */
function paint(canvas, picture, image, { regions, on, fill, hot = -1, size: [wide, high], words, corner = 0 }) {
  const unit = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(wide * unit));
  canvas.height = Math.max(1, Math.round(high * unit));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  if (image) context.drawImage(image, 0, 0, canvas.width, canvas.height);
  else {
    context.fillStyle = "#8c8f94";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const shown = regions.map((region, number) => ({ region, number, shape: on[number] ? shapeOf(picture, region) : null })).filter((one) => one.shape);
  const scale = canvas.width / picture.shownWidth;
  context.setTransform(scale, 0, 0, canvas.height / picture.shownHeight, 0, 0);
  for (const { region, number, shape } of shown) {
    if (!(fill || number === hot)) continue;
    context.globalAlpha = hot === -1 || number === hot ? 1 : 0.4;
    // The tint goes over grey, so that its hue is the mask's.
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fill(shape.path, "evenodd");
    context.globalCompositeOperation = "source-over";
    context.globalAlpha *= FILL;
    context.fillStyle = region.colour;
    context.fill(shape.path, "evenodd");
  }
  const line = (wide > 460 ? 2 : 1.5) * unit / scale;
  for (const { region, number, shape } of shown) {
    context.save();
    context.globalAlpha = hot === -1 || number === hot ? 1 : 0.35;
    // Each outline lies inside its mask, so that neighbours' stand side by side; white within it sets it off any ground.
    context.clip(shape.path, "evenodd");
    context.lineJoin = "round";
    for (const [colour, width] of [["rgb(255 255 255 / 85%)", line * 1.5], [region.colour, line]]) {
      context.strokeStyle = colour;
      context.lineWidth = 2 * width;
      context.stroke(shape.path);
    }
    context.restore();
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  labels(context, shown.filter(({ number }) => hot === -1 || number === hot), scale, unit * (wide > 460 ? 13 : wide > 200 ? 11 : 10), words, corner * unit);
}

/** Names at the hearts of regions, the largest first; one that finds no free place is left out. */
function labels(context, shown, scale, size, words, corner) {
  const { width, height } = context.canvas;
  const taken = [[width - corner, 0, corner, corner]];
  context.font = `500 ${size}px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  const high = size * 1.6, room = width - size;
  for (const { region, shape } of shown) {
    let text = words(region);
    while (text.length > 2 && context.measureText(text).width + size * 1.9 > room) text = `${text.slice(0, -2)}…`;
    const wide = context.measureText(text).width + size * 1.9;
    // A label would hide a mask of its own size: it then stands above or below.
    const aside = shape.depth * scale + high * 0.65;
    const offsets = shape.depth * scale * 1.4 > high ? [0, -high * 1.1, high * 1.1] : [-aside, aside];
    const boxes = offsets.map((offset) => [
      Math.min(Math.max(shape.x * scale - wide / 2, 2), width - wide - 2),
      Math.min(Math.max(shape.y * scale + offset - high / 2, 2), height - high - 2),
    ]);
    const box = boxes.find(([x, y]) => x >= 0 && y >= 0 && taken.every(([a, b, w, h]) => x + wide <= a || a + w <= x || y + high <= b || b + h <= y));
    if (!box) continue;
    const [x, y] = box;
    taken.push([x, y, wide, high]);
    context.fillStyle = "rgb(18 20 23 / 82%)";
    context.beginPath();
    context.roundRect(x, y, wide, high, high / 2);
    context.fill();
    context.fillStyle = region.colour;
    context.strokeStyle = "#ffffff";
    context.lineWidth = size / 11;
    context.beginPath();
    context.arc(x + size * 0.8, y + high / 2, size * 0.3, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.fillStyle = "#ffffff";
    context.fillText(text, x + size * 1.35, y + high / 2 + size * 0.05);
  }
}

/** Number of the smallest painted region under the pointer, or -1. */
function under(event, canvas, picture, regions, on) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * picture.shownWidth;
  const y = ((event.clientY - box.top) / box.height) * picture.shownHeight;
  const context = canvas.getContext("2d");
  return regions.findLastIndex((region, number) => on[number] && context.isPointInPath(shapeOf(picture, region).path, x, y, "evenodd"));
}

function described(picture) {
  const names = picture.segments.slice(0, 8).map((segment) => segment.name);
  const more = picture.segments.length - names.length;
  return `${picture.key}: ${names.length ? names.join(", ") : "no segments"}${more > 0 ? ` and ${more} more` : ""}`;
}
