// @ts-check
/** Puts the page together: server to session, session to screen. */

import { Actions } from "./actions.js";
import { ask, CaseList } from "./cases.js";
import { withChange } from "./changes.js";
import { Connection } from "./connection.js";
import { announce, element, make, NARROW, notify, write } from "./elements.js";
import { Gestures } from "./gestures.js";
import { Keys } from "./keys.js";
import { holds } from "./masks.js";
import { Look, ObjectList, SlicePanel } from "./panels.js";
import { readSlice, SliceCache } from "./pixels.js";
import { PlaneView } from "./planes.js";
import { nameOf, Session } from "./session.js";
import { Strip } from "./strip.js";
import { fillInWords, HELP, name, say } from "./text.js";
import { hint, Toolbar } from "./toolbar.js";

/** @typedef {import("./session.js").SegmentedObject} SegmentedObject */

const live = new URL("api/live", location.href);
live.protocol = live.protocol === "https:" ? "wss:" : "ws:";

fillInWords();
const session = new Session();
const connection = new Connection(live.href);
const actions = new Actions(session, connection, announce);
const slices = new SliceCache(async (key) => readSlice(await get(`api/slice?${key.split("?")[1]}`)));
const source = {
  slice: (/** @type {string} */ key) => slices.get(`${session.case?.id}?${key}`),
  labels: async (/** @type {string} */ key) => {
    const { values, width, height } = await readSlice(await get(`api/labels?${key}`));
    return { values: /** @type {Uint8Array | Uint16Array} */ (values), width, height };
  },
};
const planes = [...document.querySelectorAll(".plane")].map(
  (figure) => new PlaneView(/** @type {HTMLElement} */ (figure), session, source),
);
const gestures = planes.map((plane) => new Gestures(plane, session, actions, (event) => readOut(plane, event)));
const keys = new Keys(session, actions, planes, gestures, {
  help: showHelp,
  areSingleKeysOn: () => element("single-keys").checked,
});
const toolbar = new Toolbar(session, actions, fit);
const objectList = new ObjectList(session, actions);
const look = new Look(session);
const slicePanel = new SlicePanel(session, actions);
const strip = new Strip(element("strip"), session, actions);
const cases = new CaseList(openCase);
let isOpening = "";
let stateIsKnown = false;

/** @param {string} address */
async function get(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
}

// --- cases ---

/** @param {string} id @returns {Promise<boolean>} whether it is open */
async function openCase(id) {
  const listed = cases.cases.find((each) => each.id === id);
  isOpening = say("cases.opening", { name: listed?.name ?? "" });
  session.touch();
  try {
    await ask("api/open", { method: "POST", body: JSON.stringify({ id }) });
    return true;
  } catch (error) {
    notify(/** @type {Error} */ (error).message, "bad");
    return false;
  } finally {
    isOpening = "";
    session.touch();
  }
}

async function readState() {
  try {
    const state = await ask("api/state");
    cases.set(state.cases);
    session.model = state.model;
    session.touch();
  } catch (error) {
    notify(/** @type {Error} */ (error).message, "bad");
  }
}

/** @param {any} message `state`: all of the open case */
function takeState(message) {
  const before = session.case?.id;
  const lostCase = before && message.case?.id !== before && !stateIsKnown ? before : "";
  stateIsKnown = true;
  session.model = message.model;
  if (lostCase) {
    // The server was started anew: go on where we were, if it knows that case.
    openCase(lostCase).then((isOpen) => isOpen || takeState(message));
    return;
  }
  session.following = message.following;
  session.history = message.history ?? session.history;
  if (message.case?.id !== before) {
    slices.clear();
    write(element("readout"), "");
    element("saved-files").hidden = true; // they were of another case
  }
  if (message.case) connection.keepFor(message.case.id);
  session.setCase(message.case, message.objects);
  cases.mark(message.case?.id ?? "");
  if (!message.case) return;
  replaceWaiting();
  connection.isHeld = false;
  connection.flush();
}

/** Show again what waits here and the server does not know yet. */
function replaceWaiting() {
  for (const { message } of connection.waiting) {
    if (message.type === "add_object" && !connection.ids.has(message.local)) session.putNew(message.local);
  }
  session.objects = session.objects.map((each) => withUnanswered(each));
}

/** Give an object as the server tells it, with what was done to it here since: nothing drawn goes away for a while.
 * @param {SegmentedObject} object @param {number | null} answered seq of the message that the server answers with it */
function withUnanswered(object, answered = null) {
  return connection.unanswered(object.id).filter(({ seq }) => seq !== answered).reduce(withChange, object);
}

// --- what the server says ---

/** @type {Record<string, (message: any) => void>} */
const takers = {
  state: takeState,
  object: (message) => session.put(withUnanswered(message.object, message.seq)),
  mask: (message) => {
    session.showMask(message.object, message.slice, message.runs, message.is_final);
    if (!message.is_final) return;
    session.noteSlice(message.object, message.slice, message.confidence, !message.runs.length);
    if (message.seq !== null) announce(sliceWords(message));
    tellIfUnheeded(message);
    session.strokes = session.strokes.filter((each) => each.seq !== message.seq);
  },
  followed: (message) => {
    session.following = { object: message.object, done: message.done, total: message.total };
    session.noteSlice(message.object, message.slice, message.confidence, !message.runs.length);
    session.labelsVersion++;
  },
  follow_ended: (message) => {
    session.following = null;
    session.labelsVersion++;
    const called = nameOf(session.objects.find((each) => each.id === message.object) ?? null);
    const isKnown = message.reason === "finished" || message.reason === "stopped";
    if (isKnown) announce(say(`follow.${message.reason}`, { name: called }));
    else notify(message.reason, "bad");
  },
  history: (message) => (session.history = message),
  saved: (message) => {
    notify(say("save.saved", { files: message.files.join(", ") }), "good");
    element("saved-files").hidden = false;
    element("saved-list").replaceChildren(...message.files.map((/** @type {string} */ file) => make("li", {}, file)));
  },
  error: (message) => {
    notify(message.message, "bad");
    session.strokes = session.strokes.filter((each) => each.seq !== message.seq);
    if (session.following?.done === 0) session.following = null; // it was this that did not work
    session.live.clear();
    session.labelsVersion++;
  },
};

connection.addEventListener("message", (event) => {
  takers[/** @type {CustomEvent} */ (event).detail.type]?.(/** @type {CustomEvent} */ (event).detail);
  session.touch();
});
connection.addEventListener("named", (event) => {
  const { local, id } = /** @type {CustomEvent} */ (event).detail;
  session.rename(local, id);
});
for (const change of ["sent", "answered"]) connection.addEventListener(change, () => session.touch());
connection.addEventListener("open", (event) => {
  readState();
  if (/** @type {CustomEvent} */ (event).detail.again) notify(say("kept.back"), "good");
  session.touch();
});
connection.addEventListener("lost", (event) => {
  stateIsKnown = false;
  connection.isHeld = true; // until the same case is open again
  session.following = null;
  for (const what of /** @type {CustomEvent} */ (event).detail.doubtful) notify(say("kept.dropped", { what }), "bad");
  session.touch();
});

/** Say so where the model's answer to a click does not do what the click says. @param {{seq: number, runs: number[]}} message */
function tellIfUnheeded(message) {
  const asked = connection.waiting.find((each) => each.message.seq === message.seq)?.message;
  if (asked?.type !== "click") return;
  const width = session.case?.shape[2] ?? 1;
  if (holds(message.runs, asked.y * width + asked.x) !== asked.is_inside) notify(say("hints.unheeded"), "good");
}

/** @param {{confidence: number | null}} message */
function sliceWords(message) {
  return message.confidence === null ? "" : say("slices.confidence", { value: message.confidence.toFixed(2) });
}

// --- what the page shows ---

session.addEventListener("change", () => {
  const { case: opened } = session;
  element("welcome").hidden = Boolean(opened);
  element("work-area").hidden = !opened;
  element("side").hidden = !opened;
  element("frame").classList.toggle("no-case", !opened);
  document.body.classList.toggle("no-case-open", !opened);
  showTitle();
  showKept();
  showHistory();
  if (!opened) return;
  showPlanes();
  toolbar.show();
  objectList.show();
  look.show();
  slicePanel.show();
  strip.draw();
  write(element("hint-text"), hint(session, keys.box !== null));
  if (session.usesKeys) showPlace(session.cross.x, session.cross.y, session.cross.z);
});

function showTitle() {
  const { case: opened } = session;
  write(element("case-name"), opened?.name ?? "");
  document.title = opened ? `${opened.name}, GraySAM` : "GraySAM";
  if (!opened) return write(element("case-facts"), "");
  const [depth, height, width] = opened.shape;
  const facts = [say(session.isVolume ? "facts.volume" : "facts.image", { width, height, depth })];
  if (opened.channels === 3) facts.push(say("facts.colour"));
  const digits = (/** @type {number} */ value) => String(Number(value.toFixed(3)));
  if (opened.spacing_mm && session.isVolume) {
    const [z, y, x] = opened.spacing_mm.map(digits);
    facts.push(say("facts.spacing", { x, y, z }));
  }
  write(element("case-facts"), facts.join(", "));
  showAbout(opened.warnings, opened.notes);
}

/** Show what the reader of the file was not sure of, and what it decided. @param {string[]} warnings @param {string[]} notes */
function showAbout(warnings, notes) {
  element("about").hidden = !warnings.length && !notes.length;
  const words = [...warnings, ...notes].join("\n");
  if (element("about-list").dataset.words === words) return;
  element("about-list").dataset.words = words;
  const rows = warnings.map((warning) => make("li", { class: "warning" }, warning));
  element("about-list").replaceChildren(...rows, ...notes.map((note) => make("li", {}, note)));
}

/** Tell whether everything is kept. */
function showKept() {
  const waits = connection.waiting.length;
  const { model } = session;
  let [mood, words] = ["good", say("kept.all")];
  if (!connection.wasOpen) [mood, words] = ["wait", say("kept.start")];
  else if (!connection.isOpen) {
    const lost = waits === 0 ? say("kept.lost") : waits === 1 ? say("kept.lost_one") : say("kept.lost_some", { count: waits });
    [mood, words] = ["lost", lost];
  } else if (isOpening) [mood, words] = ["wait", isOpening];
  else if (model.error) [mood, words] = ["lost", model.error];
  else if (!stateIsKnown || !model.is_ready) [mood, words] = ["wait", say("kept.model")];
  else if (session.following) {
    const object = session.objects.find((each) => each.id === session.following?.object) ?? null;
    const { done, total } = session.following;
    [mood, words] = ["wait", say("follow.running", { name: nameOf(object), done, total })];
  } else if (waits) [mood, words] = ["wait", say("kept.some")];
  else if (!session.case) [mood, words] = ["good", ""];
  element("kept").dataset.mood = mood;
  element("kept").hidden = !words;
  write(element("kept-text"), words);
}

function showHistory() {
  const { history } = session;
  for (const side of /** @type {const} */ (["undo", "redo"])) {
    const isPossible = history[`can_${side}`];
    element(side).disabled = !isPossible || !session.case;
    name(element(side), history[side] ? say(`history.${side}_what`, { what: history[side] }) : say(`history.${side}`));
  }
  element("save").disabled = !session.case;
}

function showPlanes() {
  const isThree = session.layout === "three" && !matchMedia(NARROW).matches;
  element("stage").dataset.layout = isThree ? "three" : "single";
  for (const plane of planes) {
    const alone = session.layout === "three" ? "axial" : session.plane;
    plane.figure.hidden = !isThree && plane.plane !== alone;
    const label = say(`planes.${plane.plane}_name`);
    if (plane.canvas.getAttribute("aria-label") !== label) plane.canvas.setAttribute("aria-label", label);
    plane.update();
  }
}

/** Tell the pixel under the mouse, and its value. @param {PlaneView} plane @param {PointerEvent} event */
function readOut(plane, event) {
  const { left, top } = plane.canvas.getBoundingClientRect();
  const at = plane.at(event.clientX - left, event.clientY - top);
  const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
  const { imageWidth, imageHeight } = plane.view;
  if (x < 0 || y < 0 || x >= imageWidth || y >= imageHeight) return write(element("readout"), "");
  const { cross } = session;
  if (plane.plane === "axial") return showPlace(x, y, cross.z);
  return plane.plane === "coronal" ? showPlace(x, cross.y, y) : showPlace(cross.x, x, y);
}

/** @param {number} x @param {number} y @param {number} z */
function showPlace(x, y, z) {
  const parts = [say(session.isVolume ? "planes.at_volume" : "planes.at", { x, y, z })];
  const slice = planes[0].slice;
  if (slice && z === session.cross.z && planes[0].sliceKey === planes[0].wantedKey) {
    const start = (y * slice.width + x) * slice.channels;
    const values = [...slice.values.slice(start, start + slice.channels)].map((each) => String(Number(each.toFixed(2))));
    parts.push(say("planes.value", { value: values.join(" ") }));
  }
  write(element("readout"), parts.join(", "));
}

function fit() {
  for (const plane of planes) plane.view.fit();
  session.touch();
}

// --- the help card ---

function showHelp() {
  const groups = HELP.map(({ title, keys: rows }) => {
    const list = make("dl");
    for (const [pressed, does, needs] of rows) {
      if (needs === "clicks" && !session.model.takes_clicks) continue;
      const shown = pressed.split("|").map((part) => (part.startsWith("~") ? part.slice(1) : make("kbd", {}, part)));
      list.append(make("dt", {}, ...shown.flatMap((part, at) => (at ? [" ", part] : [part]))), make("dd", {}, does));
    }
    return make("section", {}, make("h3", {}, title), list);
  });
  element("help-keys").replaceChildren(...groups);
  element("help-card").showModal();
}

element("help").addEventListener("click", showHelp);
element("help-close").addEventListener("click", () => element("help-card").close());
element("undo").addEventListener("click", () => actions.undo());
element("redo").addEventListener("click", () => actions.redo());
element("save").addEventListener("click", () => actions.save());
for (const change of ["resize", "orientationchange"]) window.addEventListener(change, () => session.touch());

session.touch();
connection.connect();
