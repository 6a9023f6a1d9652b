// Which build of onnxruntime-web this browser gets. The page and its worker ask the same question.

export type Build = "wasm" | "jspi"; // the second also has WebGPU

export async function chooseBuild(): Promise<Build> {
  if (!("Suspending" in WebAssembly)) return "wasm";
  try {
    const gpu = (navigator as { gpu?: { requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean } } | null> } }).gpu;
    const adapter = await gpu?.requestAdapter();
    return adapter && !adapter.info?.isFallbackAdapter ? "jspi" : "wasm"; // without hardware WebAssembly is quicker
  } catch {
    return "wasm";
  }
}
