// @ts-check
/** What a change makes of an object before the server has answered it. */

/** @typedef {import("./session.js").SegmentedObject} SegmentedObject */
/** @typedef {import("./connection.js").Message} Message */

/** @param {SegmentedObject} object @param {Message} message to the server @returns {SegmentedObject} */
export function withChange(object, message) {
  const { slice } = message;
  switch (message.type) {
    case "box":
      return { ...object, boxes: { ...object.boxes, [slice]: message.box } };
    case "fit":
      return { ...object, fits: { ...object.fits, [slice]: message.fit } };
    case "click": {
      const click = { x: message.x, y: message.y, is_inside: message.is_inside };
      return { ...object, clicks: { ...object.clicks, [slice]: [...(object.clicks[slice] ?? []), click] } };
    }
    case "range":
      return { ...object, first: message.first, last: message.last };
    default:
      return object; // the mask, the name and the rest are shown once the server has answered
  }
}
