// What the tests use the page of: a real service, and a folder of files on a server that knows nothing.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

export const ROOT = join(import.meta.dirname, "../..");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const ENVIRONMENT = { ...process.env, PYTHONPATH: join(ROOT, "src"), NO_COLOR: "1" };

export interface Site {
  url: string;
  asked: string[];
  bytes: () => number;
  close: () => void;
}

export function makePictures(): string {
  const folder = mkdtempSync(join(tmpdir(), "unhaze-page-"));
  const made = spawnSync(PYTHON, [join(import.meta.dirname, "pictures.py"), folder], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(made.stderr);
  return folder;
}

export function startService(token = ""): Promise<Site> {
  const process = spawn(PYTHON, ["-m", "unhaze", "serve", "--port", "0"], {
    env: token ? { ...ENVIRONMENT, UNHAZE_TOKEN: token } : ENVIRONMENT,
    cwd: tmpdir(),
  });
  return new Promise((resolve, reject) => {
    let text = "";
    process.stderr.on("data", (data: Buffer) => {
      text += data.toString();
      const url = /Serving at (http:\S+)/.exec(text)?.[1];
      if (url) resolve({ url, asked: [], bytes: () => 0, close: () => void process.kill() });
    });
    process.once("exit", () => reject(new Error(text)));
  });
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

/** Serves a folder and packs nothing, as the simplest web space does. */
export async function startStatic(folder = join(ROOT, "build/page"), isolated = false): Promise<Site> {
  const asked: string[] = [];
  let sent = 0;
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://a").pathname));
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    asked.push(`${request.method} ${path}`);
    if (!file.startsWith(folder) || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    const headers: Record<string, string> = { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" };
    if (isolated) {
      headers["Cross-Origin-Opener-Policy"] = "same-origin";
      headers["Cross-Origin-Embedder-Policy"] = "require-corp";
    }
    const data = readFileSync(file);
    sent += data.length;
    response.writeHead(200, headers).end(data);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    asked,
    bytes: () => sent,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
