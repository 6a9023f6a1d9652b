// Filters on single planes: box mean, Gaussian, and the guided filter of He, Sun and Tang (2013).
import { type FloatGrid, floatGrid } from "./resize";

/** Rec. 601 luma of RGB, as it is encoded. */
export function luminance(rgb: FloatGrid): FloatGrid {
  const out = floatGrid(rgb.width, rgb.height);
  for (let i = 0, j = 0; i < out.data.length; i++, j += 3) {
    out.data[i] = 0.299 * rgb.data[j] + 0.587 * rgb.data[j + 1] + 0.114 * rgb.data[j + 2];
  }
  return out;
}

/** Mean over the window of (2 radius + 1)² pixels; at the border that of the pixels inside. */
export function boxMean(plane: FloatGrid, radius: number): FloatGrid {
  const { width, height } = plane;
  const out = floatGrid(width, height);
  const wide = new Float64Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    let sum = 0;
    for (let x = 0; x < Math.min(radius, width); x++) sum += plane.data[row + x];
    for (let x = 0; x < width; x++) {
      if (x + radius < width) sum += plane.data[row + x + radius];
      if (x - radius > 0) sum -= plane.data[row + x - radius - 1];
      wide[row + x] = sum / (Math.min(x + radius, width - 1) - Math.max(x - radius, 0) + 1);
    }
  }
  for (let x = 0; x < width; x++) {
    let sum = 0;
    for (let y = 0; y < Math.min(radius, height); y++) sum += wide[y * width + x];
    for (let y = 0; y < height; y++) {
      if (y + radius < height) sum += wide[(y + radius) * width + x];
      if (y - radius > 0) sum -= wide[(y - radius - 1) * width + x];
      out.data[y * width + x] = sum / (Math.min(y + radius, height - 1) - Math.max(y - radius, 0) + 1);
    }
  }
  return out;
}

export function map(plane: FloatGrid, change: (value: number, index: number) => number): FloatGrid {
  const data = new Float32Array(plane.data.length);
  for (let i = 0; i < data.length; i++) data[i] = change(plane.data[i], i);
  return { ...plane, data };
}

/** Deviation within the window around each pixel. */
export function boxDeviation(plane: FloatGrid, radius: number): FloatGrid {
  const mean = boxMean(plane, radius);
  return map(boxMean(map(plane, (v) => v * v), radius), (v, i) => Math.sqrt(Math.max(v - mean.data[i] ** 2, 0)));
}

/** Gaussian of a given deviation, borders mirrored without repeating the edge; in place of `cv2.GaussianBlur`. */
export function gaussian(plane: FloatGrid, sigma: number): FloatGrid {
  const size = Math.round(sigma * 8 + 1) | 1;
  const reach = (size - 1) / 2;
  const kernel = Float64Array.from({ length: size }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const total = kernel.reduce((sum, each) => sum + each, 0);
  const mirror = (at: number, length: number): number => {
    if (length === 1) return 0;
    const period = 2 * (length - 1);
    const within = ((at % period) + period) % period;
    return within < length ? within : period - within;
  };
  const along = (source: Float32Array, length: number, count: number, step: number, jump: number): Float32Array => {
    const out = new Float32Array(source.length);
    const line = new Float64Array(length + 2 * reach);
    for (let n = 0; n < count; n++) {
      for (let i = 0; i < line.length; i++) line[i] = source[n * jump + mirror(i - reach, length) * step];
      for (let i = 0; i < length; i++) {
        let sum = 0;
        for (let k = 0; k < size; k++) sum += kernel[k] * line[i + k];
        out[n * jump + i * step] = sum / total;
      }
    }
    return out;
  };
  const { width, height } = plane;
  const rows = along(plane.data, width, height, 1, width);
  return { ...plane, data: along(rows, height, width, width, 1) };
}

/** Coefficients a, b of the guided filter: the filtered map is a · guide + b. */
export function guidedCoefficients(
  guide: FloatGrid,
  source: FloatGrid,
  radius: number,
  eps: number,
): { slope: FloatGrid; offset: FloatGrid } {
  let middle = 0;
  for (const value of guide.data) middle += value;
  middle /= guide.data.length;
  const centred = map(guide, (v) => v - middle);
  const meanGuide = boxMean(centred, radius);
  const meanSource = boxMean(source, radius);
  const squares = boxMean(map(centred, (v) => v * v), radius);
  const products = boxMean(map(centred, (v, i) => v * source.data[i]), radius);
  const a = map(products, (v, i) => {
    const variance = Math.max(squares.data[i] - meanGuide.data[i] ** 2, 0);
    return (v - meanGuide.data[i] * meanSource.data[i]) / (variance + eps);
  });
  const b = map(meanSource, (v, i) => v - a.data[i] * (meanGuide.data[i] + middle));
  return { slope: boxMean(a, radius), offset: boxMean(b, radius) };
}
