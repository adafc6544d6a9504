// @ts-check
/** Above the image: tools with their options and what to do with them, planes. They show the session; clicks act on it. */

import { element, icon, make, NARROW, write } from "./elements.js";
import { nameOf } from "./session.js";
import { name, say } from "./text.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./actions.js").Actions} Actions */

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
