// A decoded picture, and the small view of it that models see.
import { type FloatGrid, floatGrid, resizeArea } from "./resize";

export const VIEW_SIZE = 640; // long side of the view [px]

/** Upright pixels, grey or RGB, interleaved; alpha apart. */
export interface Pixels {
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array | Uint16Array;
  alpha: Uint8Array | Uint16Array | null;
  white: number;
}

const WHITES = [255, 1023, 2047, 4095, 8191, 10000, 16383];

/** The value that stands for white: 16 bits often hold pictures of fewer. */
export function findWhite({ width, height, channels, data, alpha }: Omit<Pixels, "white">): number {
  if (data instanceof Uint8Array) return 255;
  const step = Math.max(1, Math.floor(Math.sqrt((width * height) / (1 << 20))));
  const largest: number[] = [];
  let divisor = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      const at = y * width + x;
      let top = 0;
      for (let c = 0; c < channels; c++) {
        const value = data[at * channels + c];
        top = Math.max(top, value);
        divisor = greatestCommonDivisor(divisor, value);
      }
      if (!alpha || alpha[at] > 0) largest.push(top);
    }
  }
  if (!largest.length) return 65535;
  largest.sort((a, b) => a - b);
  const spared = Math.floor(largest.length * 1e-4) + Math.min(4, Math.floor(largest.length / 64));
  const top = largest[largest.length - 1 - spared];
  const fillsItsType = divisor > 0 && (divisor % 257 === 0 || divisor % 4 === 0);
  if (top > 16383 || fillsItsType || top === 0) return 65535;
  return WHITES.find((white) => white >= top) ?? 65535;
}

function greatestCommonDivisor(a: number, b: number): number {
  while (b) [a, b] = [b, a % b];
  return a;
}

export function viewShape(width: number, height: number, side = VIEW_SIZE): [number, number] {
  const scale = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, roundHalfEven(width * scale)), Math.max(1, roundHalfEven(height * scale))];
}

/** As Python rounds. */
export function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/** The picture shrunk to what models see: RGB in [0, 1], long side at most `VIEW_SIZE`; hidden pixels play no part. */
export function workingView(pixels: Pixels): FloatGrid {
  const { width, height, channels, data, alpha, white } = pixels;
  const [w, h] = viewShape(width, height);
  const count = width * height;
  let hidden: Uint8Array | null = null;
  if (alpha?.some((value) => value === 0) || (data instanceof Uint16Array && white < 65535)) {
    hidden = new Uint8Array(count);
    let exceeding = 0;
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < channels; c++) if (data[i * channels + c] > white) hidden[i] = 2;
      exceeding += hidden[i] >> 1;
    }
    if (exceeding === count) hidden.fill(0);
    if (alpha) for (let i = 0; i < count; i++) if (alpha[i] === 0) hidden[i] = 1;
    if (!hidden.some(Boolean)) hidden = null;
  }
  let small: FloatGrid;
  if (!hidden) {
    small = resizeArea({ width, height, channels, data }, w, h);
    if (w !== width || h !== height) small.data = small.data.map((value) => roundHalfEven(value));
    small.data = small.data.map((value) => Math.min(value / white, 1));
  } else {
    small = viewOfVisible(pixels, hidden, w, h);
  }
  if (channels === 3) return small;
  const out = floatGrid(w, h, 3);
  for (let i = 0; i < w * h; i++) out.data.fill(small.data[i], i * 3, i * 3 + 3);
  return out;
}

function viewOfVisible(pixels: Pixels, hidden: Uint8Array, w: number, h: number): FloatGrid {
  const { width, height, channels, data, white } = pixels;
  const masked = new Float32Array(data.length);
  const shown = new Float32Array(hidden.length);
  for (let i = 0; i < hidden.length; i++) {
    if (hidden[i]) continue;
    shown[i] = 1;
    for (let c = 0; c < channels; c++) masked[i * channels + c] = Math.min(data[i * channels + c] / white, 1);
  }
  const sums = resizeArea({ width, height, channels, data: masked }, w, h);
  const shares = resizeArea({ width, height, channels: 1, data: shown }, w, h);
  const queue: number[] = [];
  const known = new Uint8Array(w * h);
  for (let i = 0; i < w * h; i++) {
    if (shares.data[i] <= 0) continue;
    for (let c = 0; c < channels; c++) sums.data[i * channels + c] /= shares.data[i];
    known[i] = 1;
    queue.push(i);
  }
  if (!queue.length) sums.data.fill(0.5);
  for (const at of queue) { // those without any take the colour of one near them
    const x = at % w;
    for (const next of [x > 0 ? at - 1 : -1, x < w - 1 ? at + 1 : -1, at - w, at + w]) {
      if (next < 0 || next >= w * h || known[next]) continue;
      known[next] = 1;
      for (let c = 0; c < channels; c++) sums.data[next * channels + c] = sums.data[at * channels + c];
      queue.push(next);
    }
  }
  return sums;
}
