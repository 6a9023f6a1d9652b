import { unzipSync, zlibSync } from "fflate";
import { describe, expect, it } from "vitest";
import { Archive, freeName, resultName } from "../src/archive";
import type { Pixels } from "../src/core/pixels";
import { readField } from "../src/engine/service";
import { makeUpright, orientation } from "../src/files/exif";
import { isJpeg, join, readJpeg, withSegments } from "../src/files/jpeg";
import { turn } from "../src/files/picture";
import { chunk, decodePng, encodePng, isPng, readPng } from "../src/files/png";

const letters = (words: string) => Uint8Array.from([...words].map((each) => each.charCodeAt(0)));

function exif(turned: number, little = false): Uint8Array {
  const data = new Uint8Array(60);
  const view = new DataView(data.buffer);
  data.set(letters(little ? "II" : "MM"));
  view.setUint16(2, 42, little);
  view.setUint32(4, 8, little);
  view.setUint16(8, 1, little);
  view.setUint16(10, 274, little);
  view.setUint16(12, 3, little);
  view.setUint32(14, 1, little);
  view.setUint16(18, turned, little);
  view.setUint32(22, 26, little); // a second directory: the thumbnail
  view.setUint16(26, 2, little);
  for (const [i, tag, value] of [[0, 513, 56], [1, 514, 4]]) {
    view.setUint16(28 + 12 * i, tag, little);
    view.setUint16(30 + 12 * i, 4, little);
    view.setUint32(32 + 12 * i, 1, little);
    view.setUint32(36 + 12 * i, value, little);
  }
  data.set([9, 9, 9, 9], 56);
  return data;
}

function segment(marker: number, data: Uint8Array): Uint8Array {
  return join([Uint8Array.of(0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 255), data]);
}

const SCAN = Uint8Array.of(0xff, 0xda, 0, 2, 1, 2, 3, 0xff, 0xd9);
const START = Uint8Array.of(0xff, 0xd8);

describe("EXIF", () => {
  it("is made upright, without thumbnail, at the same places", () => {
    for (const little of [false, true]) {
      const before = exif(6, little);
      expect(orientation(before)).toBe(6);
      const after = makeUpright(before, true);
      expect(orientation(after)).toBe(1);
      expect([...after.subarray(56)]).toEqual([0, 0, 0, 0]);
      expect(after.length).toBe(before.length);
      expect(orientation(before)).toBe(6); // a copy
    }
  });
  it("damage stays as it is", () => {
    for (const bad of [new Uint8Array(3), new Uint8Array(30), exif(6).subarray(0, 20)]) {
      expect(makeUpright(bad, true)).toEqual(bad);
      expect(orientation(bad)).toBe(1);
    }
  });
});

describe("JPEG", () => {
  const icc = [letters("ICC_PROFILE\0\x01\x02abc"), letters("ICC_PROFILE\0\x02\x02def                RGB ")];
  const file = join([
    START,
    segment(0xe0, letters("JFIF\0\x01\x02")),
    segment(0xe1, join([letters("Exif\0\0"), exif(8)])),
    segment(0xe2, icc[1]),
    segment(0xe2, icc[0]),
    segment(0xe2, letters("MPF\0offsets")),
    segment(0xfe, letters("words")),
    segment(0xc0, Uint8Array.of(8, 0, 1, 0, 1, 3)),
    SCAN,
  ]);
  it("is taken apart", () => {
    expect(isJpeg(file)).toBe(true);
    const parts = readJpeg(file);
    expect(String.fromCharCode(...parts.icc!)).toContain("abcdef");
    expect(parts.orientation).toBe(8);
    expect(parts.channels).toBe(3);
    const plain = String.fromCharCode(...parts.plain);
    expect(plain).not.toContain("ICC_PROFILE");
    expect(plain).not.toContain("Exif");
    expect(plain.endsWith("\xff\xd9")).toBe(true);
  });
  it("gives its segments to a new file, which is upright", () => {
    const parts = readJpeg(file);
    parts.icc = join([new Uint8Array(16), letters("RGB ")]);
    const encoded = join([START, segment(0xe0, letters("JFIF\0new")), segment(0xdb, new Uint8Array(65)), SCAN]);
    const made = withSegments(encoded, parts);
    const text = String.fromCharCode(...made);
    expect(text).not.toContain("new");
    expect(text).not.toContain("MPF");
    expect(text).toContain("words");
    expect(text.match(/ICC_PROFILE/g)).toHaveLength(2);
    expect(readJpeg(made).orientation).toBe(1);
    expect([...made.subarray(-SCAN.length)]).toEqual([...SCAN]);
    parts.icc = join([new Uint8Array(16), letters("CMYK")]);
    expect(String.fromCharCode(...withSegments(encoded, parts))).not.toContain("ICC_PROFILE");
  });
  it("guesses the quality from the tables", () => {
    const table = new Uint8Array(65).fill(1);
    table[0] = 0;
    expect(readJpeg(join([START, segment(0xdb, table), SCAN])).quality).toBeGreaterThan(97);
  });
  it("ends with what is cut off", () => {
    for (let end = 2; end < file.length; end += 3) expect(() => readJpeg(file.subarray(0, end))).not.toThrow();
  });
});

describe("PNG", () => {
  const make = (channels: 1 | 3, deep: boolean, alpha: boolean): Pixels => {
    const [width, height] = [7, 5];
    const most = deep ? 65536 : 256;
    const values = (length: number, step: number) => {
      const found = Array.from({ length }, (_, i) => (i * step) % most);
      return deep ? Uint16Array.from(found) : Uint8Array.from(found);
    };
    return {
      width,
      height,
      channels,
      data: values(35 * channels, 7919),
      alpha: alpha ? values(35, 104729) : null,
      white: most - 1,
    };
  };
  for (const channels of [1, 3] as const) {
    for (const deep of [false, true]) {
      for (const alpha of [false, true]) {
        it(`comes back as it was: ${channels} channels, ${deep ? 16 : 8} bits, alpha ${alpha}`, () => {
          const pixels = make(channels, deep, alpha);
          const file = encodePng(pixels, null);
          expect(isPng(file)).toBe(true);
          expect(decodePng(file)).toEqual(pixels);
        });
      }
    }
  }
  it("keeps profile, EXIF and texts", () => {
    const profile = letters("a profile of colours");
    const parts = readPng(join([
      encodePng(make(3, false, false), null).subarray(0, 33),
      chunk("iCCP", join([letters("name\0\0"), zlibSync(profile)])),
      chunk("eXIf", exif(3)),
      chunk("tEXt", letters("Title\0words")),
    ]));
    expect(parts.orientation).toBe(3);
    const file = encodePng(make(3, false, false), parts);
    const again = readPng(file);
    expect(again.icc).toEqual(profile);
    expect(again.orientation).toBe(1);
    expect(String.fromCharCode(...file)).toContain("Title\0words");
    expect(decodePng(file).data).toEqual(make(3, false, false).data);
  });
});

describe("orientation", () => {
  it("is undone, all eight", () => {
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6); // rows 1 2 3 and 4 5 6
    const stored: Pixels = { width: 3, height: 2, channels: 1, data, alpha: null, white: 255 };
    const seen = [1, 2, 3, 4, 5, 6, 7, 8].map((each) => [...turn(stored, each).data].join(""));
    expect(seen).toEqual(["123456", "321654", "654321", "456123", "142536", "415263", "635241", "362514"]);
    expect(turn(stored, 6).width).toBe(2);
  });
});

describe("archives", () => {
  it("hold each picture under a name of its own", async () => {
    const archive = new Archive();
    for (const text of ["one", "two"]) await archive.add("a.jpg", new Blob([text]));
    const files = unzipSync(new Uint8Array(await archive.end().arrayBuffer()));
    expect(Object.entries(files).map(([name, data]) => [name, String.fromCharCode(...data)])).toEqual([["a.jpg", "one"], ["a-2.jpg", "two"]]);
  });
  it("name results", () => {
    expect(resultName("holiday.2024.jpeg", ".jpg")).toBe("holiday.2024-dehazed.jpg");
    expect(resultName("", ".png")).toBe("picture-dehazed.png");
    expect(freeName("A", new Set(["a", "a-2"]))).toBe("A-3");
  });
});

it("a field of the service is unpacked", () => {
  const head = letters(JSON.stringify({ width: 2, height: 1, lights: 3, lift: 0.5, least: 0.15, density: 1, beyond_sight: 0, confidence: 0.9, airlight: [0.1, 0.2, 0.3], looks_clear: false }));
  const padded = join([head, new Uint8Array((4 - (head.length % 4)) % 4).fill(32)]);
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, padded.length, true);
  const values = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9).buffer);
  const field = readField(join([size, padded, values]).buffer);
  expect([...field.slope, ...field.offset, ...field.confidence, ...field.airlight]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(field.lift).toBe(0.5);
});
