// @ts-check
/** One plane on its canvas: the slice, the labels as they will be saved, what is being drawn, and the cross. */

import { labelsIn, outlines, tint } from "./masks.js";
import { paintSlice } from "./pixels.js";
import { say } from "./text.js";
import { Viewport } from "./viewport.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").Plane} Plane */
/** @typedef {import("./session.js").Box} Box */
/** @typedef {import("./masks.js").LabelMap} LabelMap */
/** @typedef {import("./masks.js").Patch} Patch */
/** @typedef {import("./pixels.js").Slice} Slice */

const SMOOTH_BELOW = 5; // closer than that single pixels are shown
const HALO = "rgb(0 0 0 / .6)";
const RETRY_MS = 800;
const HANDLE = 4; // half the side of a box's handle, CSS pixels

/** @param {number} milliseconds */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class PlaneView {
  /** @param {HTMLElement} figure @param {Session} session
   * @param {{slice: (key: string) => Promise<Slice>, labels: (key: string) => Promise<LabelMap>}} source */
  constructor(figure, session, source) {
    this.figure = figure;
    this.session = session;
    this.source = source;
    this.plane = /** @type {Plane} */ (figure.dataset.plane);
    this.canvas = /** @type {HTMLCanvasElement} */ (figure.querySelector("canvas"));
    this.caption = /** @type {HTMLElement} */ (figure.querySelector("figcaption"));
    this.view = new Viewport();
    this.picture = document.createElement("canvas"); // the slice with its contrast
    this.tinted = document.createElement("canvas"); // the labels
    this.patchTint = document.createElement("canvas");
    /** @type {Slice | null} */
    this.slice = null;
    this.sliceKey = ""; // of the slice that is shown
    this.wantedKey = "";
    this.pictureKey = "";
    /** @type {LabelMap | null} */
    this.labels = null;
    this.labelsKey = "";
    this.labelsBusy = false;
    this.tintKey = "";
    /** @type {Map<number, Path2D>} */
    this.paths = new Map();
    /** @type {WeakMap<Patch, Path2D>} */
    this.patchPaths = new WeakMap();
    /** @type {{x: number, y: number} | null} */
    this.pointer = null; // CSS pixels, while a brush hovers
    new ResizeObserver(() => this.resize()).observe(figure);
  }

  get isShown() {
    return !this.figure.hidden;
  }

  get isFlipped() {
    return this.plane !== "axial"; // the head is up: later slices are drawn higher
  }

  resize() {
    const { width, height } = this.figure.getBoundingClientRect();
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.view.resize(width, height);
    this.draw();
  }

  /** Give the size of this plane's pictures, and how much taller than wide a pixel is. */
  geometry() {
    const opened = this.session.case;
    const [depth, height, width] = opened?.shape ?? [1, 1, 1];
    const [z, y, x] = opened?.spacing_mm ?? [1, 1, 1];
    if (this.plane === "axial") return { width, height, stretch: y / x };
    if (this.plane === "coronal") return { width, height: depth, stretch: z / x };
    return { width: height, height: depth, stretch: z / y };
  }

  // --- places ---

  /** Give the pixel of the picture under a point of the canvas; fractions count from its outer edges.
   * @param {number} x @param {number} y CSS pixels */
  at(x, y) {
    const place = this.view.toImage(x, y);
    return this.isFlipped ? { x: place.x, y: this.view.imageHeight - place.y } : place;
  }

  /** @param {number} x @param {number} y of the picture */
  onScreen(x, y) {
    return this.view.toScreen(x, this.isFlipped ? this.view.imageHeight - y : y);
  }

  /** Give the cross in this picture's pixels. */
  crossHere() {
    const { x, y, z } = this.session.cross;
    if (this.plane === "axial") return { x, y };
    return this.plane === "coronal" ? { x, y: z } : { x: y, y: z };
  }

  /** Move the cross to a pixel of this picture. @param {number} x @param {number} y */
  placeCross(x, y) {
    if (this.plane === "axial") this.session.moveTo({ x, y });
    else if (this.plane === "coronal") this.session.moveTo({ x, z: y });
    else this.session.moveTo({ y: x, z: y });
  }

  // --- what is shown ---

  /** Fetch what this plane should show, and draw. */
  update() {
    if (!this.isShown || !this.session.case) return;
    const { width, height, stretch } = this.geometry();
    this.view.setImage(width, height, stretch);
    const index = this.session.indexOf(this.plane);
    this.fetchSlice(`plane=${this.plane}&index=${index}`);
    this.fetchLabels(`plane=${this.plane}&index=${index}`);
    const caption = say("planes.caption", { plane: say(`planes.${this.plane}`), index });
    if (this.caption.textContent !== caption) this.caption.textContent = caption;
    this.caption.hidden = !this.session.isVolume;
    this.draw();
  }

  /** @param {string} key */
  async fetchSlice(key) {
    const caseKey = `${this.session.case?.id}?${key}`;
    if (caseKey === this.wantedKey) return;
    this.wantedKey = caseKey;
    try {
      const slice = await this.source.slice(key);
      if (this.wantedKey !== caseKey) return; // another one is wanted by now
      this.slice = slice;
      this.sliceKey = caseKey;
      this.draw();
    } catch {
      await pause(RETRY_MS); // the server is away
      if (this.wantedKey === caseKey) this.wantedKey = "";
      this.session.touch();
    }
  }

  /** One fetch at a time; what changed meanwhile is fetched after it. @param {string} key */
  async fetchLabels(key) {
    const version = this.session.labelsVersion;
    const full = `${this.session.case?.id}?${key}#${version}`;
    if (full === this.labelsKey || this.labelsBusy) return;
    this.labelsBusy = true;
    try {
      this.labels = await this.source.labels(key);
      this.labelsKey = full;
      this.tintKey = "";
      if (this.plane === "axial") this.settleLive(version);
    } catch {
      await pause(RETRY_MS);
    } finally {
      this.labelsBusy = false;
      this.session.touch();
    }
  }

  /** Masks that were shown ahead of the labels are in them now. @param {number} version */
  settleLive(version) {
    for (const [id, drawn] of this.session.live) {
      if (!drawn.box && (drawn.version ?? Infinity) <= version) this.session.live.delete(id);
    }
  }

  // --- drawing ---

  draw() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    const ratio = this.canvas.width / this.view.width;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.view.width, this.view.height);
    if (!this.session.case) return;
    this.drawPicture(context);
    this.drawLabels(context);
    if (this.plane === "axial") {
      this.drawLive(context);
      this.drawStrokes(context);
      this.drawBoxes(context);
      this.drawClicks(context);
    }
    this.drawCross(context);
    this.drawBrush(context);
  }

  /** Draw a canvas of the picture's size, or of a part of it, where the picture lies.
   * @param {CanvasRenderingContext2D} context @param {HTMLCanvasElement} canvas @param {number} [x] @param {number} [y] */
  drawThere(context, canvas, x = 0, y = 0) {
    const { scale, stretch, left, top, imageHeight } = this.view;
    context.save();
    context.translate(left, top);
    context.scale(scale, scale * stretch);
    if (this.isFlipped) context.transform(1, 0, 0, -1, 0, imageHeight);
    context.drawImage(canvas, x, y);
    context.restore();
  }

  /** @param {CanvasRenderingContext2D} context */
  drawPicture(context) {
    if (!this.slice) return;
    const { low, high } = this.session.window;
    const key = `${this.sliceKey} ${low} ${high}`;
    if (key !== this.pictureKey) {
      paintSlice(this.slice, low, high, this.picture);
      this.pictureKey = key;
    }
    context.imageSmoothingEnabled = this.view.scale < SMOOTH_BELOW;
    context.imageSmoothingQuality = this.view.scale < 1 ? "medium" : "low"; // bilinear where it is enlarged
    this.drawThere(context, this.picture);
  }

  /** @param {CanvasRenderingContext2D} context */
  drawLabels(context) {
    if (!this.labels || !this.labelsKey.startsWith(`${this.sliceKey}#`)) return;
    const colours = this.session.coloursByLabel();
    for (const [id, drawn] of this.session.live) {
      const place = this.session.objects.findIndex((each) => each.id === id);
      if (this.plane === "axial" && drawn.slice === this.session.slice) colours.delete(place + 1);
    }
    const { values, width, height } = this.labels;
    const key = `${this.labelsKey} ${[...colours].join(" ")}`;
    if (key !== this.tintKey) {
      tint(values, width, height, colours, this.tinted);
      if (!this.tintKey) this.paths = labelsIn(values).size ? outlines(values, width, height) : new Map();
      this.tintKey = key;
    }
    context.imageSmoothingEnabled = false;
    context.globalAlpha = this.session.fill;
    this.drawThere(context, this.tinted);
    context.globalAlpha = 1;
    const chosen = this.session.objects.findIndex((each) => each.id === this.session.chosen) + 1;
    for (const [label, path] of this.paths) {
      const colour = colours.get(label);
      if (colour && label !== chosen) this.strokeThere(context, path, colour, 1.4);
    }
    const [path, colour] = [this.paths.get(chosen), colours.get(chosen)];
    if (path && colour) this.strokeThere(context, path, colour, 2);
  }

  /** @param {CanvasRenderingContext2D} context @param {Path2D} path in pixels of the picture
   * @param {string} colour @param {number} width CSS pixels */
  strokeThere(context, path, colour, width) {
    const { scale, stretch, left, top, imageHeight } = this.view;
    const tall = scale * stretch;
    const matrix = this.isFlipped ? [scale, 0, 0, -tall, left, top + imageHeight * tall] : [scale, 0, 0, tall, left, top];
    const placed = new Path2D();
    placed.addPath(path, new DOMMatrix(matrix));
    context.lineCap = "square";
    context.strokeStyle = HALO;
    context.lineWidth = width + 1.6;
    context.stroke(placed);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(placed);
  }

  /** Draw the masks that the labels do not have yet. @param {CanvasRenderingContext2D} context */
  drawLive(context) {
    for (const [id, { slice, patch }] of this.session.live) {
      const colour = this.session.objects.find((each) => each.id === id)?.colour;
      if (slice !== this.session.slice || !patch || !colour || !this.isVisible(id)) continue;
      tint(patch.values, patch.width, patch.height, new Map([[1, colour]]), this.patchTint);
      context.imageSmoothingEnabled = false;
      context.globalAlpha = this.session.fill;
      this.drawThere(context, this.patchTint, patch.x, patch.y);
      context.globalAlpha = 1;
      let path = this.patchPaths.get(patch);
      if (!path) {
        path = outlines(patch.values, patch.width, patch.height, patch.x, patch.y).get(1) ?? new Path2D();
        this.patchPaths.set(patch, path);
      }
      this.strokeThere(context, path, colour, 2);
    }
  }

  /** @param {number} id */
  isVisible(id) {
    return this.session.showsMasks && !this.session.hidden.has(id);
  }

  /** @param {CanvasRenderingContext2D} context */
  drawStrokes(context) {
    for (const { slice, points, radius, isAdding, object } of this.session.strokes) {
      if (slice !== this.session.slice) continue;
      const colour = this.session.objects.find((each) => each.id === object)?.colour ?? "#fff";
      const { scale, stretch } = this.view;
      context.save();
      context.globalAlpha = isAdding ? 0.5 : 0.4;
      context.strokeStyle = context.fillStyle = isAdding ? colour : "#fff";
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      points.forEach(([x, y]) => {
        const place = this.onScreen(x + 0.5, y + 0.5); // points count from pixel centres
        context.lineTo(place.x, place.y);
      });
      if (points.length === 1) context.lineTo(this.onScreen(points[0][0] + 0.5, 0).x + 0.01, this.onScreen(0, points[0][1] + 0.5).y);
      context.lineWidth = 2 * radius * scale * Math.sqrt(stretch);
      context.stroke();
      context.restore();
    }
  }

  /** Give the corners of a box on the screen. @param {Box} box */
  boxOnScreen(box) {
    const start = this.onScreen(box[0], box[1]);
    const end = this.onScreen(box[2] + 1, box[3] + 1); // the last pixel belongs to the box
    return { left: start.x, top: start.y, right: end.x, bottom: end.y };
  }

  /** @param {CanvasRenderingContext2D} context */
  drawBoxes(context) {
    for (const object of this.session.objects) {
      const drawn = this.session.live.get(object.id);
      const isDrawn = drawn?.box && drawn.slice === this.session.slice;
      const box = isDrawn ? drawn.box : object.boxes[this.session.slice];
      if (!box || !this.isVisible(object.id)) continue;
      const isChosen = object.id === this.session.chosen;
      if (!isChosen && this.session.objects.length > 12) continue; // hundreds of dashes hide the image
      this.drawBox(context, box, object.colour, isChosen, isChosen && this.session.tool === "box");
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Box} box @param {string} colour @param {boolean} isChosen
   * @param {boolean} hasHandles */
  drawBox(context, box, colour, isChosen, hasHandles) {
    const { left, top, right, bottom } = this.boxOnScreen(box);
    context.save();
    context.lineWidth = 1.2;
    context.strokeStyle = "rgb(0 0 0 / .7)";
    context.strokeRect(left, top, right - left, bottom - top);
    context.strokeStyle = isChosen ? "#fff" : colour;
    context.globalAlpha = isChosen ? 0.95 : 0.6;
    context.setLineDash([4, 3]);
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    if (hasHandles) {
      context.fillStyle = "#fff";
      context.strokeStyle = "rgb(0 0 0 / .8)";
      for (const [x, y] of [[left, top], [right, top], [left, bottom], [right, bottom]]) {
        context.fillRect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE);
        context.strokeRect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE);
      }
    }
    context.restore();
  }

  /** @param {CanvasRenderingContext2D} context */
  drawClicks(context) {
    const object = this.session.object;
    if (!object || !this.isVisible(object.id)) return;
    for (const { x, y, is_inside: isInside } of object.clicks[this.session.slice] ?? []) {
      const place = this.onScreen(x + 0.5, y + 0.5);
      context.beginPath();
      context.arc(place.x, place.y, 6, 0, 2 * Math.PI);
      context.fillStyle = isInside ? object.colour : "#101317";
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = "#fff";
      context.stroke();
      context.beginPath();
      context.moveTo(place.x - 3, place.y);
      context.lineTo(place.x + 3, place.y);
      if (isInside) {
        context.moveTo(place.x, place.y - 3);
        context.lineTo(place.x, place.y + 3);
      }
      context.strokeStyle = isInside ? "#0b0e11" : "#fff";
      context.stroke();
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  drawCross(context) {
    const { session } = this;
    const isKeyboard = session.usesKeys && this.plane === "axial";
    if (!isKeyboard && !(session.isVolume && session.showsCross && session.layout === "three")) return;
    const here = this.crossHere();
    const place = this.onScreen(here.x + 0.5, here.y + 0.5);
    const gap = 10;
    context.save();
    context.lineWidth = 1;
    const strokeLines = (/** @type {string} */ colour) => {
      context.strokeStyle = colour;
      context.beginPath();
      for (const [x1, y1, x2, y2] of [
        [0, place.y, place.x - gap, place.y],
        [place.x + gap, place.y, this.view.width, place.y],
        [place.x, 0, place.x, place.y - gap],
        [place.x, place.y + gap, place.x, this.view.height],
      ]) {
        context.moveTo(x1, y1);
        context.lineTo(x2, y2);
      }
      context.stroke();
    };
    strokeLines(isKeyboard ? "rgb(255 255 255 / .55)" : "rgb(190 215 235 / .34)");
    if (isKeyboard) {
      context.strokeStyle = "#fff";
      context.strokeRect(place.x - 3.5, place.y - 3.5, 7, 7);
    }
    context.restore();
  }

  /** Draw the ring of brush or eraser. @param {CanvasRenderingContext2D} context */
  drawBrush(context) {
    const { session } = this;
    if (this.plane !== "axial" || (session.tool !== "brush" && session.tool !== "eraser")) return;
    const { x, y } = session.cross;
    const place = session.usesKeys ? this.onScreen(x + 0.5, y + 0.5) : this.pointer;
    if (!place) return;
    const { scale, stretch } = this.view;
    for (const [colour, width] of /** @type {[string, number][]} */ ([["rgb(0 0 0 / .8)", 3], ["#fff", 1.3]])) {
      context.beginPath();
      context.ellipse(place.x, place.y, session.radius * scale, session.radius * scale * stretch, 0, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }
}
