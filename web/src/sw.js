// Keeps the whole page, so that it works without a network after the first visit. FILES is filled in by the build.
const NAME = "unhaze-VERSION";
const FILES = [];
const BUILD = new URL(self.location.href).searchParams.get("build") ?? "wasm";
// of the two builds of the engine only the one that this browser uses
const isOfBuild = (name) => !name.startsWith("engine/") || name.includes("jspi") === (BUILD === "jspi");

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(NAME).then((cache) => cache.addAll(FILES.filter(isOfBuild))).then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  const forget = async () => {
    for (const name of await caches.keys()) if (name.startsWith("unhaze-") && name !== NAME) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(forget());
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== self.location.origin) return;
  const answer = async () => {
    const cache = await caches.open(NAME);
    const kept = await cache.match(event.request, { ignoreSearch: true });
    return kept ?? fetch(event.request);
  };
  event.respondWith(answer());
});
