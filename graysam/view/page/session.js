// @ts-check
/** What the page knows: the open case with its objects, and what the user looks at. One place, told of every change. */

import { patchOfRuns } from "./masks.js";
import { say } from "./text.js";

/** @typedef {"axial" | "coronal" | "sagittal"} Plane */
/** @typedef {[number, number, number, number]} Box x_min, y_min, x_max, y_max; maxima belong to the box */
/** @typedef {"loose" | "tight" | "unknown"} Fit how a box fits its object */
/** @typedef {{x: number, y: number, is_inside: boolean}} Click */
/** @typedef {{id: number, name: string, colour: string, first: number | null, last: number | null,
 *   key_slice: number | null, boxes: Record<string, Box>, fits: Record<string, Fit>, clicks: Record<string, Click[]>,
 *   slices: Record<string, number | null>, origins: Record<string, string>, done: number[]}} SegmentedObject */
/** @typedef {{low: number, high: number, lowest: number, highest: number}} Window */
/** @typedef {{id: string, name: string, kind: "2D" | "3D", shape: [number, number, number], channels: number,
 *   spacing_mm: [number, number, number] | null, window: Window, warnings: string[], notes: string[],
 *   result: string}} OpenCase */
/** @typedef {import("./masks.js").Patch} Patch */

/** What is drawn of an object ahead of the label map: its box while that is being drawn, its mask, and, once that is
 * final, the version of the label map that holds it.
 * @typedef {{slice: number, box: Box | null, patch: Patch | null, version?: number}} Live */

export const COLOURS = ["#5ed0c0", "#f2b84b", "#8fb4ff", "#ff8f84", "#b7e06a", "#d69cff", "#ffd9a0", "#6fd3ff"];
/** @type {Plane[]} */
export const PLANES = ["axial", "coronal", "sagittal"];

export class Session extends EventTarget {
  constructor() {
    super();
    /** @type {OpenCase | null} */
    this.case = null;
    /** @type {SegmentedObject[]} */
    this.objects = [];
    this.chosen = 0; // id of an object, 0 for none
    /** @type {{object: number, done: number, total: number} | null} */
    this.following = null;
    this.history = { can_undo: false, can_redo: false, undo: "", redo: "" };
    this.model = { is_ready: false, error: "", takes_clicks: false };
    this.cross = { x: 0, y: 0, z: 0 }; // the voxel where the planes meet, and where keys draw
    this.showsCross = true;
    this.usesKeys = false; // the last thing drawn with was the keyboard
    this.window = { low: 0, high: 255 };
    this.fill = 0.35;
    /** @type {Set<number>} */
    this.hidden = new Set();
    this.showsMasks = true;
    this.tool = "box";
    /** @type {Fit} */
    this.newFit = "loose"; // how the next box will fit its object
    this.radius = 8; // of brush and eraser, pixels
    this.layout = "single";
    /** @type {Plane} */
    this.plane = "axial"; // the one that is shown alone
    this.labelsVersion = 0; // grows whenever the label map may have changed
    /** @type {Map<number, Live>} drawn before the label map says so */
    this.live = new Map();
    /** @type {{slice: number, points: number[][], radius: number, isAdding: boolean, object: number, seq: number}[]} */
    this.strokes = []; // painted, not yet answered
    this.isDirty = false;
  }

  /** Note a change: everything that shows it is drawn again with the next frame. */
  touch() {
    if (this.isDirty) return;
    this.isDirty = true;
    requestAnimationFrame(() => {
      this.isDirty = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  // --- the case ---

  get isVolume() {
    return this.case?.kind === "3D";
  }

  /** @param {Plane} plane @returns {number} slices of a plane */
  depthOf(plane) {
    const [depth, height, width] = this.case?.shape ?? [1, 1, 1];
    return { axial: depth, coronal: height, sagittal: width }[plane];
  }

  /** @param {Plane} plane */
  indexOf(plane) {
    return { axial: this.cross.z, coronal: this.cross.y, sagittal: this.cross.x }[plane];
  }

  get slice() {
    return this.cross.z;
  }

  /** Move the cross; values beyond the volume stop at its sides. @param {{x?: number, y?: number, z?: number}} to */
  moveTo(to) {
    const [depth, height, width] = this.case?.shape ?? [1, 1, 1];
    const within = (/** @type {number} */ value, /** @type {number} */ size) =>
      Math.min(size - 1, Math.max(0, Math.floor(value)));
    const { x, y, z } = { ...this.cross, ...to };
    this.cross = { x: within(x, width), y: within(y, height), z: within(z, depth) };
    this.touch();
  }

  /** Take over a case with its objects, as the server has them.
   * @param {OpenCase | null} opened @param {SegmentedObject[]} objects */
  setCase(opened, objects) {
    const isOther = opened?.id !== this.case?.id;
    this.case = opened;
    this.objects = objects;
    this.live.clear();
    this.labelsVersion++;
    if (isOther) {
      this.chosen = objects[0]?.id ?? 0;
      this.hidden.clear();
      this.strokes = [];
      this.layout = opened?.kind === "3D" ? "three" : "single";
      this.plane = "axial";
      if (opened) this.startLooking(opened);
    }
    if (!this.object) this.chosen = objects.at(-1)?.id ?? 0;
    this.touch();
  }

  /** @param {OpenCase} opened */
  startLooking(opened) {
    this.window = { low: opened.window.low, high: opened.window.high };
    const [depth, height, width] = opened.shape;
    const key = this.object?.key_slice;
    this.moveTo({ x: width / 2, y: height / 2, z: key ?? (depth - 1) / 2 });
  }

  // --- objects ---

  get object() {
    return this.objects.find((each) => each.id === this.chosen) ?? null;
  }

  /** @param {number} id */
  choose(id) {
    this.chosen = id;
    this.touch();
  }

  /** Tell whether a click would correct something: the model takes clicks, and the chosen object is on this slice. */
  get canClick() {
    const { object, slice, model } = this;
    if (!object || !model.takes_clicks) return false;
    const isBetween = object.key_slice !== null && (object.first ?? slice) <= slice && slice <= (object.last ?? slice);
    return Boolean(object.boxes[slice]) || object.slices[slice] !== undefined || (object.first !== null && isBetween);
  }

  /** Give how the chosen object's box on this slice fits it; where there is none, how the next one will. @returns {Fit} */
  get fit() {
    return this.object?.fits[this.slice] ?? this.newFit;
  }

  /** Give the colours of the label map's numbers; objects that are hidden have none. @returns {Map<number, string>} */
  coloursByLabel() {
    const shown = this.objects.map((each, place) => /** @type {[number, string, number]} */ ([place + 1, each.colour, each.id]));
    return new Map(
      this.showsMasks ? shown.filter(([, , id]) => !this.hidden.has(id)).map(([label, colour]) => [label, colour]) : [],
    );
  }

  /** @param {SegmentedObject} object new, or in place of the one with its id */
  put(object) {
    const place = this.objects.findIndex((each) => each.id === object.id);
    if (place < 0) this.objects = [...this.objects, object];
    else this.objects = this.objects.map((each, at) => (at === place ? object : each));
    this.touch();
  }

  /** Stand in for an object until the server has named it. @param {number} local id below 0 */
  putNew(local) {
    const used = new Set(this.objects.map((each) => each.colour));
    const colour = COLOURS.find((each) => !used.has(each)) ?? COLOURS[this.objects.length % COLOURS.length];
    const nothing = { first: null, last: null, key_slice: null, done: [] };
    this.put({ id: local, name: "", colour, ...nothing, boxes: {}, fits: {}, clicks: {}, slices: {}, origins: {} });
    this.choose(local);
    return colour;
  }

  /** The server has named an object that was new here. @param {number} local @param {number} id */
  rename(local, id) {
    const known = this.objects.some((each) => each.id === id);
    this.objects = known
      ? this.objects.filter((each) => each.id !== local)
      : this.objects.map((each) => (each.id === local ? { ...each, id } : each));
    const drawn = this.live.get(local);
    if (drawn) {
      this.live.delete(local);
      this.live.set(id, drawn);
    }
    for (const stroke of this.strokes) if (stroke.object === local) stroke.object = id;
    if (this.chosen === local) this.chosen = id;
    this.touch();
  }

  /** Show a box while it is drawn, with the mask found for it so far. @param {number} id @param {Box} box */
  showBox(id, box) {
    const drawn = this.live.get(id);
    const patch = drawn?.slice === this.slice ? drawn.patch : null;
    this.live.set(id, { slice: this.slice, box, patch });
    this.touch();
  }

  /** Show a mask at once, before the label map is fetched. @param {number} id @param {number} slice
   * @param {number[]} runs @param {boolean} isFinal */
  showMask(id, slice, runs, isFinal) {
    const patch = patchOfRuns(runs, this.case?.shape[2] ?? 1);
    const drawn = this.live.get(id);
    if (!isFinal) {
      if (drawn?.box) this.live.set(id, { ...drawn, patch });
    } else {
      this.labelsVersion++;
      if (!drawn?.box) this.live.set(id, { slice, box: null, patch, version: this.labelsVersion });
    }
    this.touch();
  }

  /** Note the confidence of a slice, null where it has none. @param {number} id @param {number} slice
   * @param {number | null} confidence @param {boolean} isEmpty */
  noteSlice(id, slice, confidence, isEmpty) {
    const object = this.objects.find((each) => each.id === id);
    if (!object) return;
    const slices = { ...object.slices };
    if (isEmpty) delete slices[slice];
    else slices[slice] = confidence;
    this.put({ ...object, slices });
  }
}

/** Give the name that is shown for an object. @param {SegmentedObject | null} object */
export function nameOf(object) {
  return object?.name || say("objects.new");
}
