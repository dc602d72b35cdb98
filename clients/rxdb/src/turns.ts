/**
 * Lets some pushes run side by side, and a pull only while none does. A pull that began before a push could otherwise bring
 * the state from before it, and show that for a moment.
 */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  #pushes = new Set<Promise<unknown>>();
  #pull: Promise<unknown> = Promise.resolve();

  constructor(pushesMax: number) {
    this.#free = pushesMax;
  }

  async push<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#pull.then(() => this.#limited(work));
    this.#track(running);
    return running;
  }

  async pull<T>(work: () => Promise<T>): Promise<T> {
    const before = Promise.allSettled([this.#pull, ...this.#pushes]);
    const running = before.then(work);
    this.#pull = running.catch(() => undefined);
    return running;
  }

  async #limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((next) => this.#waiting.push(next));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  #track(running: Promise<unknown>): void {
    const settled = running.catch(() => undefined).finally(() => this.#pushes.delete(settled));
    this.#pushes.add(settled);
  }
}
