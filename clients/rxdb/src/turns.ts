/**
 * Lets pushes run side by side, and a pull only while none does. A pull that began before a push could otherwise bring
 * the state from before it, and show that for a moment.
 */
export class Turns {
  #pushes = new Set<Promise<unknown>>();
  #pull: Promise<unknown> = Promise.resolve();

  async push<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#pull.then(work);
    this.#track(running);
    return running;
  }

  async pull<T>(work: () => Promise<T>): Promise<T> {
    const before = Promise.allSettled([this.#pull, ...this.#pushes]);
    const running = before.then(work);
    this.#pull = running.catch(() => undefined);
    return running;
  }

  #track(running: Promise<unknown>): void {
    const settled = running.catch(() => undefined).finally(() => this.#pushes.delete(settled));
    this.#pushes.add(settled);
  }
}
