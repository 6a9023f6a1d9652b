// Uses the page of a service in Chromium as a person does, over its debugging protocol: node page.mjs URL PICTURE FOLDER
// Prints what it saw as JSON.
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

const [, , url, picture, folder] = process.argv;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const chrome = spawn("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
  `--user-data-dir=${folder}/profile`, "--window-size=1000,800", "about:blank"], { stdio: "ignore" });
const until = async (ask) => {
  for (;;) {
    try {
      const found = await ask();
      if (found) return found;
    } catch { /* not yet */ }
    await pause(50);
  }
};
const port = await until(() => readFileSync(`${folder}/profile/DevToolsActivePort`, "utf8").split("\n")[0]);
const target = await until(async () =>
  (await (await fetch(`http://127.0.0.1:${port}/json`)).json()).find((each) => each.type === "page"));
const socket = new WebSocket(target.webSocketDebuggerUrl);
await new Promise((done) => { socket.onopen = done; });
const waiting = new Map();
const faults = [], asked = [];
let count = 0;
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) waiting.get(message.id)(message.result);
  else if (message.method === "Runtime.exceptionThrown" || message.method === "Log.entryAdded") faults.push(message.params);
  else if (message.method === "Network.requestWillBeSent") asked.push(message.params.request.url);
};
const send = (method, params = {}) => new Promise((done) => {
  waiting.set(++count, done);
  socket.send(JSON.stringify({ id: count, method, params }));
});
const evaluate = async (expression) =>
  (await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true })).result.value;
const press = async (key, code) => {
  for (const type of ["keyDown", "keyUp"]) await send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: code });
};

for (const part of ["Runtime", "Log", "Page", "DOM", "Network"]) await send(`${part}.enable`);
await send("Page.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
await send("Page.navigate", { url });
await until(() => evaluate("document.getElementById('model').options.length > 0"));
const models = await evaluate("[...document.getElementById('model').options].map((each) => each.value)");
const { root } = await send("DOM.getDocument");
const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "#file" });
await send("DOM.setFileInputFiles", { nodeId, files: [picture] });
await until(() => evaluate("!document.getElementById('compare').hidden && document.getElementById('after').naturalWidth > 0"));
const said = await evaluate("document.getElementById('status').textContent");
await evaluate("document.getElementById('split').focus()");
for (let step = 0; step < 20; step++) await press("ArrowLeft", 37);
const split = await evaluate("document.getElementById('compare').style.getPropertyValue('--split')");
const first = await evaluate("document.getElementById('after').src");
await evaluate("document.getElementById('strength').focus()");
await press("Home", 36);
await until(async () => (await evaluate("document.getElementById('after').src")) !== first);
const { x, y } = await evaluate("(({x, y, width, height}) => ({x: x + width / 2, y: y + height / 2}))"
  + "(document.getElementById('download').getBoundingClientRect())");
for (const type of ["mousePressed", "mouseReleased"]) {
  await send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
}
const saved = await until(() => readdirSync(folder).find((name) => name.includes("-dehazed.") && !name.endsWith("download")));
console.log(JSON.stringify({ models, said, split, saved, faults, asked }));
socket.close();
chrome.once("exit", () => process.exit(0));
chrome.kill();
