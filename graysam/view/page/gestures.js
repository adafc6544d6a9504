// @ts-check
/** What mouse, pen and fingers do on a plane: tools with the main button, moving, zooming and contrast with the others. */

/** @typedef {import("./planes.js").PlaneView} PlaneView */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").Box} Box */
/** @typedef {import("./actions.js").Actions} Actions */
/** @typedef {{move: (x: number, y: number, event: PointerEvent) => void, end: () => void, cancel: () => void}} Drag */

const NEAR = 9; // CSS pixels from a box's side
const CLICK_STAYS = 4; // CSS pixels that a click may move
const NOTHING = () => {};

/** Shared by all planes: whether the space bar is held, which turns any drag into moving the image. */
export const held = { space: false };

export class Gestures {
  /** @param {PlaneView} plane @param {Session} session @param {Actions} actions @param {(event: PointerEvent) => void} onHover */
  constructor(plane, session, actions, onHover) {
    this.plane = plane;
    this.session = session;
    this.actions = actions;
    this.onHover = onHover;
    /** @type {Map<number, {x: number, y: number}>} fingers and buttons that are down */
    this.down = new Map();
    /** @type {Drag | null} */
    this.drag = null;
    this.wheel = 0;
    const { canvas } = plane;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.turn(event), { passive: false });
  }

  /** @param {MouseEvent} event */
  place(event) {
    const { left, top } = this.plane.canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (!this.session.case) return;
    event.preventDefault();
    this.plane.canvas.focus({ preventScroll: true });
    this.plane.canvas.setPointerCapture(event.pointerId);
    this.session.usesKeys = false;
    const place = this.place(event);
    this.down.set(event.pointerId, place);
    if (this.down.size === 2) {
      this.drag?.cancel();
      this.drag = this.pinch();
    } else if (this.down.size === 1) {
      this.drag = this.begin(event, place);
    }
  }

  /** Choose what a drag does. @param {PointerEvent} event @param {{x: number, y: number}} place */
  begin(event, place) {
    const { tool } = this.session;
    if (event.button === 1 || held.space) return this.panning(place);
    if (event.button === 2 || tool === "window") return this.windowing(place);
    if (event.button !== 0) return null;
    if (this.plane.plane !== "axial") return tool === "look" ? this.lookingAt(place) : this.crossing(place);
    if (tool === "look") return this.lookingAt(place);
    if (tool === "box") return this.boxing(place);
    if (tool === "add" || tool === "remove") return this.clicking(place, (tool === "add") !== event.altKey);
    return this.painting(place);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const place = this.place(event);
    if (this.down.has(event.pointerId)) this.down.set(event.pointerId, place);
    this.plane.pointer = event.pointerType === "touch" && !this.drag ? null : place;
    if (this.drag) this.drag.move(place.x, place.y, event);
    else this.plane.canvas.dataset.cursor = this.cursorAt(place);
    this.onHover(event);
    if (this.session.tool === "brush" || this.session.tool === "eraser") this.session.touch();
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.down.size === 0) {
      this.drag?.end();
      this.drag = null;
    }
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.down.delete(event.pointerId);
    this.drag?.cancel();
    this.drag = null;
  }

  /** Give up what is being dragged; true if something was. */
  giveUp() {
    if (!this.drag) return false;
    this.drag.cancel();
    this.drag = { move: NOTHING, end: NOTHING, cancel: NOTHING }; // until the button is let go
    return true;
  }

  leave() {
    this.plane.pointer = null;
    this.session.touch();
  }

  /** @param {WheelEvent} event */
  turn(event) {
    if (!this.session.case) return;
    event.preventDefault();
    const place = this.place(event);
    if (!this.session.isVolume || event.ctrlKey || event.metaKey) {
      const pinched = event.ctrlKey && Math.abs(event.deltaY) < 30; // a touchpad's two fingers send small steps
      this.plane.view.zoomAt(place.x, place.y, Math.exp(-event.deltaY * (pinched ? 0.012 : 0.0016)));
      this.session.touch();
      return;
    }
    this.wheel += event.deltaMode === 1 ? event.deltaY * 40 : event.deltaY;
    const steps = Math.trunc(this.wheel / 40);
    if (!steps) return;
    this.wheel = 0;
    const step = Math.sign(steps) * Math.min(Math.abs(steps), 1 + Math.floor(Math.abs(steps) / 6));
    const here = this.session.indexOf(this.plane.plane);
    const axis = { axial: "z", coronal: "y", sagittal: "x" }[this.plane.plane];
    this.session.moveTo({ [axis]: here - step });
  }

  // --- drags ---

  /** @param {{x: number, y: number}} from @returns {Drag} */
  panning(from) {
    let last = from;
    const move = (/** @type {number} */ x, /** @type {number} */ y) => {
      this.plane.view.pan(x - last.x, y - last.y);
      last = { x, y };
      this.session.touch();
    };
    return { move, end: NOTHING, cancel: NOTHING };
  }

  /** Two fingers move and zoom. @returns {Drag} */
  pinch() {
    const measure = () => {
      const [a, b] = [...this.down.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(20, Math.hypot(a.x - b.x, a.y - b.y)) };
    };
    let last = measure();
    const move = () => {
      if (this.down.size < 2) return;
      const now = measure();
      this.plane.view.pan(now.x - last.x, now.y - last.y);
      this.plane.view.zoomAt(now.x, now.y, now.apart / last.apart);
      last = now;
      this.session.touch();
    };
    return { move, end: NOTHING, cancel: NOTHING };
  }

  /** Sideways changes the window's width, up and down its level. @param {{x: number, y: number}} from @returns {Drag} */
  windowing(from) {
    const { low, high } = this.session.window;
    const range = this.session.case?.window;
    const step = range ? Math.max(range.highest - range.lowest, 1) / 600 : 1;
    const move = (/** @type {number} */ x, /** @type {number} */ y) => {
      const width = Math.max(step / 4, high - low + (x - from.x) * step);
      const level = (low + high) / 2 + (from.y - y) * step;
      this.session.window = { low: level - width / 2, high: level + width / 2 };
      this.session.touch();
    };
    const cancel = () => {
      this.session.window = { low, high };
      this.session.touch();
    };
    return { move, end: NOTHING, cancel };
  }

  /** The cross follows. @param {{x: number, y: number}} from @returns {Drag} */
  crossing(from) {
    const move = (/** @type {number} */ x, /** @type {number} */ y) => {
      const at = this.plane.at(x, y);
      this.plane.placeCross(at.x, at.y);
    };
    move(from.x, from.y);
    return { move, end: NOTHING, cancel: NOTHING };
  }

  /** A drag moves the image, a click places the cross. @param {{x: number, y: number}} from @returns {Drag} */
  lookingAt(from) {
    const pan = this.panning(from);
    let moved = false;
    const move = (/** @type {number} */ x, /** @type {number} */ y, /** @type {PointerEvent} */ event) => {
      moved ||= Math.hypot(x - from.x, y - from.y) > CLICK_STAYS;
      if (moved) pan.move(x, y, event);
    };
    const end = () => {
      const at = this.plane.at(from.x, from.y);
      if (!moved) this.plane.placeCross(at.x, at.y);
    };
    return { move, end, cancel: NOTHING };
  }

  /** @param {{x: number, y: number}} from @returns {Drag} */
  boxing(from) {
    const sides = this.sidesAt(from);
    const chosen = this.session.object;
    const given = sides && chosen ? chosen.boxes[this.session.slice] : null;
    const start = this.plane.at(from.x, from.y);
    let object = given && chosen ? chosen.id : 0;
    let isNew = false;
    /** @type {Box | null} */
    let box = null;
    const move = (/** @type {number} */ x, /** @type {number} */ y) => {
      if (!box && Math.hypot(x - from.x, y - from.y) <= CLICK_STAYS) return;
      if (!object) {
        const before = this.session.objects.length;
        object = this.actions.objectForBox();
        isNew = this.session.objects.length > before;
      }
      const at = this.plane.at(x, y);
      box = given && sides ? this.within(sides(given, at)) : this.within(boxBetween(start, at));
      this.actions.previewBox(object, box);
    };
    const end = () => {
      if (box) this.actions.finishBox(object, box);
      else this.chooseAt(start);
    };
    const cancel = () => {
      if (box) this.actions.cancelBox(object, isNew);
      box = null;
    };
    return { move, end, cancel };
  }

  /** A click with the box tool chooses the object under it. @param {{x: number, y: number}} at */
  chooseAt(at) {
    const { labels } = this.plane;
    if (!labels) return;
    const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
    if (x < 0 || y < 0 || x >= labels.width || y >= labels.height) return;
    const found = this.session.objects[labels.values[y * labels.width + x] - 1];
    if (found) this.session.choose(found.id);
  }

  /** @param {{x: number, y: number}} from @param {boolean} isInside @returns {Drag} */
  clicking(from, isInside) {
    const at = this.plane.at(from.x, from.y);
    const { imageWidth, imageHeight } = this.plane.view;
    const isOn = at.x >= 0 && at.y >= 0 && at.x < imageWidth && at.y < imageHeight;
    const end = () => {
      if (isOn) this.actions.click(at.x, at.y, isInside);
    };
    return { move: NOTHING, end, cancel: NOTHING };
  }

  /** @param {{x: number, y: number}} from @returns {Drag | null} */
  painting(from) {
    const point = (/** @type {number} */ x, /** @type {number} */ y) => {
      const at = this.plane.at(x, y);
      return [at.x - 0.5, at.y - 0.5]; // strokes count from pixel centres
    };
    if (!this.actions.beginStroke(point(from.x, from.y))) return null;
    return {
      move: (x, y, event) => {
        const { left, top } = this.plane.canvas.getBoundingClientRect();
        const between = event.getCoalescedEvents?.() ?? [];
        for (const each of between.length ? between : [event]) {
          this.actions.extendStroke(point(each.clientX - left, each.clientY - top));
        }
      },
      end: () => this.actions.finishStroke(),
      cancel: () => this.actions.cancelStroke(),
    };
  }

  // --- boxes ---

  /** Keep a box inside the image. @param {Box} box @returns {Box} */
  within(box) {
    const { imageWidth, imageHeight } = this.plane.view;
    const x = (/** @type {number} */ value) => Math.min(imageWidth - 1, Math.max(0, value));
    const y = (/** @type {number} */ value) => Math.min(imageHeight - 1, Math.max(0, value));
    return [x(box[0]), y(box[1]), x(box[2]), y(box[3])];
  }

  /** Tell which sides of the chosen object's box a point is near.
   * @param {{x: number, y: number}} place CSS pixels
   * @returns {{left: boolean, right: boolean, top: boolean, bottom: boolean} | null} */
  nearSides(place) {
    const { object, slice, tool } = this.session;
    const box = object?.boxes[slice];
    if (!box || tool !== "box" || this.plane.plane !== "axial") return null;
    const { left, top, right, bottom } = this.plane.boxOnScreen(box);
    const beyond = place.x < left - NEAR || place.x > right + NEAR || place.y < top - NEAR || place.y > bottom + NEAR;
    const near = {
      left: Math.abs(place.x - left) <= NEAR,
      right: Math.abs(place.x - right) <= NEAR,
      top: Math.abs(place.y - top) <= NEAR,
      bottom: Math.abs(place.y - bottom) <= NEAR,
    };
    return beyond || !(near.left || near.right || near.top || near.bottom) ? null : near;
  }

  /** Give what moves the sides near a point of a box to another point.
   * @param {{x: number, y: number}} place @returns {((box: Box, to: {x: number, y: number}) => Box) | null} */
  sidesAt(place) {
    const near = this.nearSides(place);
    if (!near) return null;
    return (box, to) => {
      // `to` counts from pixel edges: the left side moves to the edge before pixel x, the right one to that after it.
      const x = [near.left ? Math.round(to.x) : box[0], near.right && !near.left ? Math.round(to.x) - 1 : box[2]];
      const y = [near.top ? Math.round(to.y) : box[1], near.bottom && !near.top ? Math.round(to.y) - 1 : box[3]];
      return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
    };
  }

  /** @param {{x: number, y: number}} place */
  cursorAt(place) {
    const { tool } = this.session;
    if (held.space || tool === "look") return "grab";
    if (tool === "window") return "window";
    if (this.plane.plane !== "axial") return "";
    if (tool === "brush" || tool === "eraser") return "none";
    const near = this.nearSides(place);
    if (!near) return "";
    if ((near.left && near.top) || (near.right && near.bottom)) return "nwse";
    if ((near.right && near.top) || (near.left && near.bottom)) return "nesw";
    return near.left || near.right ? "ew" : "ns";
  }
}

/** Give the pixels from one place to another, both with the pixel that they lie in.
 * @param {{x: number, y: number}} a @param {{x: number, y: number}} b @returns {Box} */
export function boxBetween(a, b) {
  return [
    Math.floor(Math.min(a.x, b.x)),
    Math.floor(Math.min(a.y, b.y)),
    Math.floor(Math.max(a.x, b.x)),
    Math.floor(Math.max(a.y, b.y)),
  ];
}
