// @ts-check
/** The list of cases: search, open, and files that are dropped or chosen. */

import { announce, element, make, notify, write } from "./elements.js";
import { say } from "./text.js";

/** @typedef {{id: string, name: string, format: string, source: "folder" | "demo" | "upload", refused: string | null}} ListedCase */

const SOURCES = /** @type {const} */ (["upload", "folder", "demo"]);

export class CaseList {
  /** @param {(id: string) => void} open */
  constructor(open) {
    this.open = open;
    /** @type {ListedCase[]} */
    this.cases = [];
    this.current = "";
    element("search").addEventListener("input", () => this.show());
    element("search").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event));
    element("choose").addEventListener("click", () => element("chooser").click());
    element("chooser").addEventListener("change", () => {
      this.upload([...element("chooser").files].map((file) => ({ file, path: file.name })));
      element("chooser").value = "";
    });
    element("menu").addEventListener("click", () => this.slide(true));
    element("welcome-choose").addEventListener("click", () => this.slide(true));
    element("menu-close").addEventListener("click", () => this.slide(false));
    element("cases").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.slide(false);
    });
    this.acceptDrops();
  }

  /** Enter opens the first case that the search finds. @param {KeyboardEvent} event */
  press(event) {
    const first = element("case-list").querySelector("button:not(:disabled)");
    if (event.key === "Enter") first?.click();
    if (event.key === "ArrowDown") first?.focus();
  }

  /** On narrow screens the list slides in and out. @param {boolean} isOpen */
  slide(isOpen) {
    const wasOpen = element("cases").classList.contains("open");
    element("cases").classList.toggle("open", isOpen);
    element("menu").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) window.setTimeout(() => element("search").focus(), 0);
    else if (wasOpen) element("menu").focus();
  }

  /** @param {ListedCase[]} cases */
  set(cases) {
    this.cases = cases;
    this.show();
  }

  /** @param {string} id */
  mark(id) {
    if (this.current === id) return;
    this.current = id;
    this.show();
  }

  show() {
    const wanted = element("search").value.trim().toLowerCase();
    const found = this.cases.filter((each) => `${each.name} ${each.format}`.toLowerCase().includes(wanted));
    /** @type {Node[]} */
    const rows = [];
    for (const source of SOURCES) {
      const here = found.filter((each) => each.source === source);
      if (here.length) rows.push(make("li", { class: "heading" }, say(`cases.${source}`)));
      rows.push(...here.map((each) => this.row(each)));
    }
    if (!rows.length) rows.push(make("li", { class: "heading" }, say("cases.none")));
    element("case-list").replaceChildren(...rows);
    write(element("case-count"), say("cases.count", { shown: found.length, all: this.cases.length }));
  }

  /** @param {ListedCase} listed */
  row(listed) {
    const button = make("button", { "data-case": listed.id }, make("b", {}, listed.name));
    button.append(make("small", {}, listed.refused ?? listed.format));
    button.disabled = listed.refused !== null;
    if (listed.id === this.current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      this.slide(false);
      this.open(listed.id);
    });
    return make("li", {}, button);
  }

  // --- files from the user ---

  acceptDrops() {
    let depth = 0;
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragenter", (event) => {
      if (hasFiles(event) && depth++ === 0) element("drop").hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (hasFiles(event) && --depth <= 0) element("drop").hidden = true;
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      depth = 0;
      element("drop").hidden = true;
      if (event.dataTransfer) this.upload(await filesOf(event.dataTransfer));
    });
  }

  /** Hand files to the server, and open the first case that they make.
   * @param {{file: File, path: string}[]} files */
  async upload(files) {
    if (!files.length) return;
    const batch = `b${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;
    try {
      for (const [done, { file, name: called }] of plainNames(files).entries()) {
        announce(say("cases.uploading", { name: called, done, all: files.length }));
        await ask(`api/upload?name=${encodeURIComponent(called)}&batch=${batch}`, { method: "POST", body: file });
      }
      const { cases } = await ask("api/uploaded", { method: "POST", body: JSON.stringify({ batch }) });
      const usable = cases.find((/** @type {ListedCase} */ each) => !each.refused);
      if (!usable) throw new Error(cases[0]?.refused ?? say("cases.no_case"));
      this.set([...cases, ...this.cases.filter((each) => !cases.some((/** @type {ListedCase} */ one) => one.id === each.id))]);
      this.open(usable.id);
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "bad");
    }
  }
}

/** Name files for the server, which takes no folders: files of the same name get that of their folder, too.
 * @param {{file: File, path: string}[]} files */
export function plainNames(files) {
  /** @type {Set<string>} */
  const used = new Set();
  return files.map(({ file, path }) => {
    const short = path.split("/").at(-1) ?? path;
    const called = used.has(short) ? path.replaceAll("/", "_") : short;
    used.add(called);
    return { file, name: called };
  });
}

/** Ask the server for JSON; an answer that is none becomes an error in words.
 * @param {string} address @param {RequestInit} [options] @returns {Promise<any>} */
export async function ask(address, options) {
  const answer = await fetch(address, options).catch(() => {
    throw new Error(say("errors.none"));
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? say("errors.answer", { status: answer.status }));
  return told;
}

/** Give what was dropped, with the files of folders. @param {DataTransfer} dropped */
async function filesOf(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null);
  if (!entries.length) return [...dropped.files].map((file) => ({ file, path: file.name }));
  /** @type {{file: File, path: string}[]} */
  const files = [];
  for (const entry of entries) await collect(/** @type {FileSystemEntry} */ (entry), files);
  return files;
}

/** @param {FileSystemEntry} entry @param {{file: File, path: string}[]} files */
async function collect(entry, files) {
  if (entry.isFile) {
    const { promise, resolve, reject } = deferred();
    /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject);
    files.push({ file: await promise, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    const { promise, resolve, reject } = deferred();
    reader.readEntries(resolve, reject); // gives a hundred at a time
    const some = await promise;
    if (!some.length) return;
    for (const each of some) await collect(each, files);
  }
}

/** @returns {{promise: Promise<any>, resolve: (value: any) => void, reject: (reason: any) => void}} */
function deferred() {
  /** @type {any} */
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}
