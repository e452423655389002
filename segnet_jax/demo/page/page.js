// The page: takes pictures from wherever they come, has them segmented one after the other, and shows one of them.

import { setUpCamera } from "./camera.js";
import { hideResult, setUpResult, showResult } from "./result.js";
import { describeNetwork, segment } from "./server.js";

const byId = (id) => document.getElementById(id);
const pictures = []; // { name, file, uncertainty, state: "waits", "works", "done" or "failed", found, error, button }
let network = null;
let chosen = null;
let isWorking = false;

async function start() {
  try {
    network = await describeNetwork();
  } catch (error) {
    return fail(error.message);
  }
  byId("about").textContent = `${network.network}, trained on ${network.dataset}: ${network.classes.length} classes`;
  byId("limits").textContent =
    `PNG, JPEG, TIFF, BMP or WebP, of ${network.max_bytes / 1e6} MB and ${network.max_pixels / 1e6} million pixels ` +
    "at most. They stay on the machine that serves this page.";
  byId("with-uncertainty").hidden = !network.samples;
  byId("with-uncertainty").querySelector("span").textContent = `Uncertainty too, of ${network.samples} passes`;
  setUpResult(network);
  setUpCamera((file) => add([file], () => `camera ${pictures.length + 1}`), fail);
  showExamples();

  byId("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("give").classList.add("over");
  });
  document.addEventListener("dragleave", () => byId("give").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("give").classList.remove("over");
    add([...event.dataTransfer.files]);
  });
}

function showExamples() {
  network.examples.forEach((name, index) => {
    const image = document.createElement("img");
    image.src = `examples/${name}`;
    image.alt = `Example ${index + 1}, a drawn street`;
    const button = document.createElement("button");
    button.type = "button";
    button.append(image);
    button.addEventListener("click", async () => {
      const response = await fetch(image.src).catch(() => null);
      if (response?.ok) add([await response.blob()], () => `example ${index + 1}`);
      else fail("The server does not answer; look whether it still runs.");
    });
    byId("examples").append(button);
  });
}

function add(files, nameOf = (file) => file.name) {
  if (!files.length) return;
  byId("error").hidden = true;
  const added = files.map((file) => makePicture(nameOf(file), file));
  pictures.push(...added);
  byId("pictures").append(...added.map((picture) => picture.button));
  byId("pictures").hidden = pictures.length < 2;
  choose(added[0]);
  work();
}

function makePicture(name, file) {
  const button = document.createElement("button");
  button.type = "button";
  const picture = { name, file, uncertainty: byId("uncertainty").checked, state: "waits", button };
  button.title = name;
  button.append(document.createElement("i"), name);
  button.addEventListener("click", () => {
    byId("error").hidden = true;
    choose(picture);
  });
  return picture;
}

function choose(picture) {
  chosen?.button.removeAttribute("aria-current");
  chosen = picture;
  picture.button.setAttribute("aria-current", "true");
  picture.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (picture.state === "done") showResult(picture.name, picture.found, network);
  else if (picture.state === "failed") {
    hideResult();
    fail(`${picture.name}: ${picture.error}`);
  }
}

// Segments what waits, one after the other: the network takes no two at a time.
async function work() {
  if (isWorking) return;
  isWorking = true;
  for (let picture; (picture = pictures.find(({ state }) => state === "waits")); ) {
    picture.state = "works";
    const waiting = pictures.filter(({ state }) => state === "waits").length;
    byId("status").textContent = `Segmenting ${picture.name}` + (waiting ? `, ${waiting} more to come …` : " …");
    try {
      picture.found = await segment(picture.file, picture.uncertainty, network);
      picture.state = "done";
      const image = document.createElement("img");
      image.alt = "";
      image.src = URL.createObjectURL(picture.found.mask);
      picture.button.firstChild.replaceWith(image);
    } catch (error) {
      picture.state = "failed";
      picture.error = error.message;
      picture.button.classList.add("failed");
      fail(`${picture.name}: ${picture.error}`);
    }
    picture.file = null;
    if (picture === chosen) choose(picture);
  }
  isWorking = false;
  const done = pictures.filter(({ state }) => state === "done").length;
  byId("status").textContent = `${done} of ${pictures.length} pictures segmented.`;
}

function fail(sentence) {
  byId("error").textContent = sentence;
  byId("error").hidden = false;
}

start();
