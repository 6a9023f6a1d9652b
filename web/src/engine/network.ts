// The network of the default in onnxruntime-web, whichever build of it is given.
import type * as Ort from "onnxruntime-web";
import type { Network } from "../core/field";

/** Make the network ready; `providers` are tried in order. */
export async function openNetwork(ort: typeof Ort, model: Uint8Array, providers: string[]): Promise<Network> {
  const session = await ort.InferenceSession.create(model, {
    executionProviders: providers,
    graphOptimizationLevel: "all",
    enableCpuMemArena: false, // shapes vary, and the arena would keep the largest of each
  });
  return async (view, rows, columns) => {
    const said = await session.run({ view: new ort.Tensor("float32", view, [1, 3, rows, columns]) });
    const data = (name: string) => said[name].data as Float32Array;
    const [, , height, width] = said["transmission"].dims;
    return {
      rows: height,
      columns: width,
      transmission: data("transmission"),
      airlight: data("airlight"),
      confidence: data("confidence"),
      gain: data("gain")[0],
    };
  };
}
