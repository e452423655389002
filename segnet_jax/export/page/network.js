// The network, which runs in a worker of its own, so that the page answers while it computes.

// Starts it on the graphics card, if there is one and the `processor` is not asked for; tells `say` how far it is.
// Returns { description, runs: "webgpu" or "wasm", threads, trouble: why not the graphics card, segment }, or throws an
// Error with a sentence for the visitor.
export async function startNetwork(processor, say) {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  const waiting = []; // { resolve, reject } of each request; they are answered in their order

  worker.addEventListener("message", ({ data }) => {
    if (data.progress) return say(data.progress);
    const { resolve, reject } = waiting.shift();
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  });
  worker.addEventListener("error", ({ message }) => {
    const reason = message ? ` (${message})` : "";
    const sentence = `The network cannot run in this browser${reason}; load the page again, or try a newer browser.`;
    const error = new Error(sentence);
    for (const { reject } of waiting.splice(0)) reject(error);
  });

  function ask(message, transfer = []) {
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage(message, transfer);
    });
  }

  const started = await ask({ processor });
  return {
    ...started,
    // Segments a Blob or an ImageBitmap, which the network sees at the size of training (`pixels` is null) or at that
    // many pixels at most. Returns { labels, width, height, shares, seen: [height, width], seconds, image }.
    segment: (source, pixels) => ask({ source, pixels }, source instanceof ImageBitmap ? [source] : []),
  };
}
