// Calls to the worker as promises.
import type { Answer, Ask, Calls } from "./protocol";

/** What went wrong: a code of the strings, or a sentence of the service. */
export class CallError extends Error {
  constructor(
    readonly code: string,
    readonly detail: string,
  ) {
    super(detail || code);
  }
}

export class Remote {
  private readonly waiting = new Map<number, { resolve: (got: unknown) => void; reject: (error: Error) => void }>();
  private count = 0;

  constructor(private readonly worker: Worker) {
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      const waiter = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("error" in data) waiter?.reject(new CallError(data.error.code, data.error.detail));
      else waiter?.resolve(data.got);
    });
    worker.addEventListener("error", () => {
      for (const { reject } of this.waiting.values()) reject(new CallError("unexpected", ""));
      this.waiting.clear();
    });
  }

  call<Name extends keyof Calls>(name: Name, give: Calls[Name]["give"]): Promise<Calls[Name]["get"]> {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (got: unknown) => void, reject });
      this.worker.postMessage({ id, name, give } satisfies Ask);
    });
  }
}
