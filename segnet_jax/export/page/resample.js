// Sizes: what the network sees of a picture, as in training, and back to the picture's own size.

// Returns the [height, width] at which the network sees a picture. `pixels` at most, or null: as in training, where
// that had an image_size, which "stretch" takes as it is and the others without changing the ratio.
export function networkSize(height, width, { image_size: wanted, resize, smallest }, pixels) {
  let size;
  if (pixels === null && resize === "stretch") {
    size = wanted;
  } else {
    const choose = resize === "fit" ? Math.max : Math.min;
    const unit =
      pixels === null
        ? choose(height / wanted[0], width / wanted[1])
        : Math.max(1, Math.sqrt((height * width) / pixels));
    size = [Math.round(height / unit), Math.round(width / unit)];
  }
  return size.map((length) => Math.max(length, smallest));
}

// Resizes an image, RGBA, to RGB. Like Pillow, with which training resizes: the mean of blocks by whole factors,
// otherwise the bilinear filter, which widens with the reduction; 8 bits between the two directions.
export function resizeImage(rgba, height, width, newHeight, newWidth) {
  const isSame = height === newHeight && width === newWidth;
  const isWhole = height % newHeight === 0 && width % newWidth === 0;
  const result = new Uint8Array(newHeight * newWidth * 3);
  if (isSame) {
    for (let i = 0, j = 0; j < result.length; i += 4, j += 3) {
      result[j] = rgba[i];
      result[j + 1] = rgba[i + 1];
      result[j + 2] = rgba[i + 2];
    }
    return result;
  }
  const filter = isWhole ? blockFilter : bilinearFilter;
  const across = filter(width, newWidth);
  // Halves are rounded up, by 0.5 more and what whole numbers cut off.
  const between = isWhole ? new Float64Array(height * newWidth * 3) : new Uint8Array(height * newWidth * 3);
  const half = isWhole ? 0 : 0.5;
  for (let y = 0, j = 0; y < height; y++) {
    for (const { first, weights } of across) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = half;
        const start = 4 * (y * width + first) + channel;
        for (let t = 0; t < weights.length; t++) sum += weights[t] * rgba[start + 4 * t];
        between[j++] = sum;
      }
    }
  }
  const row = newWidth * 3;
  filter(height, newHeight).forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 0.5;
      for (let t = 0; t < weights.length; t++) sum += weights[t] * between[(first + t) * row + x];
      result[y * row + x] = sum;
    }
  });
  return result;
}

// Returns the class of each pixel, of logits that are interpolated to the size of the picture.
export function labelsOf(logits, height, width, newHeight, newWidth, classes) {
  const labels = new Uint8Array(newHeight * newWidth);
  if (height === newHeight && width === newWidth) {
    for (let i = 0; i < labels.length; i++) labels[i] = greatest(logits, i * classes, classes);
    return labels;
  }
  const across = bilinearFilter(width, newWidth);
  const row = width * classes;
  const blended = new Float32Array(row);
  const values = new Float32Array(classes);
  bilinearFilter(height, newHeight).forEach(({ first, weights }, y) => {
    blended.fill(0);
    for (let t = 0; t < weights.length; t++) {
      for (let x = 0, i = (first + t) * row; x < row; x++, i++) blended[x] += weights[t] * logits[i];
    }
    for (let x = 0; x < newWidth; x++) {
      const taps = across[x];
      values.fill(0);
      for (let t = 0, i = taps.first * classes; t < taps.weights.length; t++) {
        for (let k = 0; k < classes; k++, i++) values[k] += taps.weights[t] * blended[i];
      }
      labels[y * newWidth + x] = greatest(values, 0, classes);
    }
  });
  return labels;
}

function greatest(values, start, count) {
  let best = 0;
  for (let k = 1; k < count; k++) if (values[start + k] > values[start + best]) best = k;
  return best;
}

// For each new place the first of the old ones that count, and the weights of it and those that follow.
function bilinearFilter(length, newLength) {
  const scale = length / newLength;
  const reach = Math.max(scale, 1);
  return Array.from({ length: newLength }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - reach + 0.5));
    const end = Math.min(length, Math.floor(center + reach + 0.5));
    const weigh = (_, t) => Math.max(0, 1 - Math.abs(first + t + 0.5 - center) / reach);
    const weights = Array.from({ length: end - first }, weigh);
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function blockFilter(length, newLength) {
  const factor = length / newLength;
  const weights = new Array(factor).fill(1 / factor);
  return Array.from({ length: newLength }, (_, place) => ({ first: place * factor, weights }));
}
