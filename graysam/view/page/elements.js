// @ts-check
/** Elements of the page: find them, make them, write into them; and messages, seen and spoken. */

import { name, say } from "./text.js";

/** Where everything stands in one column; style.css has the same number. */
export const NARROW = "(max-width: 760px)";

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
