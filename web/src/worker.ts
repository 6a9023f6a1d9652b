// Decodes, finds haze, restores and encodes, apart from the page so that it stays quick.
import { type HazeField, solveField } from "./core/field";
import { resizeLinear } from "./core/resize";
import { workingView } from "./core/pixels";
import { Restorer } from "./core/restore";
import { toneCurve, viewToSrgb } from "./core/tone";
import { localEngine, openLocal } from "./engine/local";
import * as service from "./engine/service";
import { type Picture, PictureError, readPicture, shrinkTo, toRgba, writePicture } from "./files/picture";
import type { Answer, Ask, Calls, Found, Frame, Saved, Settings, View } from "./protocol";

declare const __SERVICE__: boolean;

const PREVIEW_PIXELS = 1920 * 1080;
const FAINTEST_HAZE = 0.3; // optical depth that at least fills the scale of the map, so that clear air looks like it

let current: { file: Blob; picture: Picture; preview: Picture["pixels"] } | null = null;
let solved: { field: HazeField; restorer: Restorer } | null = null;
let stopped = false;
let saving: AbortController | null = null;

async function read(file: Blob, token: string): Promise<Picture> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    return await readPicture(bytes);
  } catch (error) {
    if (!__SERVICE__ || !(error instanceof PictureError) || error.code !== "unreadable") throw error;
    // formats that browsers do not know: the service gives the picture as it is, as PNG
    return readPicture(new Uint8Array(await service.asPng(file, token)));
  }
}

async function solveLocally(picture: Picture): Promise<HazeField> {
  const network = await openLocal();
  const curve = toneCurve(picture.icc);
  const view = workingView(picture.pixels);
  return solveField(curve ? viewToSrgb(curve, view) : view, network);
}

const frame = ({ width, height }: { width: number; height: number }, pixels: Frame["pixels"]): Frame => ({
  width,
  height,
  pixels,
});

const calls: { [Name in keyof Calls]: (give: Calls[Name]["give"]) => Promise<Calls[Name]["get"]> } = {
  async open({ file, token }) {
    current = solved = null;
    const picture = await read(file, token);
    const preview = shrinkTo(picture.pixels, PREVIEW_PIXELS);
    current = { file, picture, preview };
    return { before: frame(preview, toRgba(preview)), notes: picture.notes };
  },

  async solve({ model, token }) {
    const now = current!;
    const field = __SERVICE__ ? await service.solve(now.file, model, token) : await solveLocally(now.picture);
    if (current !== now) throw new PictureError("gone");
    solved = { field, restorer: new Restorer(now.preview, field, toneCurve(now.picture.icc), true) };
    const found: Found = {
      density: field.density,
      beyondSight: field.beyondSight,
      confidence: field.meanConfidence,
      airlight: field.meanAirlight,
      looksClear: field.looksClear,
      engine: __SERVICE__ ? "" : localEngine(),
    };
    return found;
  },

  async apply({ settings, view }) {
    const { preview } = current!;
    const { field, restorer } = solved!;
    const started = performance.now();
    const pixels = view === "picture" ? toRgba(preview, restorer.restore(settings)) : drawMap(view, field, preview);
    return { ...frame(preview, pixels), ms: performance.now() - started };
  },

  async save({ file, settings, token }) {
    stopped = false;
    if (__SERVICE__) {
      saving = new AbortController();
      return service.dehaze(file, settings, token, saving.signal);
    }
    return saveLocally(file, settings, token);
  },

  async stop() {
    stopped = true;
    saving?.abort();
    return null;
  },
};

async function saveLocally(file: Blob, settings: Settings, token: string): Promise<Saved> {
  const known = current?.file === file ? current : null;
  const picture = known?.picture ?? (await read(file, token));
  const field = (known && solved?.field) ?? (await solveLocally(picture));
  await new Promise((done) => setTimeout(done)); // a word to stop is heard here
  if (stopped) throw new PictureError("stopped");
  const restored = new Restorer(picture.pixels, field, toneCurve(picture.icc)).restore(settings);
  return writePicture(picture, restored);
}

/** A map in colours from blue-black over violet and orange to pale yellow, which also read in grey. */
function drawMap(view: View, field: HazeField, preview: Picture["pixels"]): Frame["pixels"] {
  const { width, height } = preview;
  const out = new Uint8ClampedArray(width * height * 4).fill(255);
  const data = view === "haze" ? solved!.restorer.depth() : field.confidence;
  const values =
    view === "haze"
      ? data
      : resizeLinear({ width: field.width, height: field.height, channels: 1, data }, width, height).data;
  const largest = view === "haze" ? values.reduce((most, each) => Math.max(most, each), FAINTEST_HAZE) : 1;
  const stops = [[0, 0, 30], [80, 18, 123], [182, 54, 121], [251, 136, 97], [252, 253, 191]];
  for (let i = 0; i < values.length; i++) {
    const place = Math.min(Math.max(values[i] / largest, 0), 0.9999) * (stops.length - 1);
    const [low, high] = [stops[Math.floor(place)], stops[Math.floor(place) + 1]];
    for (let c = 0; c < 3; c++) out[i * 4 + c] = low[c] + (high[c] - low[c]) * (place % 1);
  }
  return out;
}

self.addEventListener("message", async ({ data }: MessageEvent<Ask>) => {
  let answer: Answer;
  const transfer: Transferable[] = [];
  try {
    const got = await (calls[data.name] as (give: unknown) => Promise<unknown>)(data.give);
    answer = { id: data.id, got };
    for (const each of [got, (got as { before?: unknown } | null)?.before]) {
      const pixels = (each as Partial<Frame> | null)?.pixels;
      if (pixels) transfer.push(pixels.buffer);
    }
  } catch (error) {
    answer = { id: data.id, error: tell(error) };
  }
  self.postMessage(answer, { transfer });
});

function tell(error: unknown): { code: string; detail: string } {
  if (error instanceof service.ServiceError) return { code: error.code, detail: error.detail };
  if (error instanceof PictureError) return { code: error.code, detail: "" };
  if (error instanceof RangeError) return { code: "memory", detail: "" }; // an array that cannot be had
  if (error instanceof DOMException && error.name === "AbortError") return { code: "stopped", detail: "" };
  return { code: "unexpected", detail: error instanceof Error ? error.message : String(error) };
}
