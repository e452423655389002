// A picture under the colours of its classes, the legend, and the class under the pointer: of this page and of the one
// that `segnet_jax.export --format=web` writes.

const byId = (id) => document.getElementById(id);
const STEP = 0.02; // of the picture, for an arrow key

let classes = [];
let rows = []; // of the legend, by class: { item, button, percent, bar }
let shown = null; // { labels, width, height, only: the one class that is shown or null, at: [x, y] of the keyboard, 0 to 1 }
let pointer = null; // { picture, clientX, clientY } while it is over a picture

// Takes the classes, [{ name, color }], and the pictures of which each shows what the overlay does, at any size.
export function setUpOverlay(all, pictures) {
  classes = all;
  rows = classes.map((_, index) => makeRow(index));
  byId("legend").replaceChildren(...rows.map(({ item }) => item));
  const opacity = byId("opacity");
  const setOpacity = () => {
    byId("overlay-mask").style.opacity = opacity.value / 100;
    byId("opacity-value").textContent = `${opacity.value} %`;
  };
  opacity.addEventListener("input", setOpacity);
  setOpacity();
  for (const picture of pictures) {
    picture.addEventListener("pointermove", ({ clientX, clientY }) => {
      pointer = { picture, clientX, clientY };
      forgetKeyboard();
      pointAtPointer();
    });
    picture.addEventListener("pointerleave", () => {
      pointer = null;
      point(null);
    });
  }
  byId("overlay").addEventListener("keydown", probe);
  byId("overlay").addEventListener("blur", () => {
    forgetKeyboard();
    point(null);
  });
}

// Shows labels, one byte a pixel, and the share of each class. The next frame of a video is the `same` picture.
export function showOverlay({ labels, width, height, shares }, same = false) {
  const before = same && shown ? shown : { only: null, at: [0.5, 0.5] };
  shown = { ...before, labels, width, height };
  byId("overlay").style.maxWidth = `calc(75vh * ${width / height})`; // so that it is seen as a whole
  rows.forEach(({ button, percent, bar }, index) => {
    const share = shares[index];
    percent.textContent = share === 0 ? "–" : share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
    bar.style.backgroundImage = `linear-gradient(to right, rgb(${classes[index].color}) ${100 * share}%, transparent 0)`;
    bar.hidden = share === 0;
    button.classList.toggle("absent", share === 0);
  });
  if (!same) {
    const order = classes.map((_, index) => index).sort((a, b) => shares[b] - shares[a]);
    byId("legend").append(...order.map((index) => rows[index].item));
    showOnly(null);
  } else {
    drawMask();
  }
  if (pointer) pointAtPointer();
}

export function hideOverlay() {
  shown = null;
}

function drawMask() {
  const canvas = byId("overlay-mask");
  const { labels, width, height, only } = shown;
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  const palette = new Uint32Array(
    new Uint8Array(classes.flatMap(({ color }, index) => [...color, only === null || only === index ? 255 : 0])).buffer,
  );
  for (let i = 0; i < words.length; i++) words[i] = palette[labels[i]];
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function makeRow(index) {
  const [swatch, name, percent, bar] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
  swatch.className = "swatch";
  swatch.style.backgroundColor = `rgb(${classes[index].color})`;
  bar.className = "bar";
  name.textContent = nameOf(index);
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.index = index;
  button.title = "Show this class alone";
  button.append(swatch, name, percent, bar);
  button.addEventListener("click", () => showOnly(shown.only === index ? null : index));
  const item = document.createElement("li");
  item.append(button);
  return { item, button, percent, bar };
}

function nameOf(index) {
  return classes[index].name.replaceAll("_", " ");
}

function showOnly(only) {
  shown.only = only;
  rows.forEach(({ button }, index) => button.setAttribute("aria-pressed", index === only));
  drawMask();
}

// Returns the class at a place of the picture, 0 to 1 each way, or null.
function classAt(x, y) {
  if (!shown) return null;
  const place = (share, length) => Math.min(length - 1, Math.max(0, Math.floor(share * length)));
  return shown.labels[place(y, shown.height) * shown.width + place(x, shown.width)];
}

function pointAtPointer() {
  const { picture, clientX, clientY } = pointer;
  const box = picture.getBoundingClientRect();
  point(classAt((clientX - box.left) / box.width, (clientY - box.top) / box.height), clientX, clientY);
}

// Names a class beside a point of the window, and marks it in the legend.
function point(index, left, top) {
  const tooltip = byId("tooltip");
  tooltip.hidden = index === null;
  if (index !== null) {
    tooltip.textContent = nameOf(index);
    const right = left + 14 + tooltip.offsetWidth > window.innerWidth;
    tooltip.style.left = `${right ? left - 14 - tooltip.offsetWidth : left + 14}px`;
    tooltip.style.top = `${top + 14}px`;
  }
  rows.forEach(({ button }, at) => button.classList.toggle("here", at === index));
}

function probe(event) {
  const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (!move || !shown) return;
  event.preventDefault();
  shown.at = shown.at.map((value, axis) => Math.min(0.999, Math.max(0, value + move[axis])));
  const [x, y] = shown.at;
  const cross = byId("overlay").querySelector(".cross");
  cross.hidden = false;
  cross.style.left = `${100 * x}%`;
  cross.style.top = `${100 * y}%`;
  const index = classAt(x, y);
  point(index, 0, 0);
  byId("tooltip").hidden = true;
  byId("probe").textContent = index === null ? "" : nameOf(index);
}

function forgetKeyboard() {
  byId("overlay").querySelector(".cross").hidden = true;
  byId("probe").textContent = "";
}
