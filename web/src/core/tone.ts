// Tone curves of colour profiles, as `unhaze.images.color` reads them (ICC.1:2022).
import type { FloatGrid } from "./resize";

const SAMPLES = 65536;
const NEAR = 2 / 255;
const DIP = 2e-3;

/** For each channel, or one for all: the way to values with sRGB's curve and back; the way back in squares. */
export interface ToneCurve {
  forward: Float32Array[];
  backward: Float32Array[];
}

export function lookUp(table: Float32Array, value: number): number {
  const place = Math.min(Math.max(value, 0), 1) * (SAMPLES - 1);
  const below = Math.min(Math.floor(place), SAMPLES - 2);
  return table[below] + (place - below) * (table[below + 1] - table[below]);
}

export function fromSrgb(curve: ToneCurve, channel: number, value: number): number {
  return lookUp(curve.backward[channel % curve.backward.length], Math.sqrt(value));
}

export function viewToSrgb(curve: ToneCurve, view: FloatGrid): FloatGrid {
  const { forward } = curve;
  const data = view.data.map((value, i) => lookUp(forward[(i % view.channels) % forward.length], value));
  return { ...view, data };
}

function linearToSrgb(x: number): number {
  const a = Math.abs(x);
  return a <= 0.0031308 ? x * 12.92 : Math.sign(x) * (1.055 * a ** (1 / 2.4) - 0.055);
}

/** The tone curve of a profile; `null` where it is nearly sRGB's, or where it has none for each channel. */
export function toneCurve(icc: Uint8Array | null): ToneCurve | null {
  const curves = icc && readCurves(icc);
  if (!curves) return null;
  const forward = curves.map((curve) => curve.map(linearToSrgb));
  let largest = 0;
  for (const table of forward) table.forEach((v, i) => (largest = Math.max(largest, Math.abs(v - i / (SAMPLES - 1)))));
  if (largest < NEAR) return null;
  for (const table of forward) {
    if (table[SAMPLES - 1] - table[0] < 0.5) return null;
    for (let i = 1; i < SAMPLES; i++) {
      if (table[i] >= table[i - 1]) continue;
      if (table[i - 1] - table[i] > DIP) return null; // without an inverse
      table[i] = table[i - 1];
    }
  }
  return { forward: forward.map((each) => Float32Array.from(each)), backward: forward.map(inverse) };
}

function inverse(rising: Float64Array): Float32Array {
  const out = new Float32Array(SAMPLES);
  let at = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const wanted = (i / (SAMPLES - 1)) ** 2;
    while (at < SAMPLES - 1 && rising[at + 1] <= wanted) at++;
    const low = rising[at];
    const high = rising[Math.min(at + 1, SAMPLES - 1)];
    const part = high > low ? Math.min(Math.max((wanted - low) / (high - low), 0), 1) : 0;
    out[i] = Math.min((at + part) / (SAMPLES - 1), 1);
  }
  return out;
}

function text(bytes: Uint8Array, start: number, length = 4): string {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}

function readCurves(icc: Uint8Array): Float64Array[] | null {
  try {
    const view = new DataView(icc.buffer, icc.byteOffset, icc.byteLength);
    const names = { "GRAY": ["kTRC"], "RGB ": ["rTRC", "gTRC", "bTRC"] }[text(icc, 16)];
    const tags = new Map<string, [number, number]>();
    const count = Math.min(view.getUint32(128), 100);
    for (let i = 0; i < count; i++) {
      tags.set(text(icc, 132 + 12 * i), [view.getUint32(136 + 12 * i), view.getUint32(140 + 12 * i)]);
    }
    if (!names || tags.has("A2B0") || names.some((name) => !tags.has(name))) return null;
    const places = names.map((name) => tags.get(name)!);
    const bytes = places.map(([start, size]) => icc.slice(start, start + size));
    const same = bytes.every((each) => each.length === bytes[0].length && each.every((v, i) => v === bytes[0][i]));
    const curves = (same ? bytes.slice(0, 1) : bytes).map(evaluate);
    return curves.every((curve) => curve.every(Number.isFinite)) ? curves : null;
  } catch {
    return null; // damaged
  }
}

/** Light in [0, 1] of evenly spaced values in [0, 1]; `curv` is 10.6, `para` 10.18. */
function evaluate(tag: Uint8Array): Float64Array {
  const view = new DataView(tag.buffer, tag.byteOffset, tag.byteLength);
  const out = new Float64Array(SAMPLES);
  const each = (of: (x: number) => number) => out.map((_, i) => of(i / (SAMPLES - 1)));
  const kind = text(tag, 0);
  if (kind === "curv") {
    const count = view.getUint32(8);
    if (count === 0) return each((x) => x);
    if (count === 1) return each((x) => x ** (view.getUint16(12) / 256));
    const points = Float64Array.from({ length: count }, (_, i) => view.getUint16(12 + 2 * i) / 65535);
    return each((x) => {
      const place = x * (count - 1);
      const below = Math.min(Math.floor(place), count - 2);
      return points[below] + (place - below) * (points[below + 1] - points[below]);
    });
  }
  if (kind !== "para") throw new Error("no curve");
  const type = view.getUint16(8);
  const length = [1, 3, 4, 5, 7][type];
  const [g, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from(
    { length },
    (_, i) => view.getInt32(12 + 4 * i) / 65536,
  );
  if (!(g > 0)) throw new Error("no curve");
  const power = (x: number) => Math.max(a * x + b, 0) ** g;
  const kinds: ((x: number) => number)[] = [
    (x) => x ** g,
    power,
    (x) => power(x) + c,
    (x) => (x >= d ? power(x) : c * x),
    (x) => (x >= d ? power(x) + e : c * x + f),
  ];
  return each((x) => Math.min(Math.max(kinds[type](x), 0), 1));
}
