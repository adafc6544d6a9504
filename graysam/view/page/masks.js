// @ts-check
/** Label maps and masks of one slice: unpacks them, and makes the tint and the outline that are drawn. */

/** @typedef {{values: Uint8Array | Uint16Array, width: number, height: number}} LabelMap */
/** @typedef {{x: number, y: number, width: number, height: number, values: Uint8Array}} Patch part of a slice */

/** Give the part of a slice that a mask fills, null for an empty one.
 * @param {number[]} runs start, length, start, length ... of the mask's pixels, counted row by row
 * @param {number} width of the slice
 * @returns {Patch | null} */
export function patchOfRuns(runs, width) {
  if (!runs.length) return null;
  let [left, right] = [width, 0];
  for (let at = 0; at < runs.length; at += 2) {
    const column = runs[at] % width;
    const last = column + runs[at + 1] - 1;
    left = last < width ? Math.min(left, column) : 0; // a run over a row's end touches both sides
    right = last < width ? Math.max(right, last) : width - 1;
  }
  const top = Math.floor(runs[0] / width);
  const bottom = Math.floor((runs[runs.length - 2] + runs[runs.length - 1] - 1) / width);
  const size = { width: right - left + 1, height: bottom - top + 1 };
  const patch = { x: left, y: top, ...size, values: new Uint8Array(size.width * size.height) };
  for (let at = 0; at < runs.length; at += 2) fillRun(patch, runs[at], runs[at + 1], width);
  return patch;
}

/** @param {Patch} patch @param {number} start @param {number} length @param {number} width of the slice */
function fillRun(patch, start, length, width) {
  for (let done = 0; done < length; ) {
    const [row, column] = [Math.floor((start + done) / width), (start + done) % width];
    const count = Math.min(length - done, width - column);
    const at = (row - patch.y) * patch.width + column - patch.x;
    patch.values.fill(1, at, at + count);
    done += count;
  }
}

/** Tell whether a mask holds a pixel. @param {number[]} runs as for `patchOfRuns` @param {number} pixel y * width + x */
export function holds(runs, pixel) {
  for (let at = 0; at < runs.length && runs[at] <= pixel; at += 2) if (pixel < runs[at] + runs[at + 1]) return true;
  return false;
}

/** Trace the edges between pixels of different labels: one path for each label, in image coordinates.
 * @param {Uint8Array | Uint16Array} values row by row @param {number} width @param {number} height
 * @param {number} [left] @param {number} [top] where the values lie in the image
 * @returns {Map<number, Path2D>} */
export function outlines(values, width, height, left = 0, top = 0) {
  /** @type {Map<number, Path2D>} */
  const paths = new Map();
  const pathOf = (/** @type {number} */ label) => {
    let path = paths.get(label);
    if (!path) paths.set(label, (path = new Path2D()));
    return path;
  };
  /** @param {number} label @param {number} x @param {number} y @param {number} x2 @param {number} y2 */
  const add = (label, x, y, x2, y2) => {
    if (!label) return;
    const path = pathOf(label);
    path.moveTo(left + x, top + y);
    path.lineTo(left + x2, top + y2);
  };
  for (let y = 0; y <= height; y++) {
    let [start, above, below] = [0, 0, 0]; // the run of equal pairs that stands open
    for (let x = 0; x <= width; x++) {
      const a = x < width && y > 0 ? values[(y - 1) * width + x] : 0;
      const b = x < width && y < height ? values[y * width + x] : 0;
      if (a === above && b === below) continue;
      if (above !== below) {
        add(above, start, y, x, y);
        add(below, start, y, x, y);
      }
      [start, above, below] = [x, a, b];
    }
  }
  for (let x = 0; x <= width; x++) {
    let [start, before, after] = [0, 0, 0];
    for (let y = 0; y <= height; y++) {
      const a = y < height && x > 0 ? values[y * width + x - 1] : 0;
      const b = y < height && x < width ? values[y * width + x] : 0;
      if (a === before && b === after) continue;
      if (before !== after) {
        add(before, x, start, x, y);
        add(after, x, start, x, y);
      }
      [start, before, after] = [y, a, b];
    }
  }
  return paths;
}

/** Fill a canvas with the colours of labels; label 0 and labels without a colour stay clear.
 * @param {Uint8Array | Uint16Array} values @param {number} width @param {number} height
 * @param {Map<number, string>} colours "#rrggbb" by label @param {HTMLCanvasElement} canvas */
export function tint(values, width, height, colours, canvas) {
  canvas.width = width;
  canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const picture = context.createImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  const highest = Math.max(0, ...colours.keys());
  const table = new Uint32Array(highest + 1);
  for (const [label, colour] of colours) table[label] = packed(colour);
  for (let pixel = 0; pixel < out.length; pixel++) {
    const label = values[pixel];
    if (label && label <= highest) out[pixel] = table[label];
  }
  context.putImageData(picture, 0, 0);
}

/** @param {string} colour "#rrggbb" */
function packed(colour) {
  const number = parseInt(colour.slice(1), 16);
  return ((255 << 24) | ((number & 255) << 16) | (((number >> 8) & 255) << 8) | (number >> 16)) >>> 0;
}

/** Give the labels that a map holds, without 0. @param {Uint8Array | Uint16Array} values */
export function labelsIn(values) {
  const found = new Set(values);
  found.delete(0);
  return found;
}
