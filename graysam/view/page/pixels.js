// @ts-check
/** Slices as the server cuts them: fetches them, keeps the latest, and turns values into levels of gray. */

const KEPT_BYTES = 96 * 1024 * 1024;

/** @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array |
 *   Float32Array} Values */
/** @typedef {{values: Values, width: number, height: number, channels: number}} Slice */

/** @type {Record<string, (buffer: ArrayBuffer) => Values>} */
const READERS = {
  uint8: (buffer) => new Uint8Array(buffer),
  int8: (buffer) => new Int8Array(buffer),
  uint16: (buffer) => new Uint16Array(buffer),
  int16: (buffer) => new Int16Array(buffer),
  uint32: (buffer) => new Uint32Array(buffer),
  int32: (buffer) => new Int32Array(buffer),
  float32: (buffer) => new Float32Array(buffer),
};

/** @param {Response} answer @returns {Promise<Slice>} */
export async function readSlice(answer) {
  const number = (/** @type {string} */ name) => Number(answer.headers.get(name));
  const reader = READERS[answer.headers.get("X-Dtype") ?? ""];
  if (!reader) throw new Error(`X-Dtype ${answer.headers.get("X-Dtype")}`);
  const values = reader(await answer.arrayBuffer());
  return { values, width: number("X-Width"), height: number("X-Height"), channels: number("X-Channels") || 1 };
}

/** The slices fetched last, bounded in bytes; a second wish for the same slice waits for the first. */
export class SliceCache {
  /** @param {(key: string) => Promise<Slice>} load */
  constructor(load) {
    this.load = load;
    /** @type {Map<string, Promise<Slice>>} */
    this.kept = new Map();
    /** @type {Map<string, number>} */
    this.bytes = new Map();
  }

  /** @param {string} key */
  get(key) {
    const known = this.kept.get(key);
    if (known) {
      this.kept.delete(key); // to the end: used last
      this.kept.set(key, known);
      return known;
    }
    const slice = this.load(key);
    this.kept.set(key, slice);
    slice.then(
      (loaded) => this.note(key, loaded.values.byteLength),
      () => this.kept.delete(key),
    );
    return slice;
  }

  /** @param {string} key @param {number} bytes */
  note(key, bytes) {
    if (!this.kept.has(key)) return;
    this.bytes.set(key, bytes);
    let total = 0;
    for (const size of this.bytes.values()) total += size;
    for (const oldest of [...this.kept.keys()]) {
      if (total <= KEPT_BYTES || oldest === key) break;
      total -= this.bytes.get(oldest) ?? 0;
      this.bytes.delete(oldest);
      this.kept.delete(oldest);
    }
  }

  clear() {
    this.kept.clear();
    this.bytes.clear();
  }
}

/** Draw a slice into a canvas of its size, values from `low` to `high` becoming black to white.
 * @param {Slice} slice @param {number} low @param {number} high @param {HTMLCanvasElement} canvas */
export function paintSlice(slice, low, high, canvas) {
  const { values, width, height, channels } = slice;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const picture = context.createImageData(width, height);
  const out = new Uint32Array(picture.data.buffer); // bytes R, G, B, A on every machine that has a browser today
  const level = levels(values, low, high);
  if (channels === 3) {
    for (let pixel = 0, from = 0; pixel < out.length; pixel++, from += 3) {
      const blue = level(values[from + 2]);
      out[pixel] = (255 << 24) | (blue << 16) | (level(values[from + 1]) << 8) | level(values[from]);
    }
  } else {
    for (let pixel = 0; pixel < out.length; pixel++) out[pixel] = (255 << 24) | (level(values[pixel]) * 0x010101);
  }
  context.putImageData(picture, 0, 0);
}

/** Give what turns a value into a level of 0 to 255: by a table for small integers, by a formula for others.
 * @param {Values} values @param {number} low @param {number} high @returns {(value: number) => number} */
export function levels(values, low, high) {
  const factor = 255 / Math.max(high - low, 1e-6);
  const level = (/** @type {number} */ value) => {
    const scaled = (value - low) * factor;
    return scaled <= 0 ? 0 : scaled >= 255 ? 255 : scaled | 0;
  };
  if (values.BYTES_PER_ELEMENT > 2) return level;
  const first = values instanceof Int16Array ? -32768 : values instanceof Int8Array ? -128 : 0;
  const table = new Uint8Array(values.BYTES_PER_ELEMENT === 1 ? 256 : 65536);
  for (let entry = 0; entry < table.length; entry++) table[entry] = level(entry + first);
  return (value) => table[value - first];
}
