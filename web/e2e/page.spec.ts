// The page as a person uses it, of a service and of a folder without one.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { expect, type Page, test } from "@playwright/test";
import { unzipSync } from "fflate";
import { orientation } from "../src/files/exif";
import { readJpeg } from "../src/files/jpeg";
import { decodePng, readPng } from "../src/files/png";
import { makePictures, ROOT, type Site, startService, startStatic } from "./servers";

const SHOTS = process.env.SCREENSHOTS; // a folder for pictures of the page
const sites: Site[] = [];
const opened = async (site: Promise<Site>): Promise<Site> => {
  sites.push(await site);
  return site;
};
test.afterAll(() => {
  for (const site of sites.splice(0)) site.close();
});
const pictures = makePictures();
const picture = (name: string) => join(pictures, name);
const AITZGORRI = join(ROOT, "docs/images/aitzgorri.jpg");

async function open(page: Page, site: Site, ...names: string[]): Promise<void> {
  await page.goto(site.url);
  await page.locator("#file").setInputFiles(names);
  await expect(page.locator("#status")).toContainText(/Done\.|looks clear/);
}

async function saved(page: Page, id: string): Promise<{ name: string; bytes: Uint8Array }> {
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator(id).click()]);
  return { name: file.suggestedFilename(), bytes: new Uint8Array(readFileSync(await file.path())) };
}

/** Set a slider as a person does: focus, and keys. */
async function press(page: Page, id: string, key: string): Promise<void> {
  await page.locator(id).focus();
  await page.keyboard.press(key);
}

const shownStrength = (page: Page) =>
  page.locator("#after").evaluate((each) => (JSON.parse(each.dataset["shown"] ?? "{}") as { strength: number }).strength);

const checksum = (page: Page) =>
  page.locator("#after").evaluate((each: HTMLCanvasElement) => {
    const { data } = each.getContext("2d")!.getImageData(0, 0, each.width, each.height);
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 1] * 7) % 1_000_003;
    return sum;
  });

async function checkAccess(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
}

for (const mode of ["service", "static"] as const) {
  test.describe(mode, () => {
    let site: Site;
    const faults: string[] = [];

    test.beforeAll(async () => {
      site = mode === "service" ? await startService() : await startStatic();
    });
    test.afterAll(() => site.close());
    test.beforeEach(({ page }) => {
      faults.length = 0;
      page.on("pageerror", (error) => faults.push(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error") faults.push(message.text());
      });
      page.on("request", (request) => {
        if (!request.url().startsWith(site.url) && !request.url().startsWith("blob:")) faults.push(request.url());
      });
    });
    test.afterEach(() => expect(faults).toEqual([]));

    test("a picture is chosen, looked at, changed and saved", async ({ page }) => {
      await open(page, site, picture("photo.jpg"));
      expect(await page.locator("#before").evaluate((each: HTMLCanvasElement) => [each.width, each.height])).toEqual([240, 360]);
      await expect(page.locator("#density-value")).not.toHaveText("–");
      await expect(page.locator("#airlight-value")).toHaveText(/^#[0-9a-f]{6}$/);
      const whole = await checksum(page);

      await press(page, "#split", "ArrowLeft");
      await page.keyboard.press("ArrowLeft");
      await expect(page.locator("#split")).toHaveValue("48");
      const whereTo = () => page.locator("#sheet").evaluate((each) => each.style.transform);
      const fitted = await whereTo();
      await page.keyboard.press("+");
      await expect(page.locator("#compare")).toHaveClass("zoomed");
      expect(await whereTo()).not.toBe(fitted);
      await page.keyboard.press("0");
      await expect(page.locator("#compare")).not.toHaveClass("zoomed");

      const box = (await page.locator("#compare").boundingBox())!;
      await page.mouse.move(box.x + box.width / 2 + 60, box.y + box.height / 2);
      await page.mouse.wheel(0, -800);
      await expect(page.locator("#compare")).toHaveClass("zoomed");
      const first = await whereTo();
      await page.mouse.down();
      await page.mouse.move(box.x + box.width / 2 + 10, box.y + box.height / 2 - 30, { steps: 3 });
      await page.mouse.up();
      expect(await whereTo()).not.toBe(first);
      await page.locator("#zoom-fit").click();
      await page.mouse.click(box.x + box.width / 2 + 30, box.y + 100);
      expect(Number(await page.locator("#split").inputValue())).toBeGreaterThan(50);

      await press(page, "#strength", "Home");
      await expect.poll(() => shownStrength(page)).toBe(-1);
      expect(await checksum(page)).not.toBe(whole);
      await press(page, "#exposure", "Home");
      await press(page, "#colour", "End");
      await page.locator("#reset").click();
      await expect.poll(() => shownStrength(page)).toBe(1);
      await expect.poll(() => checksum(page)).toBe(whole);
      await page.locator("#view").selectOption("haze");
      await expect.poll(() => checksum(page)).not.toBe(whole);
      await page.locator("#view").selectOption("picture");

      const { name, bytes } = await saved(page, "#download");
      expect(name).toBe("photo-dehazed.jpg");
      const before = readJpeg(new Uint8Array(readFileSync(picture("photo.jpg"))));
      const after = readJpeg(bytes);
      expect(after.icc).toEqual(before.icc);
      expect(Buffer.from(after.exif!).toString("latin1")).toContain("Maker of cameras");
      expect(orientation(after.exif)).toBe(1);
    });

    test("PNG keeps its profile, EXIF and every level", async ({ page }) => {
      await open(page, site, picture("second.png"));
      const { name, bytes } = await saved(page, "#download");
      expect(name).toBe("second-dehazed.png");
      const before = readPng(new Uint8Array(readFileSync(picture("second.png"))));
      expect(readPng(bytes).icc).toEqual(before.icc);
      const { width, height, data } = decodePng(bytes);
      expect([width, height]).toEqual([200, 300]);
      const shown = await page.locator("#after").evaluate((each: HTMLCanvasElement) =>
        Array.from(each.getContext("2d")!.getImageData(0, 0, each.width, each.height).data));
      let largest = 0;
      for (let i = 0; i < width * height; i++) {
        for (let c = 0; c < 3; c++) largest = Math.max(largest, Math.abs(data[i * 3 + c] - shown[i * 4 + c]));
      }
      expect(largest).toBeLessThanOrEqual(1); // the preview is the result
    });

    test("many pictures: progress, one that fails, a zip file, and an end before the end", async ({ page }) => {
      await open(page, site, picture("photo.jpg"), picture("broken.jpg"), picture("second.png"));
      const { name, bytes } = await saved(page, "#download-all");
      expect(name).toBe("dehazed.zip");
      expect(Object.keys(unzipSync(bytes)).sort()).toEqual(["photo-dehazed.jpg", "second-dehazed.png"]);
      await expect(page.locator("#status")).toContainText("Pictures in the zip file: 2; failed: 1, see the list.");
      await expect(page.locator("#list .reason")).toHaveText(/\w.*\.$/);
      await page.locator("#clear").click();
      await expect(page.locator("#drop")).toBeVisible();

      await page.locator("#file").setInputFiles([picture("large.jpg"), ...[0, 1, 2].map((n) => picture(`series-${n}.jpg`))]);
      await expect(page.locator("#status")).toContainText(/Done|clear/);
      await page.locator("#download-all").click();
      await page.locator("#cancel").click();
      await expect(page.locator("#status")).toContainText(/Cancelled after \d of 4/);
      if (mode === "service") faults.length = 0; // the browser reports the broken one's 415
    });

    test("a preview of 1080p is changed while a slider moves", async ({ page }) => {
      await open(page, site, picture("large.jpg"));
      const times: number[] = [];
      for (let i = 0; i < 6; i++) {
        await press(page, "#strength", "ArrowLeft");
        const wanted = Number((1 - 0.01 * (i + 1)).toFixed(2));
        await expect.poll(() => shownStrength(page)).toBeCloseTo(wanted, 5);
        times.push(Number(await page.locator("#after").getAttribute("data-ms")));
      }
      times.sort((a, b) => a - b);
      console.log(`${mode}: a 1080p preview in ${times.map(Math.round).join(", ")} ms`);
      expect(times.every((each) => each > 0)).toBe(true); // how fast is measured by scripts/measure.mjs
    });

    test("dropped and pasted pictures, and things that are none", async ({ page }) => {
      await page.goto(site.url);
      const data = readFileSync(picture("series-0.jpg")).toString("base64");
      const give = (name: "drop" | "paste", file: string, type: string) =>
        page.evaluate(async ([kind, content, fileName, fileType]) => {
          const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], fileName, { type: fileType }));
          const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
          document.body.dispatchEvent(event);
        }, [name, data, file, type] as const);
      await give("drop", "words.txt", "text/plain");
      await expect(page.locator("#status")).toHaveText("No picture was given; choose JPEG, PNG or other pictures.");
      await give("drop", "dropped.jpg", "image/jpeg");
      await expect(page.locator("#status")).toContainText(/Done|clear/);
      await give("paste", "pasted.jpg", "image/jpeg");
      await expect(page.locator("#list li")).toHaveCount(2);
      await expect(page.locator("#list li[aria-current] button")).toHaveText("pasted.jpg");
      await page.locator("#language").selectOption("de");
      await expect(page.locator("#download")).toHaveText("Herunterladen");
      await page.locator("#language").selectOption("zh");
      await expect(page.locator("#download")).toHaveText("下载");
    });

    test("nothing is cut off on the narrowest phone, in any language, and numbers are written as there", async ({ page }) => {
      await page.setViewportSize({ width: 320, height: 640 });
      await open(page, site, picture("photo.jpg"));
      for (const [language, strength] of [["en", "1.00"], ["de", "1,00"], ["zh", "1.00"]]) {
        await page.locator("#language").selectOption(language);
        await expect(page.locator("#strength-value")).toHaveText(strength);
        const cut = await page.evaluate(() => {
          const inside = [...document.querySelectorAll<HTMLElement>("#panels :is(button, select, dt, dd, output, label)")];
          return inside
            .filter((each) => {
              const panel = each.closest("#panels > *")!.getBoundingClientRect();
              return each.getBoundingClientRect().right > panel.right - 8 || each.scrollWidth > each.clientWidth + 1;
            })
            .map((each) => each.outerHTML);
        });
        expect(cut).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
        expect((await page.locator("#model").boundingBox())!.width).toBeGreaterThan(110); // its longest name
      }
    });

    for (const scheme of ["light", "dark"] as const) {
      for (const [size, width, height] of [["wide", 1280, 900], ["phone", 390, 844]] as const) {
        test(`access and layout: ${scheme}, ${size}`, async ({ page }) => {
          await page.setViewportSize({ width, height });
          await page.emulateMedia({ colorScheme: scheme });
          await page.goto(site.url);
          await page.evaluate(() => {
            const moved: number[] = [];
            (window as unknown as { moved: number[] }).moved = moved;
            new PerformanceObserver((seen) => {
              for (const each of seen.getEntries()) moved.push((each as unknown as { value: number }).value);
            }).observe({ type: "layout-shift", buffered: true });
          });
          await checkAccess(page);
          await page.locator("#file").setInputFiles([AITZGORRI]);
          await expect(page.locator("#status")).toContainText("Done.");
          await checkAccess(page);
          expect(await page.evaluate(() => (window as unknown as { moved: number[] }).moved.reduce((a, b) => a + b, 0))).toBeLessThan(0.02);
          expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
          if (SHOTS) await page.screenshot({ path: join(SHOTS, `${mode}-${scheme}-${size}.png`), fullPage: size === "phone" });
        });
      }
    }
  });
}

test("a service with a token asks for it; formats that browsers do not know are shown too", async ({ page }) => {
  const site = await opened(startService("a-token-for-the-tests"));
  await page.goto(site.url);
  await expect(page.locator("#token-row")).toBeVisible();
  await expect(page.locator("#status")).toHaveText("This service asks for a token; enter it below.");
  await page.locator("#token").fill("a-token-for-the-tests");
  await page.keyboard.press("Enter");
  await expect(page.locator("#model option")).not.toHaveCount(0);
  await page.locator("#file").setInputFiles([picture("deep.tif")]);
  await expect(page.locator("#status")).toContainText(/Done|clear/);
  await page.locator("#model").selectOption("dcp");
  await expect(page.locator("#status")).toContainText(/Done|clear/);
  expect((await saved(page, "#download")).name).toBe("deep-dehazed.tif");
});

test("without a server it works offline after the first visit, within 12 MB", async ({ page, context }) => {
  const site = await opened(startStatic());
  await open(page, site, picture("photo.jpg"));
  await page.evaluate(() => navigator.serviceWorker.ready);
  expect(new Set(site.asked.map((each) => each.split(" ")[0]))).toEqual(new Set(["GET"]));
  expect(site.bytes()).toBeLessThan(12_000_000);
  console.log(`first visit: ${(site.bytes() / 1e6).toFixed(2)} MB`);
  site.close();
  await context.setOffline(true);
  await page.reload();
  await page.locator("#file").setInputFiles([picture("second.png")]);
  await expect(page.locator("#status")).toContainText(/Done|clear/);
  expect((await saved(page, "#download")).name).toBe("second-dehazed.png");
});

test("threads are used where the headers allow", async ({ page }) => {
  const site = await opened(startStatic(undefined, true));
  await open(page, site, picture("photo.jpg"));
  expect(await page.evaluate(() => document.documentElement.dataset["engine"])).toBe("WebAssembly, threads");
});
