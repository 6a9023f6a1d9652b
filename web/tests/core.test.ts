import { describe, expect, it } from "vitest";
import { boxMean, gaussian, guidedCoefficients } from "../src/core/filters";
import { type HazeField, type Network, networkShape, quantile, solveField } from "../src/core/field";
import { findWhite, type Pixels, viewShape, workingView } from "../src/core/pixels";
import { floatGrid, resizeArea, resizeLinear } from "../src/core/resize";
import { DEFAULT_LOOK, Restorer } from "../src/core/restore";
import { fromSrgb, lookUp, toneCurve } from "../src/core/tone";

function pixels(width: number, height: number, of: (i: number) => number, channels: 1 | 3 = 3): Pixels {
  const data = Uint8Array.from({ length: width * height * channels }, (_, i) => of(i));
  return { width, height, channels, data, alpha: null, white: 255 };
}

function field(transmission: number, light: number, more: Partial<HazeField> = {}): HazeField {
  const plane = (value: number) => new Float32Array(4).fill(value);
  return {
    width: 2,
    height: 2,
    slope: plane(0),
    offset: plane(transmission),
    airlight: Float32Array.of(light, light, light),
    confidence: plane(1),
    lift: 0,
    least: 0.15,
    density: 0,
    beyondSight: 0,
    meanConfidence: 1,
    meanAirlight: [light, light, light],
    looksClear: false,
    ...more,
  };
}

describe("resizing", () => {
  it("takes the mean of areas", () => {
    const grid = { width: 4, height: 2, channels: 1, data: [0, 2, 4, 6, 8, 10, 12, 14] };
    expect([...resizeArea(grid, 2, 1).data]).toEqual([5, 9]);
    expect([...resizeArea({ width: 3, height: 1, channels: 1, data: [3, 6, 9] }, 2, 1).data]).toEqual([4, 8]);
  });
  it("places centres as OpenCV does", () => {
    const wide = resizeLinear({ width: 2, height: 1, channels: 1, data: [0, 4] }, 4, 1);
    expect([...wide.data]).toEqual([0, 1, 3, 4]);
  });
});

describe("filters", () => {
  const ramp = floatGrid(5, 4);
  ramp.data.forEach((_, i) => (ramp.data[i] = i / 20));
  it("box mean counts only pixels inside, whatever the radius", () => {
    expect(boxMean(ramp, 1).data[0]).toBeCloseTo((0 + 1 + 5 + 6) / 80, 6);
    const all = ramp.data.reduce((a, b) => a + b) / 20;
    for (const value of boxMean(ramp, 50).data) expect(value).toBeCloseTo(all, 6);
  });
  it("a Gaussian keeps what is even", () => {
    const even = floatGrid(7, 3);
    even.data.fill(0.25);
    for (const value of gaussian(even, 4).data) expect(value).toBeCloseTo(0.25, 6);
  });
  it("the guided filter gives the guide back where source and guide are one", () => {
    const { slope, offset } = guidedCoefficients(ramp, ramp, 2, 1e-9);
    ramp.data.forEach((v, i) => expect(slope.data[i] * v + offset.data[i]).toBeCloseTo(v, 4));
  });
});

describe("views", () => {
  it("have the sizes of the package", () => {
    expect(viewShape(1920, 1080)).toEqual([640, 360]);
    expect(networkShape(1080, 1920)).toEqual([128, 256]);
    expect(networkShape(4000, 3000)).toEqual([256, 192]);
    expect(networkShape(1, 1)).toEqual([256, 256]);
  });
  it("leave out what is transparent", () => {
    const image = pixels(2, 2, (i) => (i < 6 ? 255 : 51));
    image.alpha = Uint8Array.of(0, 0, 255, 255);
    for (const value of workingView(image).data) expect(value).toBeCloseTo(0.2, 5);
  });
  it("find white in 16 bits", () => {
    const of = (top: number, step: number) =>
      findWhite({ width: 64, height: 64, channels: 1, data: Uint16Array.from({ length: 4096 }, (_, i) => Math.min(top, i * step)), alpha: null });
    expect(of(1700, 1)).toBe(2047);
    expect(of(65535, 17)).toBe(65535);
    expect(of(1020, 4)).toBe(65535);
  });
  it("quantiles lie between neighbours", () => expect(quantile(Float32Array.of(4, 0, 2), 0.75)).toBe(3));
});

describe("restoring", () => {
  const scene = pixels(8, 6, (i) => 100 + (i % 60));
  it("strength 0 changes nothing, -1 and 1 undo each other about", () => {
    expect(new Restorer(scene, field(0.5, 0.9)).restore({ ...DEFAULT_LOOK, strength: 0 })).toEqual(scene.data);
    const added = new Restorer(scene, field(0.5, 0.9)).restore({ strength: -1, colorBlend: 1, keepExposure: 1 });
    const back = new Restorer({ ...scene, data: added }, field(0.5, 0.9)).restore({ strength: 1, colorBlend: 1, keepExposure: 1 });
    back.forEach((value, i) => expect(Math.abs(value - scene.data[i])).toBeLessThanOrEqual(2));
  });
  it("is the scattering model", () => {
    const [value] = new Restorer(pixels(2, 2, () => 153), field(0.5, 0.8)).restore({ strength: 1, colorBlend: 1, keepExposure: 0 });
    expect(value).toBe(Math.round(255 * ((0.6 - 0.8) / 0.5 + 0.8)));
  });
  it("remembers without a difference", () => {
    const plain = new Restorer(scene, field(0.4, 0.8, { lift: 0.7 }));
    const remembering = new Restorer(scene, field(0.4, 0.8, { lift: 0.7 }), null, true);
    for (const strength of [1, 0.5, -0.5, 0.8]) {
      const look = { strength, colorBlend: 0.6, keepExposure: 0.5 };
      expect(remembering.restore(look)).toEqual(plain.restore(look));
    }
  });
  it("keeps grey grey, and hidden pixels as they are", () => {
    const gray = pixels(4, 4, (i) => i * 10, 1);
    gray.alpha = new Uint8Array(16).fill(255);
    gray.alpha[3] = 0;
    const out = new Restorer(gray, field(0.4, 0.8)).restore(DEFAULT_LOOK);
    expect(out.length).toBe(16);
    expect(out[3]).toBe(30);
  });
  it("a mirrored picture has the mirrored field", async () => {
    const network: Network = async (view, rows, columns) => {
      const count = (rows / 2) * (columns / 2);
      const transmission = new Float32Array(count);
      for (let y = 0, k = 0; y < rows / 2; y++) {
        for (let x = 0; x < columns / 2; x++, k++) transmission[k] = 0.3 + 0.4 * view[y * 2 * columns + x * 2] + (0.1 * x) / columns;
      }
      const airlight = new Float32Array(3 * count).fill(0.8);
      return { rows: rows / 2, columns: columns / 2, transmission, airlight, confidence: new Float32Array(count).fill(1), gain: 0.1 };
    };
    const image = pixels(64, 64, (i) => (i * 7) % 200);
    const flipped = pixels(64, 64, (i) => {
      const [p, c] = [Math.floor(i / 3), i % 3];
      return image.data[(p - (p % 64) + 63 - (p % 64)) * 3 + c];
    });
    const one = await solveField(workingView(image), network);
    const two = await solveField(workingView(flipped), network);
    expect(two.density).toBeCloseTo(one.density, 5);
    for (let x = 0; x < one.width; x++) expect(two.offset[one.width - 1 - x]).toBeCloseTo(one.offset[x], 4);
  });
});

describe("tone curves", () => {
  function profile(curve: number[]): Uint8Array {
    const icc = new Uint8Array(168 + curve.length);
    const view = new DataView(icc.buffer);
    const put = (at: number, words: string) => icc.set([...words].map((each) => each.charCodeAt(0)), at);
    put(16, "RGB ");
    view.setUint32(128, 3);
    ["rTRC", "gTRC", "bTRC"].forEach((name, i) => {
      put(132 + 12 * i, name);
      view.setUint32(136 + 12 * i, 168);
      view.setUint32(140 + 12 * i, curve.length);
    });
    icc.set(curve, 168);
    return icc;
  }
  const gamma = (value: number) => [...[..."curv"].map((each) => each.charCodeAt(0)), 0, 0, 0, 0, 0, 0, 0, 1, value >> 8, value & 255];
  it("there is none for sRGB, for nothing and for damage", () => {
    expect(toneCurve(null)).toBeNull();
    expect(toneCurve(profile(gamma(563)))).not.toBeNull(); // 2.2 is not quite sRGB's
    expect(toneCurve(new Uint8Array(40))).toBeNull();
    expect(toneCurve(profile([1, 2, 3]))).toBeNull();
  });
  it("goes there and back", () => {
    const curve = toneCurve(profile(gamma(256)))!; // linear
    expect(lookUp(curve.forward[0], 0.214041)).toBeCloseTo(0.5, 4);
    for (const value of [0, 0.01, 0.2, 0.7, 1]) expect(fromSrgb(curve, 2, lookUp(curve.forward[0], value))).toBeCloseTo(value, 4);
  });
});
