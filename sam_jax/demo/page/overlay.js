// Masks, clicks and boxes on a canvas.

export const ON = "#22c55e";
export const OFF = "#ef4444";
const FILL = 110; // opacity of 255
const RIM = 0x80ffffff; // white

/** A mask from the server's runs: {width, height, area, bits, runs}; bits row by row, 0 or 1. */
export function decodeMask(runs) {
  const [height, width] = runs.size;
  const bits = new Uint8Array(width * height);
  let place = 0;
  let area = 0;
  runs.counts.forEach((count, index) => {
    if (index % 2) {
      area += count;
      for (let i = place; i < place + count; i++) bits[(i % height) * width + Math.floor(i / height)] = 1;
    }
    place += count;
  });
  return { width, height, area, bits, runs, tinted: new Map() };
}

/** The other way: bits row by row -> runs column by column, the first of zeros. */
export function encodeMask(bits, width, height) {
  const counts = [];
  let value = 0;
  let length = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const bit = bits[y * width + x];
      if (bit !== value) {
        counts.push(length);
        value = bit;
        length = 0;
      }
      length += 1;
    }
  }
  counts.push(length);
  return { size: [height, width], counts };
}

/** A canvas of the mask in a colour [r, g, b], its edge opaque, with a thin white rim around it. */
function tint(mask, color) {
  const key = color.join();
  if (mask.tinted.has(key)) return mask.tinted.get(key);
  const { width, height, bits } = mask;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const data = new Uint32Array(image.data.buffer);
  const rgb = (color[2] << 16) | (color[1] << 8) | color[0]; // little-endian RGBA
  const wide = Math.max(width, height) > 700 ? 2 : 1;
  const down = wide * width;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const inside = bits[i];
      const meets = (x >= wide && bits[i - wide] !== inside) || (x < width - wide && bits[i + wide] !== inside)
        || (y >= wide && bits[i - down] !== inside) || (y < height - wide && bits[i + down] !== inside);
      if (inside) data[i] = ((meets ? 255 : FILL) << 24) | rgb;
      else if (meets) data[i] = RIM;
    }
  }
  context.putImageData(image, 0, 0);
  mask.tinted.set(key, canvas);
  return canvas;
}

/** Draws a mask over the picture, which lies at 0, 0 and is width x height in the context. */
export function drawMask(context, mask, color, width, height, opacity = 1) {
  context.save();
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = true;
  context.drawImage(tint(mask, color), 0, 0, width, height);
  context.restore();
}

/** A click at x, y of the context. */
export function drawPoint(context, x, y, label, radius = 6) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = label ? ON : OFF;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath(); // a plus or a minus: colours alone do not tell everybody
  context.moveTo(x - radius / 2, y);
  context.lineTo(x + radius / 2, y);
  if (label) {
    context.moveTo(x, y - radius / 2);
    context.lineTo(x, y + radius / 2);
  }
  context.lineWidth = 1.5;
  context.stroke();
}

/** A box x0, y0, x1, y1 of the context. */
export function drawBox(context, [x0, y0, x1, y1], color) {
  context.strokeStyle = "#fff";
  context.lineWidth = 4;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.strokeStyle = `rgb(${color.join()})`;
  context.lineWidth = 2;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
}
