// Before and after with a line between them; wheel, buttons, keys and fingers zoom and move the picture.
import { fit, pan, type Placement, type Size, visible, zoom } from "./geometry";
import type { Frame } from "./protocol";

const NEAR_LINE = 28; // [px] that count as touching the line

export class Viewer {
  private picture: Size = { width: 1, height: 1 };
  private at: Placement = { scale: 1, x: 0, y: 0 };
  private isFitted = true;
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private moves: "line" | "picture" = "line";

  constructor(
    private readonly compare: HTMLElement,
    private readonly sheet: HTMLElement,
    private readonly before: HTMLCanvasElement,
    private readonly after: HTMLCanvasElement,
    private readonly line: HTMLElement,
    private readonly split: HTMLInputElement,
  ) {
    split.addEventListener("input", () => this.draw());
    compare.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = this.inside(event);
      this.zoomBy(1.0015 ** -event.deltaY, x, y);
    }, { passive: false });
    compare.addEventListener("pointerdown", (event) => this.press(event));
    compare.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"] as const) {
      compare.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    compare.addEventListener("dblclick", (event) => {
      const { x, y } = this.inside(event);
      if (this.isFitted) this.zoomBy(3, x, y);
      else this.fit();
    });
    split.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(compare);
  }

  /** Show another picture. */
  open(before: Frame): void {
    this.picture = before;
    paint(this.before, before);
    paint(this.after, before);
    this.sheet.style.width = `${before.width}px`;
    this.sheet.style.height = `${before.height}px`;
    this.split.value = "50";
    this.fit();
  }

  show(after: Frame): void {
    paint(this.after, after);
  }

  fit(): void {
    this.at = fit(this.picture, this.frame);
    this.isFitted = true;
    this.draw();
  }

  zoomBy(factor: number, x = this.frame.width / 2, y = this.frame.height / 2): void {
    this.at = zoom(this.at, factor, x, y, this.picture, this.frame);
    this.isFitted = this.at.scale <= fit(this.picture, this.frame).scale * 1.0001;
    this.draw();
  }

  private get frame(): Size {
    return { width: Math.max(1, this.compare.clientWidth), height: Math.max(1, this.compare.clientHeight) };
  }

  private resize(): void {
    if (this.isFitted) this.fit();
    else this.zoomBy(1);
  }

  private draw(): void {
    const { scale, x, y } = this.at;
    this.sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    const [left, right] = visible(this.at, this.picture, this.frame);
    const line = left + ((right - left) * Number(this.split.value)) / 100;
    this.line.style.left = `${line}px`;
    this.before.style.clipPath = `inset(0 ${Math.max(0, this.picture.width - (line - x) / scale)}px 0 0)`;
    this.compare.classList.toggle("zoomed", !this.isFitted);
  }

  private inside(event: MouseEvent): { x: number; y: number } {
    const { left, top } = this.compare.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  private press(event: PointerEvent): void {
    if (event.button !== 0) return;
    const place = this.inside(event);
    this.pointers.set(event.pointerId, place);
    this.compare.setPointerCapture(event.pointerId);
    const isNear = Math.abs(place.x - parseFloat(this.line.style.left)) < NEAR_LINE;
    this.moves = isNear || this.isFitted ? "line" : "picture";
    if (this.moves === "line") this.moveLine(place.x);
    this.split.focus({ preventScroll: true });
    event.preventDefault();
  }

  private move(event: PointerEvent): void {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = this.inside(event);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const distance = (p: { x: number; y: number }) => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
      this.zoomBy(distance(now) / distance(last), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (this.moves === "line") this.moveLine(now.x);
    else {
      this.at = pan(this.at, now.x - last.x, now.y - last.y, this.picture, this.frame);
      this.draw();
    }
  }

  private moveLine(x: number): void {
    const [left, right] = visible(this.at, this.picture, this.frame);
    this.split.value = String(Math.min(100, Math.max(0, (100 * (x - left)) / Math.max(1, right - left))));
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [60, 0],
      ArrowRight: [-60, 0],
      ArrowUp: [0, 60],
      ArrowDown: [0, -60],
    };
    if (event.key === "+" || event.key === "=") this.zoomBy(1.25);
    else if (event.key === "-") this.zoomBy(0.8);
    else if (event.key === "0") this.fit();
    else if (event.shiftKey && event.key in steps) {
      this.at = pan(this.at, ...steps[event.key], this.picture, this.frame);
      this.draw();
    } else return;
    event.preventDefault();
  }
}

function paint(canvas: HTMLCanvasElement, { width, height, pixels }: Frame): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d")!.putImageData(new ImageData(pixels, width, height), 0, 0);
}
