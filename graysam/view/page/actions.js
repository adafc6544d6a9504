// @ts-check
/** Everything that changes a case: one function for each, whether mouse, finger or key wants it. */

import { withChange } from "./changes.js";
import { say } from "./text.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").Box} Box */
/** @typedef {import("./session.js").Fit} Fit */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./connection.js").Message} Message */

const MOST_POINTS = 4000; // of a stroke; the server takes some more

export class Actions {
  /** @param {Session} session @param {Connection} connection @param {(words: string) => void} announce */
  constructor(session, connection, announce) {
    this.session = session;
    this.connection = connection;
    this.announce = announce;
    this.lastLocal = -Math.floor(Math.random() * 2 ** 30); // an earlier tab may have left messages with its own
  }

  /** Change an object: shown at once, and sent. @param {Message} message */
  change(message) {
    const known = this.session.objects.find((each) => each.id === message.object);
    if (known) this.session.put(withChange(known, message));
    this.connection.send(message);
  }

  // --- objects ---

  /** Add an object, and choose it. @returns {number} its id for now */
  addObject() {
    const local = --this.lastLocal;
    const colour = this.session.putNew(local);
    this.connection.send({ type: "add_object", name: "", colour, local });
    return local;
  }

  /** @param {number} object @param {string} name */
  rename(object, name) {
    this.connection.send({ type: "rename", object, name });
  }

  /** @param {number} object @param {string} colour */
  recolour(object, colour) {
    this.connection.send({ type: "recolour", object, colour });
  }

  /** @param {number} object */
  remove(object) {
    if (this.session.objects.some((each) => each.id === object)) this.connection.send({ type: "delete_object", object });
  }

  /** @param {number} object */
  toggleHidden(object) {
    const { hidden } = this.session;
    if (!hidden.delete(object)) hidden.add(object);
    this.session.touch();
  }

  // --- masks of the slice ---

  /** Give the object that a new box is for: the chosen one, unless it has a box on this slice already. */
  objectForBox() {
    const { object, slice } = this.session;
    return object && !object.boxes[slice] ? object.id : this.addObject();
  }

  /** @param {number} object @param {Box} box */
  previewBox(object, box) {
    this.session.showBox(this.currentId(object), box);
    const { slice } = this.session;
    if (this.connection.isOpen) this.connection.wish({ type: "box", object, slice, box, fit: this.fitOf(object), is_final: false });
  }

  /** @param {number} object @param {Box} box */
  finishBox(object, box) {
    const id = this.currentId(object);
    const { session } = this;
    const { slice } = session;
    const patch = session.live.get(id)?.patch ?? null;
    session.live.set(id, { slice, box: null, patch });
    this.change({ type: "box", object: id, slice, box, fit: this.fitOf(id), is_final: true });
    if (session.isVolume) session.moveTo({ x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2 });
  }

  /** Give how an object's box on this slice fits, or is to fit. @param {number} object @returns {Fit} */
  fitOf(object) {
    const { session } = this;
    if (!session.model.takes_clicks) return "loose"; // no other model is told
    return session.objects.find((each) => each.id === object)?.fits[session.slice] ?? session.newFit;
  }

  /** Say how the chosen object's box fits, which answers it again; the boxes drawn after it will fit alike. @param {Fit} fit */
  setFit(fit) {
    const { session } = this;
    const { object, slice } = session;
    session.newFit = fit;
    if (object?.boxes[slice]) this.change({ type: "fit", object: object.id, slice, fit });
    session.touch();
  }

  /** Forget a box that was being drawn; an object that was made for it goes, too.
   * @param {number} object @param {boolean} isNew */
  cancelBox(object, isNew) {
    const id = this.currentId(object);
    this.connection.cancelWish();
    this.session.live.delete(id);
    this.session.labelsVersion++;
    if (isNew) this.remove(id);
    this.session.touch();
  }

  /** @param {number} object an id, perhaps one given here for a while */
  currentId(object) {
    return this.connection.ids.get(object) ?? object;
  }

  wider() {
    const { object, slice } = this.session;
    if (object?.boxes[slice]) this.connection.send({ type: "wider", object: object.id, slice });
  }

  /** @param {number} x @param {number} y pixels @param {boolean} isInside */
  click(x, y, isInside) {
    const { object, slice } = this.session;
    if (!object || !this.session.canClick) return;
    this.change({ type: "click", object: object.id, slice, x: Math.floor(x), y: Math.floor(y), is_inside: isInside });
  }

  /** Begin a stroke of brush or eraser; it grows by `extendStroke` until `finishStroke`. @param {number[]} point */
  beginStroke(point) {
    const { session } = this;
    const isAdding = session.tool === "brush";
    const object = session.object?.id ?? (isAdding ? this.addObject() : 0);
    if (!object) return false;
    session.strokes.push({ slice: session.slice, points: [point], radius: session.radius, isAdding, object, seq: 0 });
    session.touch();
    return true;
  }

  /** @param {number[]} point */
  extendStroke(point) {
    const stroke = this.session.strokes.at(-1);
    if (!stroke || stroke.seq) return;
    const last = stroke.points[stroke.points.length - 1];
    const step = Math.max(0.5, stroke.radius / 8);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < step) return;
    stroke.points.push(point);
    this.session.touch();
    if (stroke.points.length < MOST_POINTS) return;
    this.finishStroke();
    this.beginStroke(point);
  }

  finishStroke() {
    const stroke = this.session.strokes.at(-1);
    if (!stroke || stroke.seq) return;
    const { object, slice, points, radius, isAdding } = stroke;
    stroke.seq = this.connection.send({ type: "brush", object, slice, points, radius, is_adding: isAdding });
  }

  cancelStroke() {
    this.session.strokes = this.session.strokes.filter((each) => each.seq);
    this.session.touch();
  }

  clearSlice() {
    const { object, slice } = this.session;
    if (object) this.connection.send({ type: "clear", object: object.id, slice });
  }

  // --- volumes ---

  /** Set one end of the object's slices; the other gives way. Without ends, both are where its first box lies. @param {"first" | "last"} end @param {number} slice */
  setEnd(end, slice) {
    const { object } = this.session;
    if (!object || !this.session.isVolume) return;
    const only = object.key_slice ?? slice;
    let first = end === "first" ? slice : object.first ?? only;
    let last = end === "last" ? slice : object.last ?? only;
    if (first > last) [first, last] = end === "first" ? [first, first] : [last, last];
    this.change({ type: "range", object: object.id, first, last });
    this.announce(say("objects.range", { first, last }));
  }

  toggleDone() {
    const { object, slice, isVolume } = this.session;
    if (!object || !isVolume) return;
    this.connection.send({ type: "done", object: object.id, slice, is_done: !object.done.includes(slice) });
  }

  follow() {
    const { object, slice, following } = this.session;
    if (following) return this.stop();
    if (!object || !this.session.isVolume) return;
    if (!this.connection.mention({ type: "follow", object: object.id, from_slice: slice })) return;
    const total = (object.last ?? slice) - (object.first ?? slice);
    this.session.following = { object: object.id, done: 0, total };
    this.session.touch();
  }

  stop() {
    if (this.session.following) this.connection.mention({ type: "stop" });
  }

  // --- everything ---

  undo() {
    if (this.session.history.can_undo) this.connection.send({ type: "undo" });
  }

  redo() {
    if (this.session.history.can_redo) this.connection.send({ type: "redo" });
  }

  save() {
    if (this.session.case) this.connection.send({ type: "save" });
  }
}
