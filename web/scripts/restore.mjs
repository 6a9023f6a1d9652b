// Restores raw pixels in node with the page's own code, for comparison with Python's: node restore.mjs JOB.json
// A job lists pictures: { data, width, height, channels, bits, icc?, out, look }; results are raw values. Prints JSON.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const bundled = await build({
  stdin: {
    contents: `export * from "./core/field"; export * from "./core/pixels"; export * from "./core/restore";
      export * from "./core/tone"; export * from "./engine/network";`,
    resolveDir: join(here, "../src"),
    loader: "ts",
  },
  bundle: true,
  write: false,
  format: "esm",
});
const core = await import(`data:text/javascript;base64,${Buffer.from(bundled.outputFiles[0].text).toString("base64")}`);
const ort = await import("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
const network = await core.openNetwork(ort, readFileSync(job.model), ["wasm"]);
const told = [];
for (const picture of job.pictures) {
  const bytes = readFileSync(picture.data);
  const data = picture.bits === 16 ? new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
    : new Uint8Array(bytes);
  const { width, height, channels } = picture;
  const pixels = { width, height, channels, data, alpha: null, white: 0 };
  pixels.white = core.findWhite(pixels);
  const curve = core.toneCurve(picture.icc ? new Uint8Array(readFileSync(picture.icc)) : null);
  const view = core.workingView(pixels);
  const started = performance.now();
  const field = await core.solveField(curve ? core.viewToSrgb(curve, view) : view, network);
  const solved = performance.now();
  const restorer = new core.Restorer(pixels, field, curve, true);
  const restored = restorer.restore(picture.look);
  const first = performance.now();
  const used = process.cpuUsage();
  const REPEATS = 4;
  for (let i = 1; i <= REPEATS; i++) restorer.restore({ ...picture.look, strength: picture.look.strength / (1 + i / 10) });
  const { user } = process.cpuUsage(used); // of the processor, however busy the machine is
  writeFileSync(picture.out, restored);
  told.push({
    density: field.density,
    airlight: field.meanAirlight,
    curved: curve !== null,
    facts: core.FACTS,
    ms: { solve: solved - started, first: first - solved, again: user / 1000 / REPEATS },
  });
}
console.log(JSON.stringify(told));
process.exit(0);
