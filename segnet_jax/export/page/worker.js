// The worker: loads the network into onnxruntime-web and segments what it is given, one picture after the other.

import { labelsOf, networkSize, resizeImage } from "./resample.js";

const MAX_PIXELS = 50e6; // of a picture: browsers hold four bytes for each, several times

let description = null;
let ort = null;
let session = null;
let queue = Promise.resolve();

self.addEventListener("message", ({ data }) => {
  queue = queue.then(async () => {
    try {
      const [answer, transfer] = "source" in data ? await segment(data) : [await start(data.processor), []];
      self.postMessage(answer, transfer);
    } catch (error) {
      self.postMessage({ error: error.message });
    }
  });
});

async function start(processor) {
  description = JSON.parse(new TextDecoder().decode(await load("network.json")));
  const model = await load("model.onnx", "the network");
  let trouble = "";
  if (!processor) {
    trouble = await troubleWithGraphicsCard();
    if (!trouble) {
      try {
        await open("webgpu", model, 1);
        return { description, runs: "webgpu", threads: 1, trouble };
      } catch (error) {
        console.warn(error);
        trouble = `The network does not run on the graphics card (${firstLine(error)}).`;
      }
    }
  }
  // Threads need memory that they share, which isolated pages alone have.
  const threads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  try {
    await open("wasm", model, threads);
  } catch (error) {
    const reason = firstLine(error);
    throw new Error(`The network cannot be started (${reason}); load the page again, or try a newer browser.`);
  }
  return { description, runs: "wasm", threads, trouble };
}

async function troubleWithGraphicsCard() {
  if (!navigator.gpu) return "This browser has no WebGPU; one that has it may be faster.";
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  return adapter ? "" : "WebGPU finds no graphics card here.";
}

async function open(provider, model, threads) {
  const module = await import(`./runtime/${description.runtime[provider].script}`);
  module.env.wasm.numThreads = threads;
  module.env.wasm.wasmBinary = await load(`runtime/${description.runtime[provider].binary}`, "the runtime");
  self.postMessage({ progress: "Starting the network …" });
  const opened = await module.InferenceSession.create(model, {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors
  });
  [ort, session] = [module, opened];
  // What is to fail fails here, and the first picture is not slower than the others.
  const side = Math.max(64, description.smallest);
  await logits(new Uint8Array(side * side * 3), side, side);
}

// Returns a file's bytes; the progress of a large one is told.
async function load(path, what) {
  const size = description?.sizes[path];
  let bytes;
  try {
    const response = await fetch(new URL(path, import.meta.url));
    if (!response.ok) throw new Error(`status ${response.status}`);
    if (!size) return new Uint8Array(await response.arrayBuffer());
    bytes = new Uint8Array(size);
    let [received, told] = [0, -10];
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes.set(value, received);
      received += value.length;
      const percent = Math.floor((100 * received) / size);
      if (percent < told + 10) continue;
      told = percent;
      self.postMessage({ progress: `Loading ${what}: ${percent} % of ${(size / 1e6).toFixed(1)} MB` });
    }
    if (received !== size) throw new Error(`${received} of ${size} bytes`);
  } catch (error) {
    throw new Error(`${path} cannot be loaded (${error.message}); look whether the site is whole, and try again.`);
  }
  return bytes;
}

async function logits(pixels, height, width) {
  const { logits: found } = await session.run({ images: new ort.Tensor("uint8", pixels, [1, height, width, 3]) });
  const values = await found.getData();
  found.dispose();
  return values;
}

async function segment({ source, pixels }) {
  const image = source instanceof Blob ? await decode(source) : source;
  const { width, height } = image;
  if (width * height > MAX_PIXELS) {
    const most = `${MAX_PIXELS / 1e6} million`;
    throw new Error(`The picture has ${width} × ${height} pixels, and this page takes ${most}; make it smaller.`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const start = performance.now();
  const seen = networkSize(height, width, description, pixels);
  const classes = description.classes.length;
  let labels;
  try {
    const small = resizeImage(data, height, width, ...seen);
    labels = labelsOf(await logits(small, ...seen), ...seen, height, width, classes);
  } catch (error) {
    throw new Error(`It cannot be segmented (${firstLine(error)}); choose less detail, or load the page again.`);
  }
  const seconds = (performance.now() - start) / 1000;
  const counts = new Array(classes).fill(0);
  for (const label of labels) counts[label]++;
  const shares = counts.map((count) => count / labels.length);
  return [{ labels, width, height, shares, seen, seconds, image }, [labels.buffer, image]];
}

async function decode(blob) {
  try {
    // As files have the values: the network was trained on these.
    return await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(
      "The file is no picture or video that this browser can read; give a PNG, JPEG or WebP picture, or an MP4 or " +
        "WebM video.",
    );
  }
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0];
}
