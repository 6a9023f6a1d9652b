// The default in this browser. The engine and the network lie beside the page, and nothing goes anywhere else.
import type * as Ort from "onnxruntime-web";
import type { Network } from "../core/field";
import { PictureError } from "../files/picture";
import { chooseBuild } from "./choice";
import { openNetwork } from "./network";

let opened: Promise<Network> | null = null;
let engine = "";

/** The network, loaded once. */
export function openLocal(): Promise<Network> {
  opened ??= load().catch((error: unknown) => {
    opened = null; // the next picture tries again
    throw error instanceof PictureError ? error : new PictureError("no-engine");
  });
  return opened;
}

export function localEngine(): string {
  return engine;
}

async function load(): Promise<Network> {
  const build = await chooseBuild();
  const name = build === "jspi" ? "ort-wasm-simd-threaded.jspi" : "ort-wasm-simd-threaded";
  const [ort, wasmBinary, model] = await Promise.all([
    import(/* @vite-ignore */ new URL(`engine/ort.${build}.min.mjs`, self.location.href).href) as Promise<typeof Ort>,
    download(`engine/${name}.wasm.gz`),
    download("field-m.onnx"),
  ]);
  ort.env.wasm.wasmPaths = { mjs: new URL(`engine/${name}.mjs`, self.location.href).href };
  ort.env.wasm.wasmBinary = wasmBinary.buffer as ArrayBuffer;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
  if (build === "jspi") {
    try {
      const network = await openNetwork(ort, model, ["webgpu"]);
      await network(new Float32Array(3 * 32 * 32).fill(0.5), 32, 32);
      engine = "WebGPU";
      return network;
    } catch { /* a driver that cannot; the processor can */ }
  }
  engine = self.crossOriginIsolated ? "WebAssembly, threads" : "WebAssembly";
  return openNetwork(ort, model, ["wasm"]);
}

/** A file beside the page; those that end in .gz are unpacked here, so that any web space will do. */
async function download(name: string): Promise<Uint8Array> {
  const address = new URL(name, self.location.href);
  const kept = "caches" in self ? await caches.match(address).catch(() => undefined) : undefined; // by the service worker
  const response = kept ?? (await fetch(address));
  if (!response.ok || !response.body) throw new PictureError("no-engine");
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // the web space has unpacked it on its own
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
