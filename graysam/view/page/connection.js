// @ts-check
/** The live connection: sends what the user does, in order, and keeps each message until it is answered.
 *
 * When the server goes away, what is unanswered waits here and in the browser's storage, and is sent when the server
 * is back. Previews of a box are another matter: one is under way at a time, and only the newest waits.
 */

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 4000;
const PREVIEW_PATIENCE_MS = 3000; // a preview that was dropped is never answered
const TWICE_IS_ONCE = new Set(["box", "brush", "fit", "range", "done", "rename", "recolour", "clear", "add_object"]);

/** @typedef {{type: string, seq?: number, object?: number, [field: string]: any}} Message to the server; an object that
 *   it has not named yet has a number below 0 */
/** @typedef {{message: Message, isSent: boolean}} Waiting */

export class Connection extends EventTarget {
  /** @param {string} address of the WebSocket */
  constructor(address) {
    super();
    this.address = address;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.isOpen = false;
    this.wasOpen = false;
    /** @type {Waiting[]} */
    this.waiting = [];
    /** @type {Map<number, number>} ids given here for objects that the server has not named yet, to its ids */
    this.ids = new Map();
    this.nextSeq = Math.floor(Math.random() * 2 ** 40); // so that two tabs do not take each other's answers
    this.pause = FIRST_PAUSE_MS;
    /** @type {Message | null} */
    this.preview = null; // waits
    this.previewSeq = 0; // is under way, 0 for none
    this.previewTimer = 0;
    this.storage = "";
    this.isHeld = false; // nothing is sent before the right case is open
  }

  connect() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.onopen = () => {
      this.isOpen = true;
      this.pause = FIRST_PAUSE_MS;
      this.tell("open", { again: this.wasOpen });
      this.wasOpen = true;
    };
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = () => this.lose();
  }

  lose() {
    const wasOpen = this.isOpen;
    this.isOpen = false;
    this.previewSeq = 0;
    this.preview = null;
    const doubtful = this.waiting.filter((each) => each.isSent && !TWICE_IS_ONCE.has(each.message.type));
    this.waiting = this.waiting.filter((each) => !doubtful.includes(each));
    for (const each of this.waiting) each.isSent = false;
    this.store();
    if (wasOpen) this.tell("lost", { doubtful: doubtful.map((each) => each.message.type) });
    window.setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
  }

  /** Send a message, now or when it can be. @param {Message} message @returns {number} its seq */
  send(message) {
    const seq = this.nextSeq++;
    if (this.preview?.object === message.object) this.preview = null;
    this.waiting.push({ message: { ...message, seq }, isSent: false });
    this.store();
    this.flush();
    this.tell("sent", {});
    return seq;
  }

  /** Say something now or not at all; it is not waited for. @param {Message} message @returns {boolean} false: cut off */
  mention(message) {
    if (!this.isOpen || this.isHeld || !this.resolve(message)) return false;
    this.socket?.send(JSON.stringify({ ...message, seq: this.nextSeq++ }));
    return true;
  }

  /** Wish for the mask of a box that is still being drawn. @param {Message} message */
  wish(message) {
    this.preview = message;
    this.flush();
  }

  /** Give what was done to an object and is not answered yet, in order. @param {number} id @returns {Message[]} */
  unanswered(id) {
    const messages = this.waiting.map((each) => each.message);
    return messages.filter(({ object }) => object !== undefined && (this.ids.get(object) ?? object) === id);
  }

  cancelWish() {
    this.preview = null;
  }

  flush() {
    if (!this.isOpen || this.isHeld) return;
    for (const each of this.waiting) {
      if (each.isSent) continue;
      if (!this.resolve(each.message)) break; // its object is not named yet; later ones keep their order
      each.isSent = true;
      this.socket?.send(JSON.stringify(each.message));
    }
    if (this.preview && !this.previewSeq && this.resolve(this.preview)) {
      this.previewSeq = this.nextSeq++;
      this.socket?.send(JSON.stringify({ ...this.preview, seq: this.previewSeq }));
      this.preview = null;
      this.previewTimer = window.setTimeout(() => this.previewDone(), PREVIEW_PATIENCE_MS);
    }
  }

  previewDone() {
    window.clearTimeout(this.previewTimer);
    this.previewSeq = 0;
    this.flush();
  }

  /** Put the server's id of the object into a message; false while it has none. @param {Message} message */
  resolve(message) {
    const { object } = message;
    if (object === undefined || object >= 0) return true;
    const id = this.ids.get(object);
    if (id === undefined) return false;
    message.object = id;
    return true;
  }

  /** @param {any} message from the server */
  take(message) {
    const asked = this.waiting.find((each) => each.message.seq === message.seq)?.message ?? null;
    if (asked?.type === "add_object" && message.type === "object") this.named(asked.local, message.object["id"]);
    this.tell("message", message);
    if (asked) {
      this.waiting = this.waiting.filter((each) => each.message !== asked);
      this.store();
    }
    if (message.seq && message.seq === this.previewSeq) this.previewDone();
    else if (asked) this.flush();
    if (asked) this.tell("answered", { asked });
  }

  /** @param {number} local @param {number} id */
  named(local, id) {
    this.ids.set(local, id);
    this.tell("named", { local, id });
  }

  // --- what outlives the tab ---

  /** Keep unanswered messages of a case in the browser, and take up those that an earlier tab left. Those of another case
   * are for when that is open again. @param {string} caseId */
  keepFor(caseId) {
    const storage = `graysam.waiting.${caseId}`;
    if (this.storage === storage) return;
    if (this.storage) this.waiting = [];
    this.storage = storage;
    const left = /** @type {Message[]} */ (JSON.parse(localStorage.getItem(storage) ?? "[]"));
    const known = new Set(this.waiting.map((each) => each.message.seq));
    const earlier = left.filter((message) => !known.has(message.seq));
    this.waiting = [...earlier.map((message) => ({ message, isSent: false })), ...this.waiting];
  }

  store() {
    if (!this.storage) return;
    const kept = this.waiting.map((each) => each.message).filter((message) => TWICE_IS_ONCE.has(message.type));
    if (kept.length) localStorage.setItem(this.storage, JSON.stringify(kept));
    else localStorage.removeItem(this.storage);
  }

  /** @param {string} type @param {object} detail */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
