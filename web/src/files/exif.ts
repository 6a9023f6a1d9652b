// EXIF data as it is in the file, but for the orientation, which the pixels now have, and the thumbnail, which is hazy.

interface Directory {
  view: DataView;
  little: boolean;
  start: number;
  count: number;
}

function open(tiff: Uint8Array): Directory | null {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 14) return null;
  const little = view.getUint16(0) === 0x4949;
  if (!little && view.getUint16(0) !== 0x4d4d) return null;
  const start = view.getUint32(4, little);
  if (start + 2 > tiff.length) return null;
  const count = view.getUint16(start, little);
  return start + 2 + 12 * count > tiff.length ? null : { view, little, start, count };
}

function find({ view, little, start, count }: Directory, tag: number): number | null {
  for (let i = 0; i < count; i++) {
    const entry = start + 2 + 12 * i;
    if (view.getUint16(entry, little) === tag) return entry;
  }
  return null;
}

/** The orientation, 1 to 8; 1 where none is said. */
export function orientation(tiff: Uint8Array | null): number {
  const directory = tiff && open(tiff);
  const entry = directory && find(directory, 274);
  if (!directory || entry === null) return 1;
  const value = directory.view.getUint16(entry + 8, directory.little);
  return value >= 1 && value <= 8 ? value : 1;
}

/** A copy with orientation 1 and without thumbnail; all else stays at its place. */
export function makeUpright(tiff: Uint8Array, swapSides: boolean): Uint8Array {
  const out = tiff.slice();
  const directory = open(out);
  if (!directory) return out;
  const { view, little, start, count } = directory;
  const turned = find(directory, 274);
  if (turned !== null) view.setUint16(turned + 8, 1, little);
  const details = find(directory, 34665);
  if (swapSides && details !== null) {
    const at = view.getUint32(details + 8, little);
    if (at + 2 <= out.length) {
      const inner = { view, little, start: at, count: view.getUint16(at, little) };
      const across = at + 2 + 12 * inner.count <= out.length ? find(inner, 40962) : null;
      const down = across === null ? null : find(inner, 40963);
      if (across !== null && down !== null && view.getUint16(across + 2, little) === view.getUint16(down + 2, little)) {
        const kept = view.getUint32(across + 8, little);
        view.setUint32(across + 8, view.getUint32(down + 8, little), little);
        view.setUint32(down + 8, kept, little);
      }
    }
  }
  const link = start + 2 + 12 * count;
  if (link + 4 > out.length) return out;
  const second = view.getUint32(link, little);
  view.setUint32(link, 0, little);
  if (!second || second + 2 > out.length) return out;
  const thumbnail = { view, little, start: second, count: view.getUint16(second, little) };
  if (second + 2 + 12 * thumbnail.count > out.length) return out;
  const [place, length] = [find(thumbnail, 513), find(thumbnail, 514)];
  if (place === null || length === null) return out;
  const from = view.getUint32(place + 8, little);
  if (from >= 8) out.fill(0, Math.min(from, out.length), Math.min(from + view.getUint32(length + 8, little), out.length));
  return out;
}
