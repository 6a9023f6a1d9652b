// The page: what is on it, and what happens when it is used.
import { Archive, resultName } from "./archive";
import { DEFAULT_LOOK } from "./core/restore";
import { chooseBuild } from "./engine/choice";
import { ask } from "./engine/service";
import "./page.css";
import type { Found, Settings, View } from "./protocol";
import { CallError, Remote } from "./rpc";
import { fill, type Key, LANGUAGES, pickLanguage } from "./strings";
import { Viewer } from "./viewer";

declare const __SERVICE__: boolean;

interface Item {
  file: File;
  state: "waiting" | "working" | "done" | "failed";
  reason: string;
}

function find<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}
const input = (id: string) => find<HTMLInputElement>(id);
const button = (id: string) => find<HTMLButtonElement>(id);
const select = (id: string) => find<HTMLSelectElement>(id);

const remote = new Remote(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
const canvases = [find<HTMLCanvasElement>("before"), find<HTMLCanvasElement>("after")] as const;
const viewer = new Viewer(find("compare"), find("sheet"), ...canvases, find("line"), input("split"));
const sliders = { strength: "strength", exposure: "keepExposure", colour: "colorBlend" } as const;

let language = pickLanguage(navigator.languages);
let items: Item[] = [];
let shown: Item | null = null;
let found: Found | null = null;
let turn = 0; // grows with each picture that is shown, so that late answers are known
let batching = false;
let cancelled = false;
let notes: string[] = [];
let said: { key: Key | null; detail: string; values: Record<string, string | number>; isError: boolean } | null = null;

const say = (key: Key, values: Record<string, string | number> = {}): string => fill(LANGUAGES[language][key], values);

function tell(key: Key, values: Record<string, string | number> = {}, isError = false): void {
  said = { key, detail: "", values, isError };
  repeat();
}

function repeat(): void {
  const status = find("status");
  const sentence = said?.key ? say(said.key, said.values) : (said?.detail ?? "");
  const more = said?.key === "ready" || said?.key === "clears" ? notes.map((note) => say(`note-${note}` as Key)) : [];
  status.textContent = [sentence, ...more].join(" ");
  status.classList.toggle("error", said?.isError ?? false);
}

function explain(error: unknown): string {
  if (!(error instanceof CallError)) return say("error-unexpected");
  if (error.code === "said") return error.detail;
  const key = `error-${error.code}`;
  return key in LANGUAGES.en ? say(key as Key) : say("error-unexpected");
}

function fail(error: unknown): void {
  const code = error instanceof CallError || (error as { code?: string }).code ? (error as CallError).code : "unexpected";
  if (code === "gone" || code === "stopped") return;
  if (code === "needs-token" || code === "wrong-token") find("token-row").hidden = false;
  if (code === "said") said = { key: null, detail: (error as CallError).detail, values: {}, isError: true };
  else {
    const key = `error-${code}`;
    said = { key: (key in LANGUAGES.en ? key : "error-unexpected") as Key, detail: "", values: {}, isError: true };
  }
  repeat();
}

function settings(): Settings {
  const value = (id: string) => Number(input(id).value);
  return {
    strength: value("strength"),
    keepExposure: value("exposure"),
    colorBlend: value("colour"),
    model: select("model").value,
  };
}

const token = (): string => input("token").value;

// ---- one picture -----------------------------------------------------------------------------------------------

async function show(item: Item): Promise<void> {
  const mine = ++turn;
  shown = item;
  found = null;
  list();
  tell("opening", { name: item.file.name });
  ready(false);
  try {
    const opened = await remote.call("open", { file: item.file, token: token() });
    if (mine !== turn) return;
    notes = opened.notes;
    find("drop").hidden = true;
    find("compare").hidden = false;
    viewer.open(opened.before);
    for (const id of ["zoom-in", "zoom-out", "zoom-fit"]) button(id).disabled = false;
    await solve(mine);
  } catch (error) {
    if (mine !== turn) return;
    if (item.state === "waiting") {
      item.state = "failed";
      item.reason = explain(error);
      list();
    }
    fail(error);
  }
}

/** Ends when the service worker has fetched all files, so that none of them is fetched twice. */
const kept = keepFiles();
let hasSolved = false;

async function keepFiles(): Promise<void> {
  if (__SERVICE__ || !("serviceWorker" in navigator) || !self.isSecureContext) return;
  try {
    const registration = await navigator.serviceWorker.register(`sw.js?build=${await chooseBuild()}`);
    const worker = registration.installing;
    if (!worker) return;
    await new Promise<void>((done) => {
      worker.addEventListener("statechange", () => {
        if (worker.state !== "installing") done();
      });
    });
  } catch { /* a private window, say: then files are fetched when they are needed */ }
}

async function solve(mine: number): Promise<void> {
  tell(__SERVICE__ || hasSolved ? "solving" : "loading");
  await kept;
  const seen = await remote.call("solve", { model: select("model").value, token: token() });
  if (mine !== turn) return;
  hasSolved = true;
  found = seen;
  report(seen);
  ready(true);
  await apply();
  if (mine === turn) tell(seen.looksClear ? "clears" : "ready");
}

function ready(is: boolean): void {
  button("download").disabled = select("view").disabled = !is;
}

/** A number with two decimals, as the language writes it. */
function inDigits(value: number): string {
  return value.toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

function report(seen: Found): void {
  find<HTMLMeterElement>("density").value = seen.density;
  const percent = (value: number) => value.toLocaleString(language, { style: "percent" });
  find("density-value").textContent = inDigits(seen.density);
  find("beyond-sight").textContent = percent(seen.beyondSight);
  find("confidence").textContent = percent(seen.confidence);
  const colour = seen.airlight.map((value) => Math.round(value * 255));
  find("airlight-value").textContent = `#${colour.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  const context = find<HTMLCanvasElement>("airlight").getContext("2d")!;
  context.fillStyle = find("airlight-value").textContent;
  context.fillRect(0, 0, 40, 16);
  document.documentElement.dataset["engine"] = seen.engine;
}

let isApplying = false;
let again = false;

/** Show the picture with the settings of now; while one is made, only the newest of those that follow waits. */
async function apply(): Promise<void> {
  if (!found) return;
  if (isApplying) {
    again = true;
    return;
  }
  isApplying = true;
  const mine = turn;
  try {
    do {
      again = false;
      const frame = await remote.call("apply", { settings: settings(), view: select("view").value as View });
      if (mine !== turn || !found) break;
      viewer.show(frame);
      canvases[1].dataset["ms"] = frame.ms.toFixed(1);
      canvases[1].dataset["shown"] = JSON.stringify(settings());
    } while (again);
  } catch (error) {
    if (mine === turn) fail(error);
  } finally {
    isApplying = false;
  }
  if (again || (mine !== turn && found)) await apply();
}

async function download(): Promise<void> {
  const item = shown;
  if (!item) return;
  button("download").disabled = true;
  tell("saving", { name: item.file.name });
  try {
    const { blob, suffix } = await remote.call("save", { file: item.file, settings: settings(), token: token() });
    hand(blob, resultName(item.file.name, suffix));
    tell("ready");
  } catch (error) {
    fail(error);
  } finally {
    button("download").disabled = shown === null;
  }
}

function hand(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ---- many pictures ---------------------------------------------------------------------------------------------

function take(files: Iterable<File>): void {
  const added = [...files].filter((file) => file.type.startsWith("image/") || /\.(tiff?|heic|heif|dng|avif)$/i.test(file.name));
  if (!added.length) {
    tell("error-no-pictures", {}, true);
    return;
  }
  const fresh = added.map((file): Item => ({ file, state: "waiting", reason: "" }));
  items.push(...fresh);
  list();
  if (!batching) void show(fresh[0]);
}

function list(): void {
  find("list").replaceChildren(
    ...items.map((item) => {
      const row = document.createElement("li");
      if (item === shown) row.setAttribute("aria-current", "true");
      const name = document.createElement("button");
      name.type = "button";
      name.textContent = item.file.name;
      name.title = item.file.name;
      name.setAttribute("aria-label", say("open", { name: item.file.name }));
      name.disabled = batching;
      name.addEventListener("click", () => void show(item));
      const state = document.createElement("span");
      state.className = "state";
      state.textContent = item.state === "waiting" && !batching ? "" : say(`state-${item.state}`);
      row.append(name, state);
      if (item.reason) {
        const reason = document.createElement("span");
        reason.className = "reason";
        reason.textContent = item.reason;
        row.append(reason);
      }
      return row;
    }),
  );
  button("download-all").disabled = button("clear").disabled = batching || !items.length;
  button("cancel").disabled = !batching;
}

/** Bring the first picture of a state into sight, by moving the list alone. */
function reveal(state: Item["state"]): void {
  const row = find("list").children[items.findIndex((item) => item.state === state)] as HTMLElement | undefined;
  if (row) find("list").scrollTop = row.offsetTop - find("list").offsetTop;
}

async function downloadAll(): Promise<void> {
  batching = true;
  cancelled = false;
  const archive = new Archive();
  const bar = find<HTMLProgressElement>("progress");
  const total = items.length;
  let done = 0;
  let failed = 0;
  for (const item of items) [item.state, item.reason] = ["waiting", ""];
  bar.hidden = false;
  bar.max = total;
  bar.value = 0;
  for (const item of items) {
    if (cancelled) break;
    item.state = "working";
    list();
    reveal("working");
    tell("progress", { done, total });
    try {
      const { blob, suffix } = await remote.call("save", { file: item.file, settings: settings(), token: token() });
      await archive.add(resultName(item.file.name, suffix), blob);
      item.state = "done";
      done++;
    } catch (error) {
      if (cancelled) item.state = "waiting";
      else {
        item.state = "failed";
        item.reason = explain(error);
        failed++;
      }
    }
    bar.value = done + failed;
  }
  batching = false;
  bar.hidden = true;
  list();
  reveal("failed");
  if (cancelled) tell("cancelled", { done, total });
  else tell(failed ? "batch-failed" : "batch-done", { done, failed }, failed > 0);
  if (done && !cancelled) hand(archive.end(), "dehazed.zip");
}

function clear(): void {
  turn++;
  items = [];
  shown = found = null;
  said = null;
  find("compare").hidden = true;
  find("drop").hidden = false;
  ready(false);
  for (const id of ["zoom-in", "zoom-out", "zoom-fit"]) button(id).disabled = true;
  list();
  repeat();
  input("file").focus();
}

// ---- the page itself -------------------------------------------------------------------------------------------

function translate(): void {
  document.documentElement.lang = language;
  for (const each of document.querySelectorAll<HTMLElement>("[data-text]")) each.textContent = say(each.dataset["text"] as Key);
  for (const each of document.querySelectorAll<HTMLElement>("[data-name]")) {
    each.setAttribute("aria-label", say(each.dataset["name"] as Key));
  }
  for (const each of document.querySelectorAll<HTMLElement>("[data-title]")) each.title = say(each.dataset["title"] as Key);
  find("where").textContent = say(__SERVICE__ ? "there" : "here");
  list();
  repeat();
  for (const id of Object.keys(sliders)) tellValue(id);
  if (found) report(found);
}

function reset(): void {
  for (const [id, name] of Object.entries(sliders)) {
    input(id).value = String(DEFAULT_LOOK[name]);
    tellValue(id);
  }
}

function tellValue(id: string): void {
  find(`${id}-value`).textContent = inDigits(Number(input(id).value));
}

async function loadModels(): Promise<void> {
  if (!__SERVICE__) {
    select("model").replaceChildren(new Option("field-m", "field-m", true, true));
    return;
  }
  try {
    const response = await ask("v1/models", token(), {}, "application/json");
    const { models } = (await response.json()) as { models: { name: string; summary: string; is_default: boolean }[] };
    select("model").replaceChildren(
      ...models.map(({ name, summary, is_default }) => {
        const option = new Option(name, name, is_default, is_default);
        option.title = summary;
        return option;
      }),
    );
  } catch (error) {
    fail(error);
  }
}

input("file").addEventListener("change", () => {
  take(input("file").files ?? []);
  input("file").value = "";
});
button("add").addEventListener("click", () => input("file").click());
button("clear").addEventListener("click", clear);
button("cancel").addEventListener("click", () => {
  cancelled = true;
  void remote.call("stop", {});
});
button("download").addEventListener("click", () => void download());
button("download-all").addEventListener("click", () => void downloadAll());
button("zoom-in").addEventListener("click", () => viewer.zoomBy(1.5));
button("zoom-out").addEventListener("click", () => viewer.zoomBy(1 / 1.5));
button("zoom-fit").addEventListener("click", () => viewer.fit());
button("reset").addEventListener("click", () => {
  reset();
  void apply();
});
select("view").addEventListener("change", () => void apply());
select("model").addEventListener("change", () => {
  if (shown && !batching) solve(++turn).catch(fail);
});
for (const id of Object.keys(sliders)) {
  input(id).addEventListener("input", () => {
    tellValue(id);
    void apply();
  });
}
find("controls").addEventListener("submit", async (event) => {
  event.preventDefault();
  said = null;
  repeat();
  await loadModels();
  if (shown) void show(shown);
});
const stage = find("stage");
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) stage.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  if (event.dataTransfer) take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const { target } = event;
  if (!(target instanceof HTMLInputElement && target.type === "password") && event.clipboardData) take(event.clipboardData.files);
});
select("language").replaceChildren(
  ...Object.entries(LANGUAGES).map(([code, strings]) => {
    const option = new Option(strings.language, code, false, code === language);
    option.lang = code;
    return option;
  }),
);
select("language").addEventListener("change", () => {
  language = select("language").value;
  translate();
});
reset();
translate();
void loadModels();
