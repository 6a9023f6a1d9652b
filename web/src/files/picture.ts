// A picture file in the browser: decoded to upright pixels as they are stored, and encoded again with its metadata.
import { findWhite, type Pixels } from "../core/pixels";
import { isJpeg, type JpegParts, readJpeg, withSegments } from "./jpeg";
import { decodePng, encodePng, isPng, type PngParts, readPng } from "./png";

export interface Picture {
  pixels: Pixels;
  icc: Uint8Array | null;
  jpeg: JpegParts | null;
  png: PngParts | null;
  /** Codes of what the result will not have. */
  notes: string[];
}

/** A sentence for the user, by its code in the strings. */
export class PictureError extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

const MOST_PIXELS = 100_000_000;

export async function readPicture(bytes: Uint8Array<ArrayBuffer>): Promise<Picture> {
  if (!bytes.length) throw new PictureError("empty");
  if (isPng(bytes)) {
    const png = readPng(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (bytes.length > 24 && view.getUint32(16) * view.getUint32(20) > MOST_PIXELS) throw new PictureError("large");
    let stored: Pixels;
    try {
      stored = decodePng(bytes);
    } catch {
      stored = await browserPixels(bytes, "image/png");
    }
    const pixels = turn(stored, png.orientation);
    pixels.white = findWhite(pixels);
    return { pixels, icc: png.icc, jpeg: null, png, notes: png.animated ? ["first-frame"] : [] };
  }
  if (isJpeg(bytes)) {
    const jpeg = readJpeg(bytes);
    const pixels = turn(await browserPixels(jpeg.plain, "image/jpeg"), jpeg.orientation);
    pixels.alpha = null;
    return { pixels, icc: jpeg.icc, jpeg, png: null, notes: jpeg.channels === 3 ? [] : ["as-rgb"] };
  }
  return { pixels: await browserPixels(bytes, ""), icc: null, jpeg: null, png: null, notes: ["as-png"] };
}

async function browserPixels(bytes: Uint8Array<ArrayBuffer>, type: string): Promise<Pixels> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new PictureError("unreadable");
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new PictureError("large");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new PictureError("memory");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const out = new Uint8Array(width * height * 3);
  let alpha: Uint8Array | null = null;
  for (let i = 0, j = 0, k = 0; k < out.length; i++, j += 4, k += 3) {
    out[k] = data[j];
    out[k + 1] = data[j + 1];
    out[k + 2] = data[j + 2];
    if (data[j + 3] < 255) (alpha ??= new Uint8Array(width * height).fill(255))[i] = data[j + 3];
  }
  return { width, height, channels: 3, data: out, alpha, white: 255 };
}

/** Apply an EXIF orientation. */
export function turn(pixels: Pixels, orientation: number): Pixels {
  if (orientation === 1) return pixels;
  const { width, height } = pixels;
  const swaps = orientation >= 5;
  const [w, h] = swaps ? [height, width] : [width, height];
  const move = <T extends Uint8Array | Uint16Array>(data: T, channels: number): T => {
    const out = data.slice() as T;
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        let [u, v] = swaps ? [y, x] : [x, y];
        if ([2, 3, 7, 8].includes(orientation)) u = width - 1 - u;
        if ([3, 4, 6, 7].includes(orientation)) v = height - 1 - v;
        for (let c = 0; c < channels; c++) out[(y * w + x) * channels + c] = data[(v * width + u) * channels + c];
      }
    }
    return out;
  };
  const data = move(pixels.data, pixels.channels);
  return { ...pixels, width: w, height: h, data, alpha: pixels.alpha && move(pixels.alpha, 1) };
}

/** RGBA of 8 bits for a canvas. */
export function toRgba(pixels: Pixels, data: Pixels["data"] = pixels.data): Uint8ClampedArray<ArrayBuffer> {
  const { width, height, channels, alpha, white } = pixels;
  const out = new Uint8ClampedArray(width * height * 4);
  if (channels === 3 && white === 255 && !alpha) {
    for (let i = 0, j = 0; j < out.length; i += 3, j += 4) {
      out[j] = data[i];
      out[j + 1] = data[i + 1];
      out[j + 2] = data[i + 2];
      out[j + 3] = 255;
    }
    return out;
  }
  const scale = 255 / white;
  const opacity = alpha instanceof Uint16Array ? 1 / 257 : 1;
  for (let i = 0, j = 0; j < out.length; i++, j += 4) {
    const at = i * channels;
    out[j] = data[at] * scale;
    out[j + 1] = data[channels === 1 ? at : at + 1] * scale;
    out[j + 2] = data[channels === 1 ? at : at + 2] * scale;
    out[j + 3] = alpha ? alpha[i] * opacity : 255;
  }
  return out;
}

/** The file of a restored picture: JPEG stays JPEG with its segments, all else is PNG. */
export async function writePicture(from: Picture, data: Pixels["data"]): Promise<{ blob: Blob; suffix: string }> {
  const pixels = { ...from.pixels, data };
  if (!from.jpeg) return { blob: new Blob([encodePng(pixels, from.png)], { type: "image/png" }), suffix: ".png" };
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d")!.putImageData(new ImageData(toRgba(pixels), pixels.width), 0, 0);
  const encoded = await canvas.convertToBlob({ type: "image/jpeg", quality: from.jpeg.quality / 100 });
  const bytes = new Uint8Array(await encoded.arrayBuffer());
  return { blob: new Blob([withSegments(bytes, from.jpeg)], { type: "image/jpeg" }), suffix: ".jpg" };
}

/** The picture made smaller for a preview. */
export function shrinkTo(pixels: Pixels, most: number): Pixels {
  const { width, height, channels } = pixels;
  const factor = Math.sqrt((width * height) / most);
  if (factor <= 1) return pixels;
  const [w, h] = [Math.max(1, Math.round(width / factor)), Math.max(1, Math.round(height / factor))];
  const pick = <T extends Uint8Array | Uint16Array>(data: T, count: number): T => {
    const out = data.slice(0, w * h * count) as T;
    const step = Math.max(1, Math.floor(factor));
    for (let y = 0, k = 0; y < h; y++) {
      const v = Math.floor(((y + 0.5) * height) / h - step / 2 + 0.5);
      for (let x = 0; x < w; x++) {
        const u = Math.floor(((x + 0.5) * width) / w - step / 2 + 0.5);
        for (let c = 0; c < count; c++) {
          let sum = 0;
          for (let j = 0; j < step; j++) for (let i = 0; i < step; i++) sum += data[((v + j) * width + u + i) * count + c];
          out[k++] = sum / (step * step);
        }
      }
    }
    return out;
  };
  return { ...pixels, width: w, height: h, data: pick(pixels.data, channels), alpha: pixels.alpha && pick(pixels.alpha, 1) };
}
