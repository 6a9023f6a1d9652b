// Many results in one zip file; pictures are packed already, so they are only stored.
import { Zip, ZipPassThrough } from "fflate";

/** A name that is not taken yet: `a.jpg`, `a-2.jpg`. */
export function freeName(name: string, taken: Set<string>): string {
  const dot = name.lastIndexOf(".");
  const [stem, suffix] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  let free = name;
  for (let n = 2; taken.has(free.toLowerCase()); n++) free = `${stem}-${n}${suffix}`;
  taken.add(free.toLowerCase());
  return free;
}

export function resultName(name: string, suffix: string): string {
  const dot = name.lastIndexOf(".");
  return `${(dot > 0 ? name.slice(0, dot) : name) || "picture"}-dehazed${suffix}`;
}

export class Archive {
  private readonly pieces: Uint8Array<ArrayBuffer>[] = [];
  private readonly taken = new Set<string>();
  private readonly zip = new Zip((error, data) => {
    if (error) throw error;
    this.pieces.push(data as Uint8Array<ArrayBuffer>);
  });

  async add(name: string, blob: Blob): Promise<void> {
    const entry = new ZipPassThrough(freeName(name, this.taken));
    this.zip.add(entry);
    entry.push(new Uint8Array(await blob.arrayBuffer()), true);
  }

  end(): Blob {
    this.zip.end();
    return new Blob(this.pieces, { type: "application/zip" });
  }
}
