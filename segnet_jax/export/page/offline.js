// The service worker: keeps what the page loads, so that it works without its site, and makes the page isolated, so
// that its network may use several threads, whatever headers the site sends.

const kept = `segnet_jax ${registration.scope}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const { page } = await (await fetch("network.json")).json();
      await (await caches.open(kept)).addAll(["./", ...page]);
      await self.skipWaiting();
    })(),
  );
});

// Before this the page waits, so that the network that it then loads is kept too.
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event));
});

// What the site has comes first, so that a new network replaces the old one.
async function answer(event) {
  const cache = await caches.open(kept);
  const url = event.request.url.split(/[?#]/)[0];
  if (!(await ownFiles(cache)).includes(url)) return fetch(event.request); // of another page below this one
  let response = await fetch(event.request).catch(() => null);
  if (response?.ok) event.waitUntil(cache.put(url, response.clone()));
  else response = (await cache.match(url)) ?? response ?? Response.error();
  if (response.type === "error") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

async function ownFiles(cache) {
  const { page, sizes } = (await (await cache.match("network.json"))?.json()) ?? { page: [], sizes: {} };
  return ["./", ...page, ...Object.keys(sizes)].map((path) => new URL(path, registration.scope).href);
}
