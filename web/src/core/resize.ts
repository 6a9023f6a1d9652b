// Resizing as OpenCV does it, so that the page sees what the Python package sees.

/** Values of several channels, interleaved. */
export interface Grid {
  width: number;
  height: number;
  channels: number;
  data: ArrayLike<number>;
}

export interface FloatGrid extends Grid {
  data: Float32Array;
}

export function floatGrid(width: number, height: number, channels = 1): FloatGrid {
  return { width, height, channels, data: new Float32Array(width * height * channels) };
}

/** For each target pixel: the first source pixel it covers, and by how much it covers each. */
function areas(from: number, to: number): { first: Int32Array; weights: Float64Array[] } {
  const first = new Int32Array(to);
  const weights: Float64Array[] = [];
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const start = i * scale;
    const stop = Math.min(from, start + scale);
    const low = Math.floor(start + 1e-9);
    const high = Math.min(from, Math.ceil(stop - 1e-9));
    first[i] = low;
    const row = new Float64Array(high - low);
    for (let j = low; j < high; j++) row[j - low] = (Math.min(j + 1, stop) - Math.max(j, start)) / (stop - start);
    weights.push(row);
  }
  return { first, weights };
}

/** Two source pixels for each target pixel, and the share of the second. */
function pairs(from: number, to: number, likeArea: boolean): { low: Int32Array; high: Int32Array; share: Float32Array } {
  const low = new Int32Array(to);
  const high = new Int32Array(to);
  const share = new Float32Array(to);
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    let at: number;
    let part: number;
    if (likeArea) {
      at = Math.floor(i * scale);
      part = i + 1 - (at + 1) / scale;
      part = part <= 0 ? 0 : part - Math.floor(part);
    } else {
      const place = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), from - 1);
      at = Math.floor(place);
      part = place - at;
    }
    low[i] = at;
    high[i] = Math.min(at + 1, from - 1);
    share[i] = part;
  }
  return { low, high, share };
}

function linear(grid: Grid, width: number, height: number, likeArea: boolean): FloatGrid {
  const { channels, data } = grid;
  const across = pairs(grid.width, width, likeArea);
  const down = pairs(grid.height, height, likeArea);
  const out = floatGrid(width, height, channels);
  let k = 0;
  for (let y = 0; y < height; y++) {
    const upper = down.low[y] * grid.width;
    const lower = down.high[y] * grid.width;
    const v = down.share[y];
    for (let x = 0; x < width; x++) {
      const left = across.low[x];
      const right = across.high[x];
      const u = across.share[x];
      for (let c = 0; c < channels; c++) {
        const top = data[(upper + left) * channels + c] * (1 - u) + data[(upper + right) * channels + c] * u;
        const bottom = data[(lower + left) * channels + c] * (1 - u) + data[(lower + right) * channels + c] * u;
        out.data[k++] = top + (bottom - top) * v;
      }
    }
  }
  return out;
}

/** Enlarge or shrink bilinearly; centres of pixels lie as in `cv2.INTER_LINEAR`. */
export function resizeLinear(grid: Grid, width: number, height: number): FloatGrid {
  return linear(grid, width, height, false);
}

/** The mean over the area that each new pixel covers (`cv2.INTER_AREA`). */
export function resizeArea(grid: Grid, width: number, height: number): FloatGrid {
  if (width > grid.width || height > grid.height) return linear(grid, width, height, true);
  const { channels, data } = grid;
  const out = floatGrid(width, height, channels);
  const across = areas(grid.width, width);
  const down = areas(grid.height, height);
  const line = new Float64Array(grid.width * channels);
  for (let y = 0; y < height; y++) {
    line.fill(0);
    const rows = down.weights[y];
    for (let j = 0; j < rows.length; j++) {
      const start = (down.first[y] + j) * line.length;
      const weight = rows[j];
      for (let i = 0; i < line.length; i++) line[i] += weight * data[start + i];
    }
    for (let x = 0; x < width; x++) {
      const columns = across.weights[x];
      const start = across.first[x] * channels;
      const target = (y * width + x) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < columns.length; j++) sum += columns[j] * line[start + j * channels + c];
        out.data[target + c] = sum;
      }
    }
  }
  return out;
}
