// @ts-check
/** Where a slice lies on its canvas: owns the change between image pixels and CSS pixels of one plane. */

const CLOSEST = 64; // CSS pixels for one image pixel
const ROOM = 0.96; // share of the canvas that a fitted image fills

export class Viewport {
  constructor() {
    this.width = 1; // of the canvas, CSS pixels
    this.height = 1;
    this.imageWidth = 1; // image pixels
    this.imageHeight = 1;
    this.stretch = 1; // height of a pixel over its width, as in the patient
    this.scale = 1; // CSS pixels for the width of one image pixel
    this.left = 0; // CSS pixels from the canvas's corner to the image's
    this.top = 0;
    this.isFitted = true;
  }

  /** @param {number} width @param {number} height CSS pixels */
  resize(width, height) {
    const centre = this.toImage(this.width / 2, this.height / 2);
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    if (this.isFitted) this.fit();
    else this.centreOn(centre.x, centre.y);
  }

  /** @param {number} width @param {number} height image pixels @param {number} stretch */
  setImage(width, height, stretch) {
    if (width === this.imageWidth && height === this.imageHeight && stretch === this.stretch) return;
    this.imageWidth = width;
    this.imageHeight = height;
    this.stretch = stretch;
    this.fit();
  }

  fit() {
    const across = this.width / this.imageWidth;
    const down = this.height / (this.imageHeight * this.stretch);
    this.scale = Math.min(across, down) * ROOM;
    this.isFitted = true;
    this.left = (this.width - this.imageWidth * this.scale) / 2;
    this.top = (this.height - this.imageHeight * this.scale * this.stretch) / 2;
  }

  /** Image coordinates count from the outer edge of the first pixel: pixel 3 covers 3 to 4.
   * @param {number} x @param {number} y CSS pixels */
  toImage(x, y) {
    return { x: (x - this.left) / this.scale, y: (y - this.top) / (this.scale * this.stretch) };
  }

  /** @param {number} x @param {number} y image coordinates */
  toScreen(x, y) {
    return { x: this.left + x * this.scale, y: this.top + y * this.scale * this.stretch };
  }

  /** Zoom so that what lies under a point stays there.
   * @param {number} x @param {number} y CSS pixels @param {number} factor above 1 comes closer */
  zoomAt(x, y, factor) {
    const under = this.toImage(x, y);
    const least = Math.min(1, Math.min(this.width / this.imageWidth, this.height / this.imageHeight)) / 4;
    this.scale = Math.min(CLOSEST, Math.max(least, this.scale * factor));
    this.left = x - under.x * this.scale;
    this.top = y - under.y * this.scale * this.stretch;
    this.isFitted = false;
    this.keepInSight();
  }

  /** @param {number} dx @param {number} dy CSS pixels */
  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.isFitted = false;
    this.keepInSight();
  }

  /** @param {number} x @param {number} y image coordinates */
  centreOn(x, y) {
    this.left = this.width / 2 - x * this.scale;
    this.top = this.height / 2 - y * this.scale * this.stretch;
    this.keepInSight();
  }

  /** Bring a point into the canvas, if it lies outside. @param {number} x @param {number} y image coordinates */
  reveal(x, y) {
    const at = this.toScreen(x, y);
    const edge = 24;
    const dx = Math.max(edge - at.x, 0) + Math.min(this.width - edge - at.x, 0);
    const dy = Math.max(edge - at.y, 0) + Math.min(this.height - edge - at.y, 0);
    if (dx || dy) this.pan(dx, dy);
  }

  keepInSight() {
    const seen = 40;
    const across = this.imageWidth * this.scale;
    const down = this.imageHeight * this.scale * this.stretch;
    this.left = Math.min(this.width - seen, Math.max(seen - across, this.left));
    this.top = Math.min(this.height - seen, Math.max(seen - down, this.top));
  }
}
