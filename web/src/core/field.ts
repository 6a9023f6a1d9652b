// From what the network says of a view to a haze field, as `unhaze.default.model` and `unhaze.restore.haze_field` do it.
import { boxDeviation, boxMean, gaussian, guidedCoefficients, luminance, map } from "./filters";
import { roundHalfEven } from "./pixels";
import { type FloatGrid, floatGrid, resizeArea, resizeLinear } from "./resize";

// Facts of the default; a test compares them with unhaze/default/constants.py.
export const FACTS = {
  NETWORK_SIZE: 256,
  MULTIPLE: 32,
  GUIDE_RADIUS: 0.02,
  GUIDE_EPS: 1e-3,
  LEAST_TRANSMISSION: 0.15,
  CLEAR_DEPTH: [0.03, 0.08],
  COLORFUL: 0.02,
  COLORFUL_SHARE: 0.99,
  LIGHT_RANGE: [0.03, 0.985],
  SURE_TRANSMISSION: 0.4,
  FOG_TRANSMISSION: [0.1, 0.3],
  FOG_RADIUS: 0.15,
  FOG_WINDOW: 2,
  FOG_SMOOTH: [0.004, 0.009],
  FOG_LEAST_WEIGHT: 0.05,
  HEDGED_SHARE: 0.35,
  HEDGED_DEPTH: [0.05, 0.2, 0.25, 0.7],
  DARKEST_SURFACE: 0.1,
} as const;
const CLEAR_CHANGE = 0.01;
const BEYOND_SIGHT = 0.15;
const DARKEST_CHANGE = 0.08;
const STRONGEST_LIFT = 8;

/** The haze of one picture, small; see `HazeField` of the Python package. */
export interface HazeField {
  width: number;
  height: number;
  slope: Float32Array;
  offset: Float32Array;
  /** RGB, one colour or one for each pixel. */
  airlight: Float32Array;
  confidence: Float32Array;
  /** Curvature of the brightening curve where all exposure is kept. */
  lift: number;
  least: number;
  density: number;
  beyondSight: number;
  meanConfidence: number;
  meanAirlight: [number, number, number];
  looksClear: boolean;
}

/** What the network says about a view, one picture, planes of rows x columns; `airlight` is three planes. */
export interface Said {
  rows: number;
  columns: number;
  transmission: Float32Array;
  airlight: Float32Array;
  confidence: Float32Array;
  gain: number;
}

/** Runs the network on (3, rows, columns) values in [0, 1]. */
export type Network = (view: Float32Array, rows: number, columns: number) => Promise<Said>;

const clip = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

export function networkShape(height: number, width: number): [number, number] {
  const scale = FACTS.NETWORK_SIZE / Math.max(height, width);
  const side = (value: number) => Math.max(1, roundHalfEven((value * scale) / FACTS.MULTIPLE)) * FACTS.MULTIPLE;
  return [side(height), side(width)];
}

/** The mean of what the network says about a view and about its mirror image. */
async function askBothWays(view: FloatGrid, network: Network): Promise<Said> {
  const [rows, columns] = networkShape(view.height, view.width);
  const shrinks = rows * columns < view.height * view.width;
  const small = (shrinks ? resizeArea : resizeLinear)(view, columns, rows);
  const count = rows * columns;
  const planes = new Float32Array(3 * count);
  const mirrored = new Float32Array(3 * count);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      for (let c = 0; c < 3; c++) {
        const value = small.data[(y * columns + x) * 3 + c];
        planes[c * count + y * columns + x] = value;
        mirrored[c * count + y * columns + columns - 1 - x] = value;
      }
    }
  }
  const seen = await network(planes, rows, columns);
  const back = await network(mirrored, rows, columns);
  const both = (a: Float32Array, b: Float32Array, combine: (p: number, q: number) => number): Float32Array => {
    const out = new Float32Array(a.length);
    for (let i = 0; i < out.length; i++) {
      const x = i % seen.columns;
      out[i] = combine(a[i], b[i - x + seen.columns - 1 - x]);
    }
    return out;
  };
  const average = (p: number, q: number) => (p + q) / 2;
  return {
    rows: seen.rows,
    columns: seen.columns,
    transmission: both(seen.transmission, back.transmission, (p, q) => Math.exp((Math.log(p) + Math.log(q)) / 2)),
    airlight: both(seen.airlight, back.airlight, average),
    confidence: both(seen.confidence, back.confidence, average),
    gain: (seen.gain + back.gain) / 2,
  };
}

function shrink(grid: FloatGrid, width: number, height: number): FloatGrid {
  return grid.width === width && grid.height === height ? grid : resizeArea(grid, width, height);
}

/** The value that a share of all stay below, between two neighbours by their distance. */
export function quantile(values: Float32Array, share: number): number {
  const sorted = values.slice().sort();
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

/** Find the haze of a view (RGB in [0, 1], long side at most 640) with the default. */
export async function solveField(view: FloatGrid, network: Network, spareClear = 1): Promise<HazeField> {
  const said = await askBothWays(view, network);
  const width = Math.min(said.columns, view.width);
  const height = Math.min(said.rows, view.height);
  const count = width * height;
  const plane = (data: Float32Array): FloatGrid =>
    shrink({ width: said.columns, height: said.rows, channels: 1, data }, width, height);
  const transmission = plane(said.transmission);
  const rawConfidence = plane(said.confidence);
  const lights = floatGrid(said.columns, said.rows, 3);
  const full = said.columns * said.rows;
  for (let i = 0; i < full; i++) for (let c = 0; c < 3; c++) lights.data[i * 3 + c] = said.airlight[c * full + i];
  let airlight = shrink(lights, width, height);
  const small = shrink(view, width, height);

  const spread = new Float32Array(count);
  for (let i = 0, j = 0; i < count; i++, j += 3) {
    const [r, g, b] = [small.data[j], small.data[j + 1], small.data[j + 2]];
    spread[i] = Math.max(r, g, b) - Math.min(r, g, b);
  }
  // nothing in a picture without colours tells the colour of its haze
  const colour = Math.min(1, quantile(spread, FACTS.COLORFUL_SHARE) / FACTS.COLORFUL);
  airlight = map(airlight, (value, i) => {
    const j = i - (i % 3);
    const grey = (airlight.data[j] + airlight.data[j + 1] + airlight.data[j + 2]) / 3;
    return grey + (value - grey) * colour;
  });
  const gray = luminance(small);
  airlight = airlightOfFog(small, gray, transmission, airlight);

  const depth = -mean(transmission.data.map(Math.log));
  const [low, high] = FACTS.CLEAR_DEPTH;
  const share = clip((high - depth) / (high - low), 0, 1);
  const spared = share * share * (3 - 2 * share) * spareClear;
  const firm = firmTransmission(small, transmission, airlight);
  // where most of the haze that was found cannot be there, no brightness was lost that could be given back
  const kept = clip((-2 * mean(firm.data.map(Math.log))) / Math.max(depth, 1e-3), 0, 1);
  const guided = spared ? map(firm, (t) => t ** (1 - spared)) : firm;
  const radius = Math.max(1, roundHalfEven(FACTS.GUIDE_RADIUS * Math.max(height, width)));
  const { slope, offset } = guidedCoefficients(gray, guided, radius, FACTS.GUIDE_EPS);
  const filtered = map(gray, (v, i) => clip(slope.data[i] * v + offset.data[i], FACTS.LEAST_TRANSMISSION, 1));
  const grayAirlight = luminance(airlight);
  const change = mean(filtered.data.map((t, i) => (1 / t - 1) * Math.abs(gray.data[i] - grayAirlight.data[i])));
  const confidence = map(rawConfidence, (v, i) => v * clip(transmission.data[i] / FACTS.SURE_TRANSMISSION, 0, 1));
  return {
    width,
    height,
    slope: slope.data,
    offset: offset.data,
    airlight: airlight.data,
    confidence: confidence.data,
    lift: liftToFloor(gray, filtered, grayAirlight, Math.expm1(said.gain) * kept * (1 - spared)),
    least: FACTS.LEAST_TRANSMISSION,
    density: -mean(firm.data.map((t) => Math.log(Math.max(t, 1e-3)))),
    beyondSight: mean(firm.data.map((t) => (t < BEYOND_SIGHT ? 1 : 0))),
    meanConfidence: mean(confidence.data),
    meanAirlight: [0, 1, 2].map((c) => mean(airlight.data.filter((_, i) => i % 3 === c))) as [number, number, number],
    looksClear: change < CLEAR_CHANGE,
  };
}

/** The airlight brought to what the picture shows where hardly anything of the scene comes through. */
function airlightOfFog(view: FloatGrid, gray: FloatGrid, transmission: FloatGrid, airlight: FloatGrid): FloatGrid {
  const [opaque, begins] = FACTS.FOG_TRANSMISSION;
  const [smooth, textured] = FACTS.FOG_SMOOTH;
  const deviation = boxDeviation(gray, FACTS.FOG_WINDOW);
  const weight = map(
    transmission,
    (t, i) =>
      clip((begins - t) / (begins - opaque), 0, 1) * clip((textured - deviation.data[i]) / (textured - smooth), 0, 1),
  );
  if (!weight.data.some(Boolean)) return airlight;
  const sigma = FACTS.FOG_RADIUS * Math.max(view.width, view.height);
  const total = gaussian(weight, sigma);
  const out = floatGrid(view.width, view.height, 3);
  const [low, high] = FACTS.LIGHT_RANGE;
  for (let c = 0; c < 3; c++) {
    const shift = gaussian(
      map(weight, (w, i) => w * (view.data[i * 3 + c] - airlight.data[i * 3 + c])),
      sigma,
    );
    for (let i = 0; i < weight.data.length; i++) {
      const moved = airlight.data[i * 3 + c] + shift.data[i] / (total.data[i] + FACTS.FOG_LEAST_WEIGHT);
      out.data[i * 3 + c] = clip(moved, low, high);
    }
  }
  return out;
}

/** Without the network's caution in medium haze, and with no small area made darker than a dark surface. */
function firmTransmission(view: FloatGrid, transmission: FloatGrid, airlight: FloatGrid): FloatGrid {
  const [begins, full, fades, ends] = FACTS.HEDGED_DEPTH;
  const firm = map(transmission, (t) => {
    const depth = -Math.log(t);
    const share = Math.min(clip((depth - begins) / (full - begins), 0, 1), clip((ends - depth) / (ends - fades), 0, 1));
    return Math.exp(-depth * (1 + FACTS.HEDGED_SHARE * share));
  });
  for (let c = 0; c < 3; c++) {
    const channel = map(transmission, (_, i) => view.data[i * 3 + c]);
    const mean = boxMean(channel, FACTS.FOG_WINDOW);
    for (let i = 0; i < firm.data.length; i++) {
      const light = airlight.data[i * 3 + c];
      const darkest = Math.min(mean.data[i], FACTS.DARKEST_SURFACE);
      firm.data[i] = Math.max(firm.data[i], (light - mean.data[i]) / Math.max(light - darkest, 1e-3));
    }
  }
  return map(firm, (t) => Math.min(t, 1));
}

/** `lift`, or the larger one with which the picture gets no darker than `DARKEST_CHANGE`. */
function liftToFloor(gray: FloatGrid, transmission: FloatGrid, airlight: FloatGrid, lift: number): number {
  const restored = map(gray, (v, i) => {
    const light = airlight.data[i];
    const bound = Math.max((light - v) / light, (v - light) / Math.max(1 - light, 1e-3));
    const gain = 1 / Math.max(transmission.data[i], Math.min(bound, 1));
    return clip(v * gain + light * (1 - gain), 0, 1);
  }).data;
  const goal = mean(gray.data) - DARKEST_CHANGE;
  const brightness = (k: number): number => mean(restored.map((v) => (v * (1 + k)) / (1 + k * v)));
  if (brightness(lift) >= goal) return lift;
  let [low, high] = [lift, Math.max(lift, STRONGEST_LIFT)];
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2;
    if (brightness(middle) >= goal) high = middle;
    else low = middle;
  }
  return high;
}
