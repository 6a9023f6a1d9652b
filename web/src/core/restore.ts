// Pixels restored with a haze field, row by row, as `unhaze.restore.strips` does it. Values are in [0, 1] inside.
import type { HazeField } from "./field";
import type { Pixels } from "./pixels";
import { type Grid, resizeLinear } from "./resize";
import { type ToneCurve, fromSrgb, lookUp } from "./tone";

export interface Look {
  strength: number; // -1 to 1
  colorBlend: number; // 0 to 1
  keepExposure: number; // 0 to 1
}

export const DEFAULT_LOOK: Look = { strength: 1, colorBlend: 0.8, keepExposure: 1 };

const MAXIMUM_COLOR_GAIN = 3;
const RANGE_MARGIN = 4 / 255;
const STEPS = 16384; // of transmission, in the tables of gains: an error of 0.15 levels of 255 at most
const LEVELS = 16384; // of the table of results in 8 bits: a fine step even where the brightening curve is steep

/** A small map enlarged: columns at once, rows on demand. */
class RowBlender {
  private readonly wide: Float32Array;
  private readonly last: number;
  readonly row: Float32Array;

  constructor(
    small: Grid,
    private readonly width: number,
    private readonly height: number,
  ) {
    this.wide = resizeLinear(small, width, small.height).data;
    this.last = small.height - 1;
    this.row = new Float32Array(width);
  }

  /** Fill `row` with row `y` of the enlarged map. */
  at(y: number): Float32Array {
    const place = Math.min(Math.max(((y + 0.5) * (this.last + 1)) / this.height - 0.5, 0), this.last);
    const above = Math.floor(place);
    const share = place - above;
    const upper = above * this.width;
    const lower = Math.min(above + 1, this.last) * this.width;
    const { wide, row } = this;
    for (let x = 0; x < this.width; x++) row[x] = wide[upper + x] + (wide[lower + x] - wide[upper + x]) * share;
    return row;
  }
}

/** Restores one picture, as often as the look changes. */
export class Restorer {
  private readonly slope: RowBlender;
  private readonly offset: RowBlender;
  private readonly light: RowBlender[];
  private readonly values: Float32Array[];
  private readonly kept: Uint16Array | null;
  private keptFor = 0; // sign of the strength that it holds for

  /**
   * @param pixels The picture.
   * @param field Its haze.
   * @param curve Tone curve of its profile, where that is not sRGB's.
   * @param remember Keep the transmission of each pixel, so that a second look at the same picture takes half the time.
   */
  constructor(
    private readonly pixels: Pixels,
    private readonly field: HazeField,
    private readonly curve: ToneCurve | null = null,
    remember = false,
  ) {
    const { width, height } = pixels;
    const small = (data: Float32Array, channel = 0, channels = 1): RowBlender => {
      const one = channels === 1 ? data : data.filter((_, i) => i % channels === channel);
      return new RowBlender({ width: field.width, height: field.height, channels: 1, data: one }, width, height);
    };
    this.slope = small(field.slope);
    this.offset = small(field.offset);
    const lights =
      field.airlight.length === 3
        ? new Float32Array(field.width * field.height * 3).map((_, i) => field.airlight[i % 3])
        : field.airlight;
    this.light = [0, 1, 2].map((channel) => small(lights, channel, 3));
    this.values = [0, 1, 2].map((channel) => valueTable(pixels, curve, channel));
    this.kept = remember ? new Uint16Array(width * height) : null;
  }

  /** The picture without haze, in the type of its pixels. */
  restore(look: Look): Pixels["data"] {
    const { pixels, field } = this;
    const { width, height, channels, data, alpha, white } = pixels;
    const out = data.slice();
    const { strength } = look;
    if (strength === 0) return out;
    const sign = Math.sign(strength);
    const remembered = this.kept !== null && this.keptFor === sign;
    const lift = field.lift * look.keepExposure * Math.max(strength, 0);
    const { least } = field;
    const gains = new Float32Array(STEPS + 1);
    const colorGains = new Float32Array(STEPS + 1);
    for (let i = 0; i <= STEPS; i++) {
      gains[i] = (least + ((1 - least) * i) / STEPS) ** -strength;
      colorGains[i] = Math.min(1 + (gains[i] - 1) * look.colorBlend, MAXIMUM_COLOR_GAIN);
    }
    const [reds, greens, blues] = this.values;
    const results = data instanceof Uint8Array ? this.resultTables(lift) : null;
    const steps = new Uint16Array(width);
    const mayExceed = data instanceof Uint16Array && white < 65535;
    for (let y = 0; y < height; y++) {
      const [lightR, lightG, lightB] = this.light.map((each) => each.at(y));
      const row = this.kept ? this.kept.subarray(y * width, (y + 1) * width) : steps;
      if (!remembered) this.transmission(y, row, sign > 0);
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        if (alpha && alpha[at] === 0) continue;
        const gain = gains[row[x]];
        const r = lightR[x];
        const g = lightG[x];
        const b = lightB[x];
        const light = 0.299 * r + 0.587 * g + 0.114 * b;
        if (channels === 1) {
          const gray = reds[data[at]];
          const restored = gray * gain + (1 - gain) * light;
          if (!mayExceed || data[at] <= white) out[at] = this.finish(restored, 0, lift);
          continue;
        }
        const i = at * 3;
        const red = reds[data[i]];
        const green = greens[data[i + 1]];
        const blue = blues[data[i + 2]];
        const gray = 0.299 * red + 0.587 * green + 0.114 * blue;
        const colorGain = colorGains[row[x]];
        const loss = 1 - colorGain;
        const shift = (1 - gain) * light + gray * (gain - colorGain);
        const restoredRed = red * colorGain + shift + loss * (r - light);
        const restoredGreen = green * colorGain + shift + loss * (g - light);
        const restoredBlue = blue * colorGain + shift + loss * (b - light);
        if (results) {
          out[i] = results[0][levelOf(restoredRed)];
          out[i + 1] = results[1][levelOf(restoredGreen)];
          out[i + 2] = results[2][levelOf(restoredBlue)];
          continue;
        }
        if (!mayExceed || data[i] <= white) out[i] = this.finish(restoredRed, 0, lift);
        if (!mayExceed || data[i + 1] <= white) out[i + 1] = this.finish(restoredGreen, 1, lift);
        if (!mayExceed || data[i + 2] <= white) out[i + 2] = this.finish(restoredBlue, 2, lift);
      }
    }
    if (this.kept) this.keptFor = sign;
    return out;
  }

  /** From a restored value to one of the file: clipped, brightened by x (1 + k) / (1 + k x), with the file's curve. */
  private finish(value: number, channel: number, lift: number): number {
    let v = value < 0 ? 0 : value > 1 ? 1 : value;
    v = (v * (1 + lift)) / (1 + lift * v);
    if (this.curve) v = fromSrgb(this.curve, channel, v);
    return v * this.pixels.white + 0.5; // the integer array truncates
  }

  /** `finish` for 8 bits, as a table for each channel. */
  private resultTables(lift: number): [Uint8Array, Uint8Array, Uint8Array] {
    const table = (channel: number) =>
      Uint8Array.from({ length: LEVELS + 1 }, (_, i) => this.finish(i / LEVELS, channel, lift));
    const red = table(0);
    return this.curve ? [red, table(1), table(2)] : [red, red, red];
  }

  /** Optical depth of every pixel, 0 where the air is clear. */
  depth(): Float32Array {
    const { width, height } = this.pixels;
    const out = new Float32Array(width * height);
    const { least } = this.field;
    const row = new Uint16Array(width);
    const depths = Float32Array.from({ length: STEPS + 1 }, (_, i) => -Math.log(least + ((1 - least) * i) / STEPS));
    for (let y = 0; y < height; y++) {
      this.transmission(y, row, false);
      for (let x = 0; x < width; x++) out[y * width + x] = depths[row[x]];
    }
    return out;
  }

  /** Transmission of row `y` in steps from the least one to 1; bounded, it is raised where a pixel would leave the range of the picture. */
  private transmission(y: number, out: Uint16Array, bounded: boolean): void {
    const { width, channels, data } = this.pixels;
    const { least } = this.field;
    const toStep = STEPS / (1 - least);
    const slope = this.slope.at(y);
    const offset = this.offset.at(y);
    const [reds, greens, blues] = this.values;
    const [lightR, lightG, lightB] = bounded ? this.light.map((each) => each.row) : [];
    for (let x = 0; x < width; x++) {
      const i = (y * width + x) * channels;
      const red = reds[data[i]];
      const green = channels === 1 ? red : greens[data[i + 1]];
      const blue = channels === 1 ? red : blues[data[i + 2]];
      const gray = 0.299 * red + 0.587 * green + 0.114 * blue;
      let t = slope[x] * gray + offset[x];
      if (t < least) t = least;
      else if (t > 1) t = 1;
      if (bounded) {
        let bound: number;
        if (channels === 1) bound = bounds(red, 0.299 * lightR[x] + 0.587 * lightG[x] + 0.114 * lightB[x]);
        else bound = Math.max(bounds(red, lightR[x]), bounds(green, lightG[x]), bounds(blue, lightB[x]));
        if (bound > t) t = bound < 1 ? bound : 1;
      }
      out[x] = (t - least) * toStep + 0.5;
    }
  }
}

function levelOf(value: number): number {
  return value <= 0 ? 0 : value >= 1 ? LEVELS : (value * LEVELS + 0.5) | 0;
}

/** The boundary constraint of Meng et al. (2013), Eq. 7: least transmission with which a value stays in range. */
function bounds(value: number, light: number): number {
  const difference = value - light;
  if (difference >= 0) return difference / Math.max(1 - RANGE_MARGIN - light, 1e-3);
  return -difference / Math.max(light - RANGE_MARGIN, 1e-3);
}

function valueTable(pixels: Pixels, curve: ToneCurve | null, channel: number): Float32Array {
  const table = new Float32Array(pixels.data instanceof Uint8Array ? 256 : 65536);
  for (let i = 0; i < table.length; i++) {
    const value = Math.min(i / pixels.white, 1);
    table[i] = curve ? lookUp(curve.forward[channel % curve.forward.length], value) : value;
  }
  return table;
}
