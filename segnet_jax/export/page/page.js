// The page: takes a picture, the camera or a video, has it segmented in the background, and shows the result.

import { hasCamera, setUpLive } from "./live.js";
import { startNetwork } from "./network.js";
import { hideOverlay, setUpOverlay, showOverlay } from "./overlay.js";
import { encodeMask } from "./png.js";

const byId = (id) => document.getElementById(id);
// What the network sees of a picture at most, in million pixels, where training had no size of its own.
const DETAILS = [0.05, 0.1, 0.25, 0.5, 1];
const USUAL_DETAIL = 0.25;
const processor = new URLSearchParams(location.search).has("processor");

let network = null;
let live = null;
let picture = null; // { name, file } that is shown or waits to be
let result = null; // the mask that can be downloaded
let request = 0;

async function start() {
  listen();
  await keepOffline();
  try {
    network = await startNetwork(processor, say);
  } catch (error) {
    say("");
    return fail(error.message);
  }
  const { description } = network;
  byId("about").textContent =
    `${description.network}, trained on ${description.dataset}: ${description.classes.length} classes`;
  tellWhereItRuns();
  setUpOverlay(description.classes, [byId("overlay")]);
  offerDetails();
  offerExamples();
  live = setUpLive({ segment, show, say, fail });
  say("Ready.");
  if (picture) showPicture(); // given while the network was loading
}

function listen() {
  byId("file").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("give").classList.add("over");
  });
  document.addEventListener("dragleave", () => byId("give").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("give").classList.remove("over");
    take(event.dataTransfer.files);
  });
  byId("camera").disabled = !hasCamera();
  byId("camera").title = hasCamera() ? "" : "Browsers offer the camera to pages of https:// and localhost alone";
  byId("camera").addEventListener("click", () => {
    clear();
    if (live) live.openCamera();
    else fail("The network is still being loaded; try again in a moment.");
  });
  byId("detail").addEventListener("change", () => (picture ? showPicture() : live?.refresh()));
  byId("download").addEventListener("click", download);
}

function take(files) {
  if (files.length) takeFile(files[0], files[0].name);
}

function takeFile(file, name) {
  clear();
  picture = { name, file };
  if (network) showPicture();
}

// Forgets the picture or video before.
function clear() {
  request++;
  picture = null;
  byId("error").hidden = true;
  live?.close();
}

async function showPicture() {
  const { name, file } = picture;
  const mine = ++request;
  if (file.type.startsWith("video/")) {
    picture = null;
    return live.openVideo(file, name);
  }
  say(`Segmenting ${name} …`);
  try {
    const found = await segment(file);
    if (mine !== request) return; // another picture was given meanwhile
    show(name, found);
    say(`${name} is segmented.`);
  } catch (error) {
    if (mine !== request) return;
    hideOverlay();
    byId("result").hidden = true;
    say("");
    fail(`${name}: ${error.message}`);
  }
}

// Has a Blob or an ImageBitmap segmented at the detail that is chosen.
function segment(source) {
  return network.segment(source, byId("detail").value === "training" ? null : 1e6 * byId("detail").value);
}

// Shows what was found. Of the camera or a video the `rate` is known, and its next frame is the `same` picture.
function show(name, found, rate = "", same = false) {
  const { width, height, seen, seconds, image } = found;
  const context = byId("overlay-input").getContext("2d");
  context.canvas.width = width;
  context.canvas.height = height;
  context.drawImage(image, 0, 0);
  image.close();
  const [seenHeight, seenWidth] = seen;
  const how = height === seenHeight && width === seenWidth ? "" : `, seen at ${seenWidth} × ${seenHeight}`;
  byId("name").textContent = name;
  byId("facts").textContent = `${width} × ${height} pixels${how}; segmented in ${seconds.toFixed(2)} s${rate}`;
  byId("overlay").setAttribute("aria-label", `${name} with the colours of the classes`);
  byId("result").hidden = false;
  showOverlay(found, same);
  result = { name, ...found };
}

async function download() {
  const { name, labels, width, height } = result;
  const url = URL.createObjectURL(await encodeMask(labels, width, height, network.description.classes));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name.replace(/\.\w+$/, "")}_mask.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function offerDetails() {
  const { image_size: size } = network.description;
  const options = DETAILS.map((millions) => new Option(`up to ${millions} million pixels`, millions));
  options.push(new Option("all pixels of the picture", Infinity));
  if (size.length) options.unshift(new Option("as in training", "training"));
  byId("detail").append(...options);
  byId("detail").value = size.length ? "training" : USUAL_DETAIL;
}

function offerExamples() {
  network.description.examples.forEach((path, index) => {
    const image = document.createElement("img");
    image.src = path;
    image.alt = `Example ${index + 1}, a drawn street`;
    const button = document.createElement("button");
    button.type = "button";
    button.append(image);
    button.addEventListener("click", async () => {
      const response = await fetch(path).catch(() => null);
      if (response?.ok) takeFile(await response.blob(), `example ${index + 1}`);
      else fail(`${path} cannot be loaded; look whether the site is still there.`);
    });
    byId("examples").append(button);
  });
}

function tellWhereItRuns() {
  const { runs, threads, trouble, description } = network;
  const line = byId("runs-on");
  line.dataset.runs = runs;
  line.dataset.threads = threads;
  line.append(`onnxruntime-web ${description.runtime_version} (MIT License) `);
  if (runs === "webgpu") {
    line.append("runs the network on the graphics card (WebGPU). ");
    line.append(Object.assign(document.createElement("a"), { href: "?processor", textContent: "Use the processor." }));
    return;
  }
  const cores = threads > 1 ? `${threads} threads` : "one thread";
  line.append(`runs the network on the processor (WebAssembly, ${cores}). `);
  if (processor) {
    line.append(Object.assign(document.createElement("a"), { href: "?", textContent: "Use the graphics card." }), " ");
  } else {
    line.append(`${trouble} `);
  }
  if (crossOriginIsolated || navigator.hardwareConcurrency === 1) return;
  const controlled = Boolean(navigator.serviceWorker?.controller);
  line.append(
    controlled
      ? "Load the page again to use several threads, which is faster."
      : "It is faster with several threads, for which the site has to send the headers Cross-Origin-Opener-Policy: " +
          "same-origin and Cross-Origin-Embedder-Policy: require-corp.",
  );
}

// Has the browser keep the page, so that it works without its site from now on.
async function keepOffline() {
  // Only pages of https:// and localhost have it.
  if (!navigator.serviceWorker) return;
  try {
    const { installing, waiting, active } = await navigator.serviceWorker.register("offline.js");
    const keeper = installing ?? waiting ?? active;
    // Until then nothing is kept of what the page loads.
    while (!["activated", "redundant"].includes(keeper.state)) {
      await new Promise((resolve) => keeper.addEventListener("statechange", resolve, { once: true }));
    }
  } catch (error) {
    console.warn(`The page is not kept for use without its site (${error.message}).`);
  }
}

function say(sentence) {
  byId("status").textContent = sentence;
}

function fail(sentence) {
  byId("error").textContent = sentence;
  byId("error").hidden = false;
}

start();
