import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { fit, pan, visible, zoom } from "../src/geometry";
import { ENGLISH, fill, LANGUAGES, pickLanguage } from "../src/strings";

const html = readFileSync(new URL("../index.html", import.meta.url), "utf8");
const script = readFileSync(new URL("../src/main.ts", import.meta.url), "utf8");

it("all languages say the same, with the same places for names and numbers", () => {
  const places = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const strings of Object.values(LANGUAGES)) {
    expect(Object.keys(strings).sort()).toEqual(Object.keys(ENGLISH).sort());
    for (const [key, text] of Object.entries(strings)) {
      expect(text.trim(), key).not.toBe("");
      expect(places(text), key).toEqual(places(ENGLISH[key as keyof typeof ENGLISH]));
      if (key.startsWith("error-")) expect(text, key).toMatch(/[.?。？]$/);
    }
  }
});

it("every word of the page stands in the strings", () => {
  for (const [, key] of html.matchAll(/data-(?:text|name|title)="([\w-]+)"/g)) expect(ENGLISH).toHaveProperty([key]);
});

it("no script or style stands in the page itself", () => {
  expect(html).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*src)/);
  expect(script).not.toContain("innerHTML");
});

it("languages are picked by the browser's wishes", () => {
  expect(pickLanguage(["fr", "de-AT", "en"])).toBe("de");
  expect(pickLanguage(["zh-CN"])).toBe("zh");
  expect(pickLanguage(["fr"])).toBe("en");
  expect(fill("{a} of {b} {c}", { a: 1, b: "x" })).toBe("1 of x {c}");
});

it("zooming keeps the place under the pointer, and nothing leaves the window", () => {
  const picture = { width: 400, height: 200 };
  const frame = { width: 100, height: 100 };
  const whole = fit(picture, frame);
  expect(whole).toEqual({ scale: 0.25, x: 0, y: 25 });
  const near = zoom(whole, 8, 30, 50, picture, frame);
  expect((30 - near.x) / near.scale).toBeCloseTo((30 - whole.x) / whole.scale, 6);
  expect((50 - near.y) / near.scale).toBeCloseTo((50 - whole.y) / whole.scale, 6);
  expect(zoom(near, 1e-6, 0, 0, picture, frame)).toEqual(whole);
  expect(zoom(whole, 1e6, 0, 0, picture, frame).scale).toBe(4);
  expect(pan(near, 1e6, 1e6, picture, frame)).toEqual({ ...near, x: 0, y: 0 });
  expect(visible(whole, picture, frame)).toEqual([0, 100]);
});
