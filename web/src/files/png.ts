// PNG in and out, without the browser: it would cut 16 bits, multiply by alpha and apply profiles.
import { decode } from "fast-png";
import { unzlibSync, zlibSync } from "fflate";
import type { Pixels } from "../core/pixels";
import { makeUpright, orientation } from "./exif";
import { join } from "./jpeg";

export interface PngParts {
  kept: { before: Uint8Array[]; after: Uint8Array[] };
  icc: Uint8Array | null;
  orientation: number;
  animated: boolean;
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const BEFORE = ["iCCP", "sRGB", "gAMA", "cHRM", "cICP", "pHYs", "eXIf"];
const AFTER = ["tEXt", "zTXt", "iTXt", "tIME"];

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((value, i) => bytes[i] === value);
}

export function readPng(bytes: Uint8Array): PngParts {
  const parts: PngParts = { kept: { before: [], after: [] }, icc: null, orientation: 1, animated: false };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  while (at + 12 <= bytes.length) {
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length) break;
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, end - 4);
    if (name === "acTL") parts.animated = true;
    if (name === "iCCP") {
      try {
        parts.icc = unzlibSync(data.subarray(data.indexOf(0) + 2));
      } catch { /* a damaged profile has no curve, and stays as it is */ }
    }
    if (name === "eXIf") {
      parts.orientation = orientation(data.slice());
      parts.kept.before.push(chunk("eXIf", makeUpright(data.slice(), parts.orientation >= 5)));
    } else if (BEFORE.includes(name)) parts.kept.before.push(bytes.subarray(at, end));
    else if (AFTER.includes(name)) parts.kept.after.push(bytes.subarray(at, end));
    at = end;
  }
  return parts;
}

/** Pixels as they are stored; `white` is to be found. */
export function decodePng(bytes: Uint8Array): Pixels {
  const { width, height, data, channels, depth, palette, transparency } = decode(bytes);
  const count = width * height;
  const deep = depth === 16;
  const make = (length: number) => (deep ? new Uint16Array(length) : new Uint8Array(length));
  if (palette) {
    const out = new Uint8Array(count * 3);
    const alpha = palette[0].length === 4 ? new Uint8Array(count) : null;
    const perByte = 8 / depth;
    const stride = Math.ceil(width / perByte);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const byte = data[depth === 8 ? y * width + x : y * stride + Math.floor(x / perByte)];
        const index = depth === 8 ? byte : (byte >> (8 - depth * ((x % perByte) + 1))) & ((1 << depth) - 1);
        const colour = palette[index] ?? [0, 0, 0, 255];
        out.set(colour.slice(0, 3), (y * width + x) * 3);
        if (alpha) alpha[y * width + x] = colour[3] ?? 255;
      }
    }
    return { width, height, channels: 3, data: out, alpha, white: 255 };
  }
  if (depth < 8) throw new Error("shallow"); // the browser reads these rare files
  const colours = channels >= 3 ? 3 : 1;
  const out = make(count * colours);
  let alpha = channels % 2 ? null : make(count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < colours; c++) out[i * colours + c] = data[i * channels + c];
    if (alpha) alpha[i] = data[i * channels + colours];
  }
  if (transparency && !alpha) {
    alpha = make(count).fill(deep ? 65535 : 255);
    for (let i = 0; i < count; i++) {
      if (Array.from(transparency).every((value, c) => out[i * colours + c] === value)) alpha[i] = 0;
    }
  }
  return { width, height, channels: colours, data: out, alpha, white: deep ? 65535 : 255 };
}

export function encodePng(pixels: Pixels, from: PngParts | null): Uint8Array<ArrayBuffer> {
  const { width, height, channels, data, alpha } = pixels;
  const deep = data instanceof Uint16Array;
  const samples = channels + (alpha ? 1 : 0);
  const pixel = samples * (deep ? 2 : 1);
  const stride = width * pixel;
  const raw = new Uint8Array(height * (stride + 1));
  let upper = new Uint8Array(stride);
  let line = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0, k = 0; x < width; x++) {
      for (let s = 0; s < samples; s++) {
        const value = s < channels ? data[(y * width + x) * channels + s] : alpha![y * width + x];
        if (deep) line[k++] = value >> 8;
        line[k++] = value & 255;
      }
    }
    filter(line, upper, pixel, raw.subarray(y * (stride + 1), (y + 1) * (stride + 1)));
    [upper, line] = [line, upper];
  }
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([deep ? 16 : 8, (channels === 3 ? 2 : 0) + (alpha ? 4 : 0), 0, 0, 0], 8);
  return join([
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", head),
    ...(from?.kept.before ?? []),
    chunk("IDAT", zlibSync(raw, { level: 6 })),
    ...(from?.kept.after ?? []),
    chunk("IEND", new Uint8Array()),
  ]);
}

/** Of the filters Sub, Up and Paeth the one whose result is smallest (PNG, third edition, 12.7). */
function filter(line: Uint8Array, upper: Uint8Array, pixel: number, out: Uint8Array): void {
  let best = Infinity;
  const tried = new Uint8Array(line.length);
  for (const kind of [1, 2, 4]) {
    let sum = 0;
    for (let i = 0; i < line.length; i++) {
      const left = i < pixel ? 0 : line[i - pixel];
      let guess = kind === 1 ? left : upper[i];
      if (kind === 4) {
        const corner = i < pixel ? 0 : upper[i - pixel];
        const p = left + upper[i] - corner;
        const [a, b, c] = [Math.abs(p - left), Math.abs(p - upper[i]), Math.abs(p - corner)];
        guess = a <= b && a <= c ? left : b <= c ? upper[i] : corner;
      }
      const value = (line[i] - guess) & 255;
      tried[i] = value;
      sum += value < 128 ? value : 256 - value;
    }
    if (sum < best) {
      best = sum;
      out[0] = kind;
      out.set(tried, 1);
    }
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

export function chunk(name: string, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  out.set(data, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < out.length - 4; i++) crc = CRC[(crc ^ out[i]) & 255] ^ (crc >>> 8);
  view.setUint32(out.length - 4, (crc ^ 0xffffffff) >>> 0);
  return out;
}
