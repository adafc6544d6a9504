// @ts-check
/** Everything by keys alone: shortcuts, and drawing with the cross. The help card of text.js lists them. */

import { boxBetween, held } from "./gestures.js";
import { PLANES } from "./session.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./actions.js").Actions} Actions */
/** @typedef {import("./planes.js").PlaneView} PlaneView */
/** @typedef {import("./gestures.js").Gestures} Gestures */

const LARGE_STEP = 10;
const ZOOM_STEP = 1.25;
const RADIUS_STEP = 1.2;

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Keys {
  /** @param {Session} session @param {Actions} actions @param {PlaneView[]} planes @param {Gestures[]} gestures
   * @param {{help: () => void, areSingleKeysOn: () => boolean}} page */
  constructor(session, actions, planes, gestures, page) {
    this.session = session;
    this.actions = actions;
    this.planes = planes;
    this.gestures = gestures;
    this.page = page;
    /** @type {{object: number, isNew: boolean, x: number, y: number} | null} */
    this.box = null; // being drawn with keys, from this corner
    this.isPainting = false;
    document.addEventListener("keydown", (event) => this.press(event));
    document.addEventListener("keyup", (event) => this.release(event));
    document.addEventListener("pointerdown", () => document.body.classList.remove("by-keys"), { capture: true });
  }

  get isDrawing() {
    return this.box !== null || this.isPainting;
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    document.body.classList.add("by-keys");
    if (!this.session.case && event.key !== "?") return;
    if (document.querySelector("dialog[open]")) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isText = target instanceof HTMLInputElement && ["text", "search"].includes(target.type);
    const isWriting = isText || target instanceof HTMLSelectElement; // which chooses by letters and arrows
    const isDone = event.ctrlKey || event.metaKey ? this.withControl(event, isWriting) : !isWriting && this.plain(event, target);
    if (isDone) event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  release(event) {
    if (event.key === " ") held.space = false;
  }

  /** @param {KeyboardEvent} event @param {boolean} isWriting */
  withControl(event, isWriting) {
    const key = event.key.toLowerCase();
    if (key === "s") return this.does(() => this.actions.save());
    if (isWriting) return false; // the field's own undo
    if (key === "z") return this.does(() => (event.shiftKey ? this.actions.redo() : this.actions.undo()));
    if (key === "y") return this.does(() => this.actions.redo());
    return false;
  }

  /** @param {() => void} action */
  does(action) {
    action();
    return true;
  }

  /** @param {KeyboardEvent} event @param {HTMLElement} target @returns {boolean} */
  plain(event, target) {
    const plane = this.planes.find((each) => each.canvas === target);
    if (plane && this.onPlane(event, plane)) return true;
    if (event.key === "Escape") return this.giveUp();
    if (target instanceof HTMLInputElement && target.type === "range" && /Arrow|Home|End|Page/.test(event.key)) return false;
    if (target.id === "strip" && event.key.startsWith("Arrow")) {
      return this.toSlice(this.session.slice + (/Right|Up/.test(event.key) ? 1 : -1));
    }
    if (this.onSlices(event)) return true;
    if (event.altKey || !this.page.areSingleKeysOn()) return false;
    return this.onLetter(event);
  }

  // --- drawing ---

  /** @param {KeyboardEvent} event @param {PlaneView} plane */
  onPlane(event, plane) {
    const arrow = ARROWS[event.key];
    if (arrow) return this.does(() => this.step(plane, arrow, event.shiftKey ? LARGE_STEP : 1));
    if (event.key === " ") {
      held.space = true; // with a drag it moves the image
      return true;
    }
    if (event.key !== "Enter" || event.repeat || plane.plane !== "axial") return false;
    this.session.usesKeys = true;
    this.use(event.altKey);
    return true;
  }

  /** @param {PlaneView} plane @param {[number, number]} arrow @param {number} size */
  step(plane, [dx, dy], size) {
    this.session.usesKeys = true;
    const here = plane.crossHere();
    const up = plane.isFlipped ? -1 : 1;
    plane.placeCross(here.x + dx * size, here.y + dy * size * up);
    const place = plane.crossHere();
    plane.view.reveal(place.x + 0.5, plane.isFlipped ? plane.view.imageHeight - place.y - 0.5 : place.y + 0.5);
    if (plane.plane !== "axial") return;
    if (this.box) this.actions.previewBox(this.box.object, this.boxSoFar(this.box));
    if (this.isPainting) this.actions.extendStroke([place.x, place.y]);
  }

  /** Use the tool where the cross is. @param {boolean} isOther whether a click is of the other kind than the tool's */
  use(isOther) {
    const { tool, cross } = this.session;
    if (tool === "box") this.useBox();
    else if (tool === "add" || tool === "remove") this.actions.click(cross.x, cross.y, (tool === "add") !== isOther);
    else if (tool === "brush" || tool === "eraser") this.usePaint();
    this.session.touch();
  }

  useBox() {
    if (this.box) {
      const { object } = this.box;
      const box = this.boxSoFar(this.box);
      this.box = null;
      this.actions.finishBox(object, box);
      return;
    }
    const { x, y } = this.session.cross;
    const before = this.session.objects.length;
    const object = this.actions.objectForBox();
    this.box = { object, isNew: this.session.objects.length > before, x, y };
    this.actions.previewBox(object, this.boxSoFar(this.box));
  }

  /** @param {{x: number, y: number}} corner */
  boxSoFar(corner) {
    return boxBetween(corner, this.session.cross);
  }

  usePaint() {
    const { x, y } = this.session.cross;
    if (this.isPainting) this.actions.finishStroke();
    this.isPainting = !this.isPainting && this.actions.beginStroke([x, y]);
  }

  giveUp() {
    if (this.gestures.some((each) => each.giveUp())) return true;
    if (this.box) {
      this.actions.cancelBox(this.box.object, this.box.isNew);
      this.box = null;
      return true;
    }
    if (this.isPainting) {
      this.isPainting = false;
      this.actions.cancelStroke();
      return true;
    }
    this.actions.stop();
    return false;
  }

  // --- shortcuts ---

  /** @param {number} slice */
  toSlice(slice) {
    if (this.isDrawing) return true; // a box belongs to one slice
    this.session.moveTo({ z: slice });
    return true;
  }

  /** @param {KeyboardEvent} event */
  onSlices(event) {
    const { object, slice, isVolume } = this.session;
    if (!isVolume) return false;
    const far = event.shiftKey ? LARGE_STEP : 1;
    if (event.key === "PageUp") return this.toSlice(slice + far);
    if (event.key === "PageDown") return this.toSlice(slice - far);
    if (event.key === "Home") return this.toSlice(object?.first ?? 0);
    if (event.key === "End") return this.toSlice(object?.last ?? this.session.depthOf("axial") - 1);
    return false;
  }

  /** @param {KeyboardEvent} event */
  onLetter(event) {
    const { session, actions } = this;
    const { object, slice } = session;
    /** @type {Record<string, () => void>} */
    const letters = {
      b: () => this.chooseTool("box"),
      c: () => this.chooseTool("add"),
      r: () => this.chooseTool("remove"),
      p: () => this.chooseTool("brush"),
      e: () => this.chooseTool("eraser"),
      v: () => this.chooseTool("look"),
      l: () => this.chooseTool("window"),
      w: () => actions.wider(),
      n: () => actions.addObject(),
      h: () => object && actions.toggleHidden(object.id),
      m: () => (session.showsMasks = !session.showsMasks),
      x: () => (session.showsCross = !session.showsCross),
      a: () => this.toggleLayout(),
      d: () => actions.toggleDone(),
      f: () => actions.follow(),
      "[": () => actions.setEnd("first", slice),
      "]": () => actions.setEnd("last", slice),
      "+": () => this.larger(1),
      "=": () => this.larger(1),
      "-": () => this.larger(-1),
      "0": () => this.fit(),
      "?": () => this.page.help(),
      Delete: () => (event.shiftKey && object ? actions.remove(object.id) : actions.clearSlice()),
    };
    const number = Number(event.key);
    const action = letters[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (number >= 1 && session.objects[number - 1]) session.choose(session.objects[number - 1].id);
    else if (action) action();
    else return false;
    session.touch();
    return true;
  }

  /** @param {string} tool */
  chooseTool(tool) {
    if (this.isDrawing || (["add", "remove"].includes(tool) && !this.session.model.takes_clicks)) return;
    this.session.tool = tool;
    this.session.touch();
  }

  toggleLayout() {
    if (this.session.isVolume) this.session.layout = this.session.layout === "three" ? "single" : "three";
  }

  fit() {
    for (const plane of this.planes) plane.view.fit();
  }

  /** Change the size of the brush, or else zoom. @param {number} sign */
  larger(sign) {
    const { session } = this;
    if (session.tool === "brush" || session.tool === "eraser") {
      const scaled = session.radius * RADIUS_STEP ** sign;
      session.radius = Math.min(60, Math.max(1, sign > 0 ? Math.ceil(scaled) : Math.floor(scaled)));
      return;
    }
    const focused = this.planes.find((each) => each.canvas === document.activeElement);
    const plane = focused ?? this.planes[PLANES.indexOf(session.layout === "three" ? "axial" : session.plane)];
    const { width, height } = plane.view;
    plane.view.zoomAt(width / 2, height / 2, ZOOM_STEP ** sign);
  }
}
