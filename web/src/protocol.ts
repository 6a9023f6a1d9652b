// What the page and its worker say to each other.
import type { Look } from "./core/restore";

export interface Settings extends Look {
  model: string;
}

export type View = "picture" | "haze" | "confidence";

export interface Frame {
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

export interface Opened {
  before: Frame;
  notes: string[];
}

export interface Found {
  density: number;
  beyondSight: number;
  confidence: number;
  airlight: [number, number, number];
  looksClear: boolean;
  engine: string;
}

export interface Saved {
  blob: Blob;
  suffix: string;
}

export interface Calls {
  /** Decode a picture and keep it for the calls that follow. */
  open: { give: { file: Blob; token: string }; get: Opened };
  /** Find its haze; asked again when the model changes. */
  solve: { give: { model: string; token: string }; get: Found };
  /** The preview with a look, or a map. */
  apply: { give: { settings: Settings; view: View }; get: Frame & { ms: number } };
  /** The whole picture as a file. */
  save: { give: { file: Blob; settings: Settings; token: string }; get: Saved };
  /** Stop a save that is under way. */
  stop: { give: Record<string, never>; get: null };
}

export interface Ask {
  id: number;
  name: keyof Calls;
  give: unknown;
}

export type Answer = { id: number; got: unknown } | { id: number; error: { code: string; detail: string } };
