// Builds the page: for the service into src/unhaze/web/page, and without a server into build/page.
// node scripts/build.mjs [service|static] [FOLDER]
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { build } from "vite";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
  + "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'";

const { code } = await transform(readFileSync(join(root, "src/strings.ts"), "utf8"), { loader: "ts", format: "esm" });
const { ENGLISH } = await import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);

/** English words stand in the page from the start, so that nothing moves when the script comes. */
function prefill(html) {
  return html
    .replace(/data-text="([\w-]+)"([^>]*)>(?=<)/g, (whole, key) => `${whole}${ENGLISH[key]}`)
    .replace(/data-name="([\w-]+)"/g, (whole, key) => `${whole} aria-label="${ENGLISH[key]}"`);
}

async function buildPage(mode, folder) {
  const isService = mode === "service";
  await build({
    root,
    base: "./",
    configFile: false,
    logLevel: "warn",
    define: { __SERVICE__: JSON.stringify(isService) },
    plugins: [{
      name: "words and policy",
      transformIndexHtml: {
        order: "post",
        handler: (html) => {
          const page = prefill(html).replaceAll('="./', '="');
          const policy = `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`;
          return isService ? page : page.replace('<meta charset="utf-8">', `<meta charset="utf-8">\n${policy}`);
        },
      },
    }],
    worker: { format: "es", rollupOptions: { output: { entryFileNames: "worker.js", inlineDynamicImports: true } } },
    build: {
      outDir: folder,
      emptyOutDir: false,
      target: "es2023",
      assetsInlineLimit: 0,
      modulePreload: false,
      rollupOptions: { output: { entryFileNames: "page.js", assetFileNames: "page[extname]" } },
    },
  });
}

function files(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => relative(folder, join(each.parentPath, each.name)).replaceAll("\\", "/"))
    .sort();
}

async function buildStatic(folder) {
  rmSync(folder, { recursive: true, force: true });
  await buildPage("static", folder);
  const engine = join(root, "node_modules/onnxruntime-web/dist");
  mkdirSync(join(folder, "engine"), { recursive: true });
  for (const name of ["ort.wasm.min.mjs", "ort.jspi.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.jspi.mjs"]) {
    cpSync(join(engine, name), join(folder, "engine", name));
  }
  for (const name of ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.jspi"]) {
    // packed here, because many web spaces do not pack what they send
    writeFileSync(join(folder, "engine", `${name}.wasm.gz`), gzipSync(readFileSync(join(engine, `${name}.wasm`)), { level: 9 }));
  }
  cpSync(join(root, "../src/unhaze/default/field-m.onnx"), join(folder, "field-m.onnx"));
  const kept = files(folder);
  const hash = createHash("sha256");
  for (const name of kept) hash.update(name).update(readFileSync(join(folder, name)));
  const worker = readFileSync(join(root, "src/sw.js"), "utf8")
    .replace("unhaze-VERSION", `unhaze-${hash.digest("hex").slice(0, 16)}`)
    .replace("const FILES = [];", `const FILES = ${JSON.stringify(["./", ...kept.filter((name) => name !== "index.html")])};`);
  writeFileSync(join(folder, "sw.js"), worker);
}

/** Say what the committed files were made of, so that a test without node knows whether they are up to date. */
function writeRecord(folder) {
  const named = ["index.html", "package-lock.json", "scripts/build.mjs"];
  const digest = createHash("sha256");
  const listed = [...named, ...["public", "src"].flatMap((name) => files(join(root, name)).map((file) => `${name}/${file}`))];
  for (const name of listed.sort()) digest.update(name).update(readFileSync(join(root, name)));
  const hash = (data) => createHash("sha256").update(data).digest("hex");
  const made = Object.fromEntries(files(folder).map((name) => [name, hash(readFileSync(join(folder, name)))]));
  writeFileSync(join(root, "built.json"), `${JSON.stringify({ sources: digest.digest("hex"), files: made }, null, 1)}\n`);
}

const [, , only, to] = process.argv;
const shipped = join(root, "../src/unhaze/web/page");
if (only !== "static") {
  if (!to) rmSync(shipped, { recursive: true, force: true });
  await buildPage("service", to ?? shipped);
  if (!to) writeRecord(shipped);
}
if (only !== "service") await buildStatic(to ?? join(root, "../build/page"));
