/** Waits until a condition holds. The limit is generous: it only ends tests that would never end. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, maxMs = 60_000): Promise<void> {
  const end = Date.now() + maxMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`this did not happen in time: ${what}`);
    await pause(5);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
