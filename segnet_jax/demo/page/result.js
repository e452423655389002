// The result of one picture: overlay, legend, the class under the pointer, the small pictures.

const byId = (id) => document.getElementById(id);
const STEP = 0.02; // of the picture, for an arrow key

let classes = [];
let shown = null; // { found, only: the one class that is shown or null, at: [x, y] of the keyboard, 0 to 1 }
let urls = [];

export function setUpResult(network) {
  classes = network.classes;
  const opacity = byId("opacity");
  const setOpacity = () => {
    byId("overlay-mask").style.opacity = opacity.value / 100;
    byId("opacity-value").textContent = `${opacity.value} %`;
  };
  opacity.addEventListener("input", setOpacity);
  setOpacity();
  for (const picture of document.querySelectorAll("#result .picture")) {
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const index = classAt((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      byId("overlay").querySelector(".cross").hidden = true;
      byId("probe").textContent = "";
      point(index, event.clientX, event.clientY);
    });
    picture.addEventListener("pointerleave", () => point(null));
  }
  byId("overlay").addEventListener("keydown", probe);
  byId("overlay").addEventListener("blur", () => {
    byId("overlay").querySelector(".cross").hidden = true;
    byId("probe").textContent = "";
    point(null);
  });
}

export async function showResult(name, found, network) {
  urls.forEach(URL.revokeObjectURL);
  urls = [];
  const url = (blob) => {
    urls.push(URL.createObjectURL(blob));
    return urls.at(-1);
  };
  shown = { found, only: null, at: [0.5, 0.5] };
  const [height, width] = found.size;
  const [seenHeight, seenWidth] = found.seen;
  const seen = height === seenHeight && width === seenWidth ? "" : `, seen at ${seenWidth} × ${seenHeight}`;
  byId("name").textContent = name;
  byId("facts").textContent = `${width} × ${height} pixels${seen}; segmented in ${found.seconds.toFixed(2)} s`;
  byId("overlay").style.maxWidth = `calc(75vh * ${width / height})`; // so that it is seen as a whole
  byId("overlay").setAttribute("aria-label", `${name} with the colours of the classes`);
  byId("overlay-input").src = byId("input").src = url(found.input);
  byId("mask").src = url(found.mask);
  byId("download").href = byId("mask").src;
  byId("download").download = `${name.replace(/\.\w+$/, "")}_mask.png`;
  byId("uncertain").hidden = !found.uncertainty;
  if (found.uncertainty) {
    byId("heat").src = url(found.uncertainty);
    byId("heat-caption").textContent =
      `Uncertainty of ${network.samples} passes; the brightest has a variance of ${found.greatest.toPrecision(2)}`;
  }
  drawLegend();
  byId("result").hidden = false;
  const mine = shown;
  const bitmap = await createImageBitmap(found.mask);
  if (mine !== shown) return; // another picture was chosen meanwhile
  mine.context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  mine.context.canvas.width = width;
  mine.context.canvas.height = height;
  mine.context.drawImage(bitmap, 0, 0);
  drawMask();
}

export function hideResult() {
  shown = null;
  byId("result").hidden = true;
}

function drawMask() {
  const canvas = byId("overlay-mask");
  const { width, height } = shown.context.canvas;
  const pixels = shown.context.getImageData(0, 0, width, height);
  if (shown.only !== null) {
    const [red, green, blue] = classes[shown.only].color;
    const { data } = pixels;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] !== red || data[i + 1] !== green || data[i + 2] !== blue) data[i + 3] = 0;
    }
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function drawLegend() {
  const order = classes.map((_, index) => index).sort((a, b) => shown.found.shares[b] - shown.found.shares[a]);
  byId("legend").replaceChildren(
    ...order.map((index) => {
      const share = shown.found.shares[index];
      const [swatch, name, percent, bar] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
      swatch.className = "swatch";
      bar.className = "bar";
      const color = `rgb(${classes[index].color})`;
      swatch.style.backgroundColor = color;
      bar.style.backgroundImage = `linear-gradient(to right, ${color} ${100 * share}%, transparent 0)`;
      bar.hidden = share === 0;
      name.textContent = classes[index].name.replaceAll("_", " ");
      percent.textContent = share === 0 ? "–" : share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.index = index;
      button.title = "Show this class alone";
      button.classList.toggle("absent", share === 0);
      button.setAttribute("aria-pressed", false);
      button.append(swatch, name, percent, bar);
      button.addEventListener("click", () => showOnly(shown.only === index ? null : index));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

function showOnly(index) {
  shown.only = index;
  for (const button of byId("legend").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", Number(button.dataset.index) === index);
  }
  if (shown.context) drawMask();
}

// Returns the class at a place of the picture, 0 to 1 each way, or null.
function classAt(x, y) {
  if (!shown?.context) return null;
  const { width, height } = shown.context.canvas;
  const place = (share, length) => Math.min(length - 1, Math.max(0, Math.floor(share * length)));
  const [red, green, blue] = shown.context.getImageData(place(x, width), place(y, height), 1, 1).data;
  const index = classes.findIndex(({ color }) => color[0] === red && color[1] === green && color[2] === blue);
  return index < 0 ? null : index;
}

// Names a class beside a point of the window, and marks it in the legend.
function point(index, left, top) {
  const tooltip = byId("tooltip");
  tooltip.hidden = index === null;
  if (index !== null) {
    tooltip.textContent = classes[index].name.replaceAll("_", " ");
    const right = left + 14 + tooltip.offsetWidth > window.innerWidth;
    tooltip.style.left = `${right ? left - 14 - tooltip.offsetWidth : left + 14}px`;
    tooltip.style.top = `${top + 14}px`;
  }
  for (const button of byId("legend").querySelectorAll("button")) {
    button.classList.toggle("here", Number(button.dataset.index) === index);
  }
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
  byId("probe").textContent = index === null ? "" : classes[index].name.replaceAll("_", " ");
}
