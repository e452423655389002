// The result of one picture: its overlay with the legend, the small pictures, the file of the mask.

import { hideOverlay, setUpOverlay, showOverlay } from "./overlay.js";

const byId = (id) => document.getElementById(id);

let urls = [];
let latest = null; // the result that is to be seen

export function setUpResult(network) {
  setUpOverlay(network.classes, document.querySelectorAll("#result .picture"));
}

export async function showResult(name, found, network) {
  urls.forEach(URL.revokeObjectURL);
  urls = [];
  const url = (blob) => {
    urls.push(URL.createObjectURL(blob));
    return urls.at(-1);
  };
  latest = found;
  const [height, width] = found.size;
  const [seenHeight, seenWidth] = found.seen;
  const seen = height === seenHeight && width === seenWidth ? "" : `, seen at ${seenWidth} × ${seenHeight}`;
  byId("name").textContent = name;
  byId("facts").textContent = `${width} × ${height} pixels${seen}; segmented in ${found.seconds.toFixed(2)} s`;
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
  const labels = await labelsOf(found.mask, network.classes);
  if (latest !== found) return; // another picture was chosen meanwhile
  showOverlay({ labels, width, height, shares: found.shares });
  byId("result").hidden = false;
}

export function hideResult() {
  latest = null;
  hideOverlay();
  byId("result").hidden = true;
}

// Reads a mask in the colours of the classes.
async function labelsOf(mask, classes) {
  const bitmap = await createImageBitmap(mask);
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.canvas.width = bitmap.width;
  context.canvas.height = bitmap.height;
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const indices = new Map(classes.map(({ color: [red, green, blue] }, index) => [(red << 16) | (green << 8) | blue, index]));
  return Uint8Array.from({ length: data.length / 4 }, (_, i) =>
    indices.get((data[4 * i] << 16) | (data[4 * i + 1] << 8) | data[4 * i + 2]),
  );
}
