// What the service does for the page.
import type { HazeField } from "../core/field";
import type { Saved, Settings } from "../protocol";

/** A code of the strings, or the sentence that the service says. */
export class ServiceError extends Error {
  constructor(
    readonly code: string,
    readonly detail = "",
  ) {
    super(detail || code);
  }
}

export async function ask(path: string, token: string, init: RequestInit = {}, accept = "*/*"): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept, ...(init.headers as Record<string, string>) };
  if (token) headers["Authorization"] = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ServiceError("unreachable");
  }
  if (response.ok) return response;
  if (response.status === 401) throw new ServiceError(token ? "wrong-token" : "needs-token");
  let detail = "";
  try {
    detail = ((await response.json()) as { detail: string }).detail;
  } catch { /* not of the service itself: a proxy before it, say */ }
  throw new ServiceError(detail ? "said" : "unreachable", detail);
}

function send(path: string, file: Blob, token: string, accept: string, signal?: AbortSignal): Promise<Response> {
  const headers = { "Content-Type": "application/octet-stream" };
  return ask(path, token, { method: "POST", body: file, headers, signal }, accept);
}

/** The haze field that a model finds; the layout is that of `unhaze.web.fields`. */
export async function solve(file: Blob, model: string, token: string): Promise<HazeField> {
  const query = new URLSearchParams(model ? { model } : {});
  const response = await send(`v1/field?${query}`, file, token, "application/octet-stream");
  return readField(await response.arrayBuffer());
}

export function readField(buffer: ArrayBuffer): HazeField {
  const size = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size))) as Record<string, number> & {
    airlight: [number, number, number];
    looks_clear: boolean;
  };
  const count = head.width * head.height;
  let at = 4 + size;
  const take = (length: number): Float32Array => {
    const values = new Float32Array(buffer, at, length);
    at += length * 4;
    return values;
  };
  return {
    width: head.width,
    height: head.height,
    slope: take(count),
    offset: take(count),
    confidence: take(count),
    airlight: take(head.lights),
    lift: head.lift,
    least: head.least,
    density: head.density,
    beyondSight: head.beyond_sight,
    meanConfidence: head.confidence,
    meanAirlight: head.airlight,
    looksClear: head.looks_clear,
  };
}

export async function dehaze(file: Blob, settings: Settings, token: string, signal: AbortSignal): Promise<Saved> {
  const query = new URLSearchParams({
    strength: String(settings.strength),
    "color-blend": String(settings.colorBlend),
    "keep-exposure": String(settings.keepExposure),
  });
  if (settings.model) query.set("model", settings.model);
  const response = await send(`v1/dehaze?${query}`, file, token, "image/*", signal);
  const suffix = /filename="dehazed(\.\w+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "";
  return { blob: await response.blob(), suffix };
}

export async function asPng(file: Blob, token: string): Promise<ArrayBuffer> {
  return (await send("v1/dehaze?strength=0&format=png", file, token, "image/*")).arrayBuffer();
}
