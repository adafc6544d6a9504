// @ts-check
/** The strip below a volume: confidence of each slice of the chosen object, its first and last slice, what is done. */

import { say } from "./text.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").SegmentedObject} SegmentedObject */
/** @typedef {import("./actions.js").Actions} Actions */

const SIDE = 10; // CSS pixels left and right of the slices
const TOP = 15; // marks stand above the bars
const BOTTOM = 8; // the objects' lines stand below
const GRIP = 9; // CSS pixels around an end of the range
const SURE = 0.85;
const DOUBTFUL = 0.7;

/** Give the colour of a confidence; the height of the bar says the same. @param {number} confidence */
export function confidenceColour(confidence) {
  return confidence >= SURE ? "#5ed0c0" : confidence >= DOUBTFUL ? "#f2b84b" : "#ff8f84";
}

/** Give the first and last slice; without them the slice of the first box, from where both can be dragged.
 * @param {SegmentedObject} object @returns {[number, number] | null} */
function endsOf(object) {
  const { first, last, key_slice: only } = object;
  if (first !== null && last !== null) return [first, last];
  return only === null ? null : [only, only];
}

export class Strip {
  /** @param {HTMLCanvasElement} canvas @param {Session} session @param {Actions} actions */
  constructor(canvas, session, actions) {
    this.canvas = canvas;
    this.session = session;
    this.actions = actions;
    /** @type {"first" | "last" | "slice" | null} */
    this.drag = null;
    this.end = 0; // where the dragged end is
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.release());
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get depth() {
    return this.session.depthOf("axial");
  }

  get step() {
    return (this.canvas.clientWidth - 2 * SIDE) / this.depth;
  }

  /** Give the left side of a slice. @param {number} slice */
  x(slice) {
    return SIDE + slice * this.step;
  }

  /** @param {PointerEvent} event */
  sliceAt(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    return Math.min(this.depth - 1, Math.max(0, Math.floor((x - SIDE) / this.step)));
  }

  /** @param {PointerEvent} event @returns {"first" | "last" | null} */
  endAt(event) {
    const { object } = this.session;
    const range = object && endsOf(object);
    if (!range) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    if (y < TOP - 4) return null;
    const toFirst = Math.abs(x - this.x(range[0]));
    const toLast = Math.abs(x - this.x(range[1] + 1));
    if (Math.min(toFirst, toLast) > (event.pointerType === "touch" ? 2 * GRIP : GRIP)) return null;
    if (range[0] === range[1]) return x < this.x(range[0] + 0.5) ? "first" : "last";
    return toFirst < toLast ? "first" : "last";
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = this.endAt(event) ?? "slice";
    this.end = this.sliceAt(event);
    this.follow(event);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.drag) this.follow(event);
    else this.canvas.style.cursor = this.endAt(event) ? "ew-resize" : "pointer";
  }

  /** @param {PointerEvent} event */
  follow(event) {
    const slice = this.sliceAt(event);
    this.session.moveTo({ z: slice });
    if (this.drag !== "slice") this.end = slice;
  }

  release() {
    const { drag } = this;
    this.drag = null;
    if (drag === "first" || drag === "last") this.actions.setEnd(drag, this.end);
    this.session.touch();
  }

  // --- drawing ---

  draw() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !this.session.isVolume) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.scale(ratio, ratio);
    context.fillStyle = "#171d24";
    context.fillRect(0, TOP, width, height - TOP - BOTTOM);
    const { object } = this.session;
    if (object) {
      this.drawRange(context, object, height);
      this.drawBars(context, object, height);
      this.drawMarks(context, object);
    }
    this.drawLines(context, height);
    this.drawHere(context, height);
    this.speak();
  }

  /** @param {SegmentedObject} object @returns {[number, number] | null} first and last slice, as dragged */
  range(object) {
    const ends = endsOf(object);
    if (!ends) return null;
    const first = this.drag === "first" ? this.end : ends[0];
    const last = this.drag === "last" ? this.end : ends[1];
    return [Math.min(first, last), Math.max(first, last)];
  }

  /** @param {CanvasRenderingContext2D} context @param {SegmentedObject} object @param {number} height */
  drawRange(context, object, height) {
    const range = this.range(object);
    if (!range) return;
    const [left, right] = [this.x(range[0]), this.x(range[1] + 1)];
    context.fillStyle = "#2a343f";
    context.fillRect(left, TOP, right - left, height - TOP - BOTTOM);
    context.fillStyle = "#e8ecf1";
    for (const [x, inwards] of [[left, 1], [right, -1]]) {
      context.fillRect(x - 1, TOP, 2, height - TOP - BOTTOM);
      context.fillRect(inwards > 0 ? x : x - 5, TOP, 5, 2);
      context.fillRect(inwards > 0 ? x : x - 5, height - BOTTOM - 2, 5, 2);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {SegmentedObject} object @param {number} height */
  drawBars(context, object, height) {
    const room = height - TOP - BOTTOM - 6;
    const gap = this.step > 4 ? 1 : 0;
    for (const [key, confidence] of Object.entries(object.slices)) {
      const bar = Math.max(2, room * (confidence ?? 1));
      context.fillStyle = confidence === null ? "#93a1b1" : confidenceColour(confidence);
      context.globalAlpha = object.done.includes(Number(key)) ? 1 : 0.78;
      context.fillRect(this.x(Number(key)) + gap / 2, height - BOTTOM - bar, Math.max(1, this.step - gap), bar);
    }
    context.globalAlpha = 1;
  }

  /** Ticks for done slices, squares for boxes, rounds for clicks and brush. @param {CanvasRenderingContext2D} context
   * @param {SegmentedObject} object */
  drawMarks(context, object) {
    for (const slice of object.done) {
      const x = this.x(slice + 0.5);
      context.beginPath();
      context.moveTo(x - 4, 6);
      context.lineTo(x - 1, 9.5);
      context.lineTo(x + 4, 3);
      context.strokeStyle = "#b6f0e7";
      context.lineWidth = 2;
      context.stroke();
    }
    context.fillStyle = "#e8ecf1";
    for (const [key, origin] of Object.entries(object.origins)) {
      if (origin === "follow" || object.done.includes(Number(key))) continue;
      const x = this.x(Number(key) + 0.5);
      context.beginPath();
      if (origin === "box") context.rect(x - 3, 4, 6, 6);
      else context.arc(x, 7, 3.4, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** A thin line for the slices of each object. @param {CanvasRenderingContext2D} context @param {number} height */
  drawLines(context, height) {
    const { objects, chosen } = this.session;
    const shown = objects.filter((each) => Object.keys(each.slices).length).slice(0, 40);
    for (const object of [...shown.filter((each) => each.id !== chosen), ...shown.filter((each) => each.id === chosen)]) {
      const slices = Object.keys(object.slices).map(Number);
      const [left, right] = [this.x(Math.min(...slices)), this.x(Math.max(...slices) + 1)];
      context.globalAlpha = object.id === chosen ? 1 : 0.55;
      context.fillStyle = object.colour;
      context.fillRect(left, height - 4, right - left, 3);
    }
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context @param {number} height */
  drawHere(context, height) {
    const { slice } = this.session;
    const [left, width] = [this.x(slice), Math.max(2, this.step)];
    context.fillStyle = "rgb(255 255 255 / .16)";
    context.fillRect(left, TOP, width, height - TOP - BOTTOM);
    context.fillStyle = "#fff";
    const middle = left + width / 2;
    context.fillRect(middle - 0.75, TOP - 3, 1.5, height - TOP - BOTTOM + 6);
  }

  /** Tell the slice to screen readers. */
  speak() {
    const { canvas, session } = this;
    canvas.setAttribute("aria-label", say("slices.slider"));
    canvas.setAttribute("aria-valuemin", "0");
    canvas.setAttribute("aria-valuemax", String(this.depth - 1));
    canvas.setAttribute("aria-valuenow", String(session.slice));
    canvas.setAttribute("aria-valuetext", sliceInWords(session));
  }
}

/** Tell the slice, and what the chosen object has on it. @param {Session} session */
export function sliceInWords(session) {
  const { object, slice } = session;
  const words = [say("slices.here", { index: slice, last: session.depthOf("axial") - 1 })];
  if (object && Object.keys(object.slices).length) {
    const confidence = object.slices[slice];
    if (confidence === undefined) words.push(say("slices.none_here"));
    else if (confidence !== null) words.push(say("slices.confidence", { value: confidence.toFixed(2) }));
    if (object.done.includes(slice)) words.push(say("slices.done_here"));
  }
  return words.join(", ");
}
