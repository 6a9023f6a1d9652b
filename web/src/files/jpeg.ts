// The segments of a JPEG (ITU-T T.81, annex B): what a browser's encoder would lose is written over into the new file.
import { makeUpright, orientation } from "./exif";

export interface JpegParts {
  /** Segments to keep, whole, markers included. */
  kept: Uint8Array[];
  exif: Uint8Array | null;
  icc: Uint8Array | null;
  channels: number;
  quality: number;
  /** The file without what would change how a browser decodes it. */
  plain: Uint8Array<ArrayBuffer>;
  orientation: number;
}

const STANDARD = [
  16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60,
  57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112,
  100, 120, 92, 101, 103, 99,
]; // luminance table of annex K.1 in zigzag order

export function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

function startsWith(segment: Uint8Array, words: string): boolean {
  return [...words].every((letter, i) => segment[4 + i] === letter.charCodeAt(0));
}

function* segmentsOf(bytes: Uint8Array): Generator<{ marker: number; start: number; end: number }> {
  let at = 2;
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff) return;
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    yield { marker, start: at, end: Math.min(end, bytes.length) };
    if (marker === 0xda || end <= at + 3) return;
    at = end;
  }
}

export function readJpeg(bytes: Uint8Array): JpegParts {
  const parts: JpegParts = {
    kept: [],
    exif: null,
    icc: null,
    channels: 3,
    quality: 92,
    plain: new Uint8Array(),
    orientation: 1,
  };
  const pieces: Uint8Array[] = [bytes.subarray(0, 2)];
  const profile = new Map<number, Uint8Array>();
  let rest = 2;
  for (const { marker, start, end } of segmentsOf(bytes)) {
    const segment = bytes.subarray(start, end);
    rest = end;
    if (marker === 0xda) {
      rest = start;
      break;
    }
    const isIcc = marker === 0xe2 && startsWith(segment, "ICC_PROFILE\0");
    const isExif = marker === 0xe1 && startsWith(segment, "Exif\0\0");
    if (isIcc) profile.set(segment[16], segment.subarray(18));
    if (isExif && !parts.exif) parts.exif = segment.slice(10);
    if (marker === 0xdb) parts.quality = qualityOf(segment) ?? parts.quality;
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) parts.channels = segment[9];
    // a list of further pictures (MPF) would point to where nothing is
    if (isIcc || marker === 0xe1 || marker === 0xe0 || marker === 0xed || marker === 0xfe) parts.kept.push(segment);
    if (!isIcc && !isExif) pieces.push(segment);
  }
  pieces.push(bytes.subarray(rest));
  parts.plain = join(pieces);
  parts.orientation = orientation(parts.exif);
  if (profile.size) parts.icc = join([...profile].sort(([a], [b]) => a - b).map(([, data]) => data));
  return parts;
}

function qualityOf(segment: Uint8Array): number | null {
  if (segment[4] !== 0 || segment.length < 69) return null; // 16 bits, or not luminance
  let scale = 0;
  for (let i = 0; i < 64; i++) scale += (100 * segment[5 + i]) / STANDARD[i];
  scale /= 64;
  const quality = scale <= 100 ? (200 - scale) / 2 : 5000 / scale;
  return Math.round(Math.min(Math.max(quality, 10), 100));
}

/** What a browser encoded, with the segments of the file that the picture came from. */
export function withSegments(encoded: Uint8Array, from: JpegParts): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [encoded.subarray(0, 2)];
  const hasHead = from.kept.some((segment) => segment[1] === 0xe0);
  for (const segment of from.kept) {
    const isExif = segment[1] === 0xe1 && startsWith(segment, "Exif\0\0");
    if (isExif) {
      const upright = makeUpright(segment.slice(10), from.orientation >= 5);
      pieces.push(segment.subarray(0, 10), upright);
    } else if (!isOfAnotherKind(segment, from)) pieces.push(segment);
  }
  let rest = 2;
  for (const { marker, start, end } of segmentsOf(encoded)) {
    rest = marker === 0xda ? start : end;
    if (marker === 0xda) break;
    const replaced = marker === 0xe1 || marker === 0xe2 || (marker === 0xe0 && hasHead);
    if (!replaced) pieces.push(encoded.subarray(start, end));
  }
  pieces.push(encoded.subarray(rest));
  return join(pieces);
}

/** Whether this is part of a profile for grey or CMYK: browsers encode RGB alone. */
function isOfAnotherKind(segment: Uint8Array, from: JpegParts): boolean {
  const isIcc = segment[1] === 0xe2 && startsWith(segment, "ICC_PROFILE\0");
  return isIcc && from.icc !== null && String.fromCharCode(...from.icc.subarray(16, 20)) !== "RGB ";
}

export function join(pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(pieces.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
