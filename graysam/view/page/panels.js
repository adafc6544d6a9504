// @ts-check
/** The controls around the image: tools, objects, contrast, slices, messages. They show the session; clicks act on it. */

import { name, say } from "./text.js";
import { sliceInWords } from "./strip.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").SegmentedObject} SegmentedObject */
/** @typedef {import("./actions.js").Actions} Actions */

/** Find an element of index.html. @param {string} id @returns {any} */
export const element = (id) => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
};

/** Make an element. @param {string} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} inside
 * @returns {any} */
export function make(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/** @param {string} which @returns {SVGElement} */
export function icon(which) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${which}`);
  picture.append(use);
  return picture;
}

/** Change a text only where it differs, so that screen readers are not told twice. @param {Element} at @param {string} words */
export function write(at, words) {
  if (at.textContent !== words) at.textContent = words;
}

/** Give the name that is shown for an object. @param {SegmentedObject | null} object */
export function nameOf(object) {
  return object?.name || say("objects.new");
}

/** Where everything stands in one column; style.css has the same number. */
export const NARROW = "(max-width: 760px)";

/** Tools with their picture and key; those for clicks are there only where the model takes clicks. */
const TOOLS = /** @type {const} */ ([
  ["box", "box", "B"],
  ["add", "add", "C"],
  ["remove", "remove", "R"],
  ["brush", "brush", "P"],
  ["eraser", "eraser", "E"],
  ["look", "hand", "V"],
  ["window", "window", "L"],
]);
const CLICK_TOOLS = ["add", "remove"];
const FITS = /** @type {const} */ (["loose", "tight", "unknown"]);

/** A row of which one is chosen, by click or arrow keys. */
class Choice {
  /** @param {HTMLElement} group @param {{value: string, button: HTMLButtonElement}[]} entries
   * @param {(value: string) => void} choose */
  constructor(group, entries, choose) {
    this.entries = entries;
    this.choose = choose;
    for (const { value, button } of entries) {
      button.setAttribute("role", "radio");
      button.addEventListener("click", () => choose(value));
      group.append(button);
    }
    group.addEventListener("keydown", (event) => this.press(event));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const shown = this.entries.filter(({ button }) => !button.hidden);
    const here = shown.findIndex(({ button }) => button === document.activeElement);
    if (!step || here < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const next = shown[(here + step + shown.length) % shown.length];
    next.button.focus();
    this.choose(next.value);
  }

  /** @param {string} chosen */
  show(chosen) {
    for (const { value, button } of this.entries) {
      button.setAttribute("aria-checked", String(value === chosen));
      button.tabIndex = value === chosen ? 0 : -1;
    }
  }
}

// --- above the image ---

export class Toolbar {
  /** @param {Session} session @param {Actions} actions @param {() => void} fit */
  constructor(session, actions, fit) {
    this.session = session;
    const tools = TOOLS.map(([value, picture, key]) => {
      const label = say(`tools.${value}`);
      const button = make("button", { id: `tool-${value}` }, icon(picture), make("span", {}, label));
      name(button, CLICK_TOOLS.includes(value) ? say(`tools.${value}_tip`) : `${label} (${key})`);
      return { value, button };
    });
    this.tools = new Choice(element("tool-group"), tools, (tool) => this.set({ tool }));
    const planes = ["three", "axial", "coronal", "sagittal"].map((value) => {
      return { value, button: make("button", { id: `plane-${value}` }, make("span", {}, say(`planes.${value}`))) };
    });
    this.planes = new Choice(element("plane-group"), planes, (plane) => {
      this.set(plane === "three" ? { layout: "three" } : { layout: "single", plane: /** @type {any} */ (plane) });
    });
    element("radius").addEventListener("input", () => this.set({ radius: Number(element("radius").value) }));
    element("wider").addEventListener("click", () => actions.wider());
    element("box-fit").append(...FITS.map((fit) => make("option", { value: fit }, say(`tools.${fit}`))));
    element("box-fit").addEventListener("change", () => actions.setFit(element("box-fit").value));
    element("fit").addEventListener("click", fit);
  }

  /** @param {Partial<Session>} values */
  set(values) {
    Object.assign(this.session, values);
    this.session.touch();
  }

  show() {
    const { radius, layout, plane, model, isVolume, object, slice } = this.session;
    if (model.is_ready && !model.takes_clicks && CLICK_TOOLS.includes(this.session.tool)) this.session.tool = "box";
    const { tool } = this.session;
    this.tools.show(tool);
    for (const each of CLICK_TOOLS) element(`tool-${each}`).hidden = !model.takes_clicks;
    element("fit-of-box").hidden = !model.takes_clicks || tool !== "box";
    element("box-fit").value = this.session.fit;
    this.planes.show(layout === "three" && !matchMedia(NARROW).matches ? "three" : plane);
    element("plane-group").hidden = !isVolume;
    element("size").hidden = tool !== "brush" && tool !== "eraser";
    element("radius").value = String(radius);
    write(element("radius-text"), say("tools.pixels", { count: radius }));
    element("wider").hidden = tool !== "box";
    element("wider").disabled = !object?.boxes[slice];
  }
}

/** Say what the chosen tool would do now. @param {Session} session @param {boolean} isBoxByKeys */
export function hint(session, isBoxByKeys) {
  const { tool, object, slice } = session;
  const called = { name: nameOf(object) };
  if (isBoxByKeys) return say("hints.box_key");
  if (session.layout === "single" && session.plane !== "axial") return say("hints.cross");
  if (tool === "box") {
    if (!object) return say("hints.box_new");
    const isMasked = object.slices[slice] !== undefined;
    if (!object.boxes[slice]) return say(isMasked && session.canClick ? "hints.box_for_clicks" : "hints.box_for", called);
    return say(session.model.takes_clicks ? "hints.box_edit_clicks" : "hints.box_edit");
  }
  if (CLICK_TOOLS.includes(tool)) return session.canClick ? say(`hints.${tool}`, called) : say("hints.click_first");
  if (tool === "brush") return object ? say("hints.brush", called) : say("hints.box_new");
  if (tool === "eraser") return object ? say("hints.eraser", called) : say("hints.paint_first");
  return say(`hints.${tool}`);
}

// --- objects ---

export class ObjectList {
  /** @param {Session} session @param {Actions} actions */
  constructor(session, actions) {
    this.session = session;
    this.actions = actions;
    this.list = element("object-list");
    /** @type {Map<number, {row: any, shown: string}>} */
    this.rows = new Map();
    element("add").addEventListener("click", () => actions.addObject());
  }

  show() {
    const { objects, chosen, hidden } = this.session;
    element("no-objects").hidden = objects.length > 0;
    for (const [id, { row }] of this.rows) {
      if (objects.some((each) => each.id === id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    objects.forEach((object, place) => {
      const state = JSON.stringify([object, object.id === chosen, hidden.has(object.id), this.session.isVolume]);
      let kept = this.rows.get(object.id);
      if (!kept) this.rows.set(object.id, (kept = { row: this.newRow(object.id), shown: "" }));
      if (this.list.children[place] !== kept.row) this.list.insertBefore(kept.row, this.list.children[place] ?? null);
      if (kept.shown === state) return;
      kept.shown = state;
      this.fill(kept.row, object);
    });
  }

  /** @param {number} id */
  newRow(id) {
    const colour = make("input", { type: "color" });
    const called = make("input", { type: "text", maxlength: "200", spellcheck: "false", autocomplete: "off" });
    const eye = make("button", { class: "plain eye" });
    const bin = make("button", { class: "plain bin" }, icon("bin"));
    const row = make("li", {}, colour, called, eye, bin, make("small"));
    colour.addEventListener("change", () => this.actions.recolour(id, colour.value));
    called.addEventListener("focus", () => this.session.choose(id));
    called.addEventListener("change", () => {
      const known = this.session.objects.find((each) => each.id === id);
      if (called.value.trim()) this.actions.rename(id, called.value.trim());
      else called.value = known?.name ?? ""; // an object always has a name
    });
    called.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") called.blur();
    });
    eye.addEventListener("click", () => this.actions.toggleHidden(id));
    bin.addEventListener("click", () => this.actions.remove(id));
    row.addEventListener("click", (/** @type {Event} */ event) => {
      if (event.target === row || event.target === row.lastChild) this.session.choose(id);
    });
    return row;
  }

  /** @param {any} row @param {SegmentedObject} object */
  fill(row, object) {
    const [colour, called, eye, bin, facts] = row.children;
    const words = { name: nameOf(object) };
    row.classList.toggle("chosen", object.id === this.session.chosen);
    row.dataset.object = String(object.id);
    if (object.id === this.session.chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    colour.value = object.colour;
    name(colour, say("objects.colour", words));
    if (document.activeElement !== called) called.value = object.name;
    called.placeholder = say("objects.new");
    name(called, say("objects.name", words));
    const isHidden = this.session.hidden.has(object.id);
    eye.replaceChildren(icon(isHidden ? "hidden" : "eye"));
    eye.setAttribute("aria-pressed", String(isHidden));
    name(eye, say(isHidden ? "objects.show" : "objects.hide", words));
    name(bin, say("objects.remove", words));
    write(facts, this.facts(object));
  }

  /** @param {SegmentedObject} object */
  facts(object) {
    const confidences = Object.values(object.slices).filter((each) => each !== null);
    const count = Object.keys(object.slices).length;
    const parts = [];
    if (this.session.isVolume) {
      if (object.first !== null && object.last !== null) {
        parts.push(say("objects.range", { first: object.first, last: object.last }));
      }
      if (object.done.length) parts.push(say("objects.done", { count: object.done.length }));
      if (!parts.length && count) parts.push(count === 1 ? say("objects.slices_one") : say("objects.slices", { count }));
    } else if (confidences.length) {
      parts.push(say("objects.confidence", { value: /** @type {number} */ (confidences[0]).toFixed(2) }));
    }
    return parts.join(", ") || (count ? "" : say("objects.empty"));
  }
}

// --- contrast ---

/** @type {[string, number, number][]} name, level, width in Hounsfield units, as `graysam predict --window` has them */
const CT_WINDOWS = [["soft_tissue", 40, 400], ["lung", -600, 1500], ["bone", 400, 1800], ["brain", 40, 80]];

export class Look {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.caseId = "";
    element("level").addEventListener("input", () => this.take());
    element("width").addEventListener("input", () => this.take());
    element("fill").addEventListener("input", () => {
      session.fill = Number(element("fill").value) / 100;
      session.touch();
    });
  }

  take() {
    this.setWindow(Number(element("level").value), Number(element("width").value));
  }

  /** @param {number} level @param {number} width */
  setWindow(level, width) {
    this.session.window = { low: level - width / 2, high: level + width / 2 };
    this.session.touch();
  }

  show() {
    const { case: opened, window: now, fill } = this.session;
    if (!opened) return;
    if (opened.id !== this.caseId) this.prepare();
    const [level, width] = [(now.low + now.high) / 2, now.high - now.low];
    element("level").value = String(level);
    element("width").value = String(width);
    const digits = opened.window.highest - opened.window.lowest > 20 ? 0 : 2;
    write(element("level-text"), level.toFixed(digits));
    write(element("width-text"), width.toFixed(digits));
    element("fill").value = String(Math.round(fill * 100));
    write(element("fill-text"), say("look.percent", { value: Math.round(fill * 100) }));
  }

  /** Fit the sliders to the values of a case. */
  prepare() {
    const opened = this.session.case;
    if (!opened) return;
    this.caseId = opened.id;
    const { low, high, lowest, highest } = opened.window;
    const range = Math.max(highest - lowest, 1e-3);
    Object.assign(element("level"), { min: String(lowest), max: String(highest), step: String(range / 500) });
    Object.assign(element("width"), { min: String(range / 500), max: String(range * 1.2), step: String(range / 500) });
    const isHounsfield = lowest <= -500 && highest >= 100;
    const presets = isHounsfield ? CT_WINDOWS : [];
    const buttons = [["reset", (low + high) / 2, high - low], ...presets].map(([key, level, width]) => {
      const button = make("button", { class: "small" }, say(`look.${key}`));
      button.addEventListener("click", () => this.setWindow(Number(level), Number(width)));
      return button;
    });
    element("presets").replaceChildren(...buttons);
  }
}

// --- slices ---

export class SlicePanel {
  /** @param {Session} session @param {Actions} actions */
  constructor(session, actions) {
    this.session = session;
    element("first").addEventListener("click", () => actions.setEnd("first", session.slice));
    element("last").addEventListener("click", () => actions.setEnd("last", session.slice));
    element("done").addEventListener("click", () => actions.toggleDone());
    element("follow").addEventListener("click", () => actions.follow());
  }

  show() {
    const { session } = this;
    const { object, slice, following } = session;
    element("slices").hidden = !session.isVolume;
    if (!session.isVolume) return;
    write(element("slice-text"), sliceInWords(session));
    for (const id of ["first", "last", "done"]) element(id).disabled = !object;
    element("done").setAttribute("aria-pressed", String(object?.done.includes(slice) ?? false));
    element("follow").disabled = !following && !object;
    write(element("follow-text"), say(following ? "follow.stop" : "follow.start"));
    element("follow").querySelector("use").setAttribute("href", following ? "#i-stop" : "#i-follow");
    element("progress").hidden = !following;
    if (!following) return;
    const share = Math.round((100 * following.done) / Math.max(1, following.total));
    element("progress").setAttribute("aria-valuenow", String(share));
    element("progress").firstElementChild.style.width = `${share}%`;
  }
}

// --- messages ---

/** Show a message until it is closed; good news leaves by itself.
 * @param {string} words @param {"good" | "bad"} mood */
export function notify(words, mood) {
  const close = make("button", { class: "plain" }, icon("close"));
  name(close, say("errors.close"));
  const notice = make("div", { class: "notice", "data-mood": mood, role: mood === "bad" ? "alert" : "status" });
  notice.append(make("p", {}, words), close);
  close.addEventListener("click", () => notice.remove());
  const shown = element("notices");
  for (const older of [...shown.children]) if (older.textContent === notice.textContent) older.remove();
  shown.append(notice);
  while (shown.children.length > 3) shown.firstElementChild.remove();
  if (mood === "good") window.setTimeout(() => notice.remove(), 5000);
}

/** Say something to screen readers only. @param {string} words */
export function announce(words) {
  write(element("spoken"), words);
}
