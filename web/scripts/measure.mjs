// How long the page without a server takes: node scripts/measure.mjs [FOLDER] (after make web). Prints JSON.
// A 1080p JPEG is made in the browser; times are from choosing it to the restored preview, and to the file.
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { chromium } from "@playwright/test";

const folder = process.argv[2] ?? join(import.meta.dirname, "../../build/page");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
let sent = 0;
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://a");
  const file = join(folder, pathname === "/" ? "index.html" : pathname);
  if (!existsSync(file)) return response.writeHead(404).end();
  const data = readFileSync(file);
  sent += data.length;
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    ...(process.env.THREADS && { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" }),
  }).end(data);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
const told = { milliseconds: {} };
const ready = (count) => page.waitForFunction((wanted) => document.querySelectorAll("#list li").length === wanted
  && !document.querySelector("#download").disabled && /Done|clear/.test(document.querySelector("#status").textContent), count);
const time = async (name, work) => {
  const started = performance.now();
  await work();
  told.milliseconds[name] = Math.round(performance.now() - started);
};
await page.goto(`http://127.0.0.1:${server.address().port}/`);
const picture = Buffer.from(await page.evaluate(async () => {
  const canvas = new OffscreenCanvas(1920, 1080);
  const context = canvas.getContext("2d");
  for (let y = 0; y < 1080; y += 20) {
    for (let x = 0; x < 1920; x += 20) {
      const value = (x * 7 + y * 13) % 120;
      context.fillStyle = `rgb(${100 + value} ${110 + value / 2} ${150 + value / 3})`;
      context.fillRect(x, y, 20, 20);
    }
  }
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return Array.from(new Uint8Array(await blob.arrayBuffer()));
}));
const choose = (name) => page.locator("#file").setInputFiles([{ name, mimeType: "image/jpeg", buffer: picture }]);
await time("first picture, loading included", async () => {
  await choose("0.jpg");
  await ready(1);
});
told.bytes = sent;
for (const n of [1, 2, 3]) {
  await time(`1080p, preview ${n}`, async () => {
    await choose(`${n}.jpg`);
    await ready(n + 1);
  });
}
await time("1080p, file", () => Promise.all([page.waitForEvent("download"), page.locator("#download").click()]));
await ready(4);
await page.locator("#strength").focus();
const again = [];
for (let i = 0; i < 10; i++) {
  await page.locator("#after").evaluate((each) => delete each.dataset.ms);
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(() => document.querySelector("#after").dataset.ms);
  again.push(Number(await page.locator("#after").getAttribute("data-ms")));
}
told.milliseconds["slider, 1080p, in the worker, sorted"] = again.map(Math.round).sort((a, b) => a - b);
told.engine = await page.evaluate(() => document.documentElement.dataset.engine);
console.log(JSON.stringify(told, null, 1));
await browser.close();
server.close();
