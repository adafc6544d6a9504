// @ts-check
/** The controls next to the image and below it: objects, contrast, slices. They show the session; clicks act on it. */

import { element, icon, make, write } from "./elements.js";
import { nameOf } from "./session.js";
import { sliceInWords } from "./strip.js";
import { name, say } from "./text.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").SegmentedObject} SegmentedObject */
/** @typedef {import("./actions.js").Actions} Actions */

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
