// @ts-check
/** Every word that the page shows, in one file: change it, or translate it, here. {words} in braces are filled in. */
export const TEXT = {
  skip: "Skip to the image",
  notices: "Messages",
  cases: {
    title: "Cases",
    open: "Show the list of cases",
    close: "Close the list of cases",
    search: "Search cases",
    choose: "Open files",
    drop: "Or drop files here: NIfTI, NRRD, MetaImage, a DICOM series, a picture, or .npz.",
    drop_here: "Drop to open",
    none: "No case has this name.",
    count: "{shown} of {all}",
    folder: "Folder",
    upload: "Opened by you",
    demo: "Drawn examples",
    opening: "Opening {name} …",
    uploading: "Reading {name}: {done} of {all}",
    no_case: "These files make no case that can be opened.",
  },
  welcome: {
    title: "Draw a box, see the mask",
    text: "Choose a case, or drop a file. Everything stays on this computer.",
    choose: "Show the cases",
    safety: "Research software. Not for clinical use.",
  },
  facts: { image: "{width} × {height}", volume: "{width} × {height} × {depth}", spacing: "{x} × {y} × {z} mm", colour: "colour" },
  kept: {
    start: "Connecting …",
    model: "The model is being loaded …",
    all: "All changes kept",
    some: "Keeping changes …",
    lost: "Not connected. Trying again.",
    lost_some: "Not connected. {count} changes wait here and are sent later.",
    lost_one: "Not connected. 1 change waits here and is sent later.",
    back: "Connected again. Nothing was lost.",
    dropped: "The connection was cut during “{what}”. See whether it was done.",
  },
  history: {
    title: "History",
    undo: "Undo (Ctrl+Z)",
    redo: "Do again (Ctrl+Shift+Z)",
    undo_what: "Undo: {what} (Ctrl+Z)",
    redo_what: "Do again: {what} (Ctrl+Shift+Z)",
  },
  save: {
    button: "Save",
    tip: "Save the label map (Ctrl+S)",
    files: "Saved",
    saved: "Saved: {files}",
  },
  tools: {
    title: "Tools",
    box: "Box",
    add: "Add",
    add_tip: "Click what is missing of the object (C); with Alt what is too much",
    remove: "Remove",
    remove_tip: "Click what is too much (R); with Alt what is missing",
    brush: "Brush",
    eraser: "Eraser",
    look: "Move",
    window: "Contrast",
    size: "Size",
    pixels: "{count} px",
    wider: "Wider",
    wider_tip: "This box again, wider (W)",
    box_fit: "Box",
    loose: "with some room",
    tight: "touching the object",
    unknown: "either way",
    fit: "Fit to the window (0)",
  },
  hints: {
    box_new: "Drag a box around an object: it becomes a new one.",
    box_for: "Drag a box around “{name}”.",
    box_for_clicks: "Not right? Add or remove by clicks, or drag a box around “{name}”.",
    box_edit: "Drag the box's sides to change it; drag elsewhere for a new object.",
    box_edit_clicks: "Not right? Add or remove by clicks, or drag the box's sides; elsewhere for a new object.",
    box_key: "Arrow keys move the corner, Enter finishes, Escape gives up.",
    add: "Click what is missing of “{name}”.",
    remove: "Click what does not belong to “{name}”.",
    unheeded: "The model did not follow this click. Click again near it, or use brush and eraser.",
    click_first: "Draw a box first, then click to correct its mask.",
    brush: "Paint on “{name}”.",
    eraser: "Rub out of “{name}”.",
    paint_first: "Add an object first, or draw a box.",
    look: "Drag to move the image. Click to place the cross.",
    window: "Drag sideways for width, up and down for level.",
    cross: "Drag to place the cross.",
  },
  planes: {
    title: "Planes",
    three: "All",
    axial: "Axial",
    coronal: "Coronal",
    sagittal: "Sagittal",
    caption: "{plane} {index}",
    axial_name: "Image. Arrow keys move the cross, Enter uses the tool.",
    coronal_name: "Coronal plane. Arrow keys move the cross.",
    sagittal_name: "Sagittal plane. Arrow keys move the cross.",
    at: "x {x}, y {y}",
    at_volume: "x {x}, y {y}, z {z}",
    value: "value {value}",
  },
  slices: {
    title: "Slices",
    slider: "Slice",
    here: "Slice {index} of 0 to {last}",
    confidence: "confidence {value}",
    done_here: "done",
    none_here: "no mask here",
    first: "First here",
    first_tip: "The object begins on this slice ([)",
    last: "Last here",
    last_tip: "The object ends on this slice (])",
    done: "Done",
    done_tip: "Mark this slice of the object as done: following does not change it (D)",
  },
  follow: {
    start: "Follow",
    stop: "Stop",
    tip: "Follow the object from here to its first and last slice (F)",
    progress: "Following",
    running: "Following “{name}”: {done} of {total}",
    finished: "“{name}” was followed to both ends.",
    stopped: "Stopped. What was found so far stays.",
    needs: "Draw a box on this slice, then set the first and the last slice.",
  },
  objects: {
    title: "Objects",
    add: "New",
    add_tip: "New object (N)",
    none: "None yet. Drag a box on the image.",
    name: "Name of {name}",
    colour: "Colour of {name}",
    hide: "Hide {name}",
    show: "Show {name}",
    remove: "Delete {name}",
    new: "new object",
    slices_one: "1 slice",
    slices: "{count} slices",
    range: "slices {first} to {last}",
    done: "{count} done",
    confidence: "confidence {value}",
    empty: "no mask yet",
  },
  look: {
    title: "Look",
    level: "Level",
    width: "Width",
    fill: "Fill",
    percent: "{value} %",
    reset: "Reset",
    soft_tissue: "Soft tissue",
    lung: "Lung",
    bone: "Bone",
    brain: "Brain",
  },
  about: { title: "About this file" },
  help: {
    title: "Keys and mouse",
    open: "Keys and mouse (?)",
    close: "Close",
    single_keys: "Single letters are shortcuts",
  },
  errors: {
    close: "Close this message",
    answer: "The server answered {status}.",
    none: "No answer from the program. Is it still running?",
  },
};

/** The help card: groups of [keys, what they do]. Keys are parted by |; words that are no keys begin with ~. Rows with
 * "clicks" are shown only where the model takes clicks. */
export const HELP = [
  {
    title: "Tools",
    keys: [
      ["B", "box"],
      ["C", "click what is missing of the object", "clicks"],
      ["R", "click what is too much", "clicks"],
      ["P", "brush"],
      ["E", "eraser"],
      ["V", "move the image, place the cross"],
      ["L", "contrast"],
      ["−|+", "size of brush and eraser; else zoom"],
      ["W", "this box again, wider"],
    ],
  },
  {
    title: "Mouse and fingers",
    keys: [
      ["~Drag, click", "use the tool"],
      ["Alt|~and click", "what is too much instead of missing", "clicks"],
      ["~Middle button, or|Space|~and drag", "move the image"],
      ["~Right button", "contrast"],
      ["~Wheel", "zoom; in volumes: slices"],
      ["Ctrl|~and wheel", "zoom"],
      ["~Two fingers", "move and zoom"],
    ],
  },
  {
    title: "Without a mouse",
    keys: [
      ["Tab", "to the image and all controls"],
      ["←|↑|→|↓", "move the cross; with Shift: by ten"],
      ["Enter", "use the tool: begin and end a box or a stroke"],
      ["Alt|Enter", "click of the other kind", "clicks"],
      ["Escape", "give up; stop following"],
    ],
  },
  {
    title: "Slices",
    keys: [
      ["Page Up|Page Down", "next, previous slice"],
      ["Home|End", "to the object's first, last slice"],
      ["[|]", "the object begins, ends here"],
      ["D", "this slice is done"],
      ["F", "follow; stop"],
      ["A", "all planes, one plane"],
      ["X", "show or hide the cross"],
    ],
  },
  {
    title: "Objects",
    keys: [
      ["N", "new object"],
      ["1|~to|9", "choose an object"],
      ["H", "hide or show it"],
      ["M", "hide or show all masks"],
      ["Delete", "clear it on this slice"],
      ["Shift|Delete", "delete the object"],
    ],
  },
  {
    title: "Everything",
    keys: [
      ["Ctrl|Z", "undo"],
      ["Ctrl|Shift|Z", "do again"],
      ["Ctrl|S", "save"],
      ["0", "fit to the window"],
      ["?", "this card"],
    ],
  },
];

/** Give the text of a key such as "cases.title", with its braces filled in.
 * @param {string} key @param {Record<string, string | number>} [words] */
export function say(key, words = {}) {
  /** @type {unknown} */
  let found = TEXT;
  for (const part of key.split(".")) found = /** @type {Record<string, unknown>} */ (found)?.[part];
  if (typeof found !== "string") throw new Error(`text.js has no ${key}`);
  return found.replace(/\{(\w+)\}/g, (_, word) => String(words[word] ?? ""));
}

/** Fill in the words of the elements of index.html. */
export function fillInWords() {
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = say(element.getAttribute("data-text") ?? "");
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    name(element, say(element.getAttribute("data-label") ?? ""));
  }
  for (const element of document.querySelectorAll("[data-hold]")) {
    element.setAttribute("placeholder", say(element.getAttribute("data-hold") ?? ""));
  }
}

/** Name an element for screen readers, and buttons for the mouse, too. @param {Element} element @param {string} words */
export function name(element, words) {
  if (element.getAttribute("aria-label") === words) return;
  element.setAttribute("aria-label", words);
  if (element instanceof HTMLButtonElement) element.title = words;
}
