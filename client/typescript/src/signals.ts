// Signals that end what a call does, without leaving listeners on those that outlive it.

/** The longest time that a timer keeps. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Aborts when the first of the signals does, with its reason, until the function that is returned is called. */
export function follow(controller: AbortController, ...signals: readonly (AbortSignal | undefined)[]): () => void {
  const followed = signals.filter((signal) => signal !== undefined);
  const abort = (event: Event): void => {
    controller.abort((event.target as AbortSignal).reason);
  };
  for (const signal of followed) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener("abort", abort);
  }
  return () => {
    for (const signal of followed) signal.removeEventListener("abort", abort);
  };
}

/** Waits. Fails with the reason of the first signal that is aborted meanwhile. */
export function pause(ms: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = new AbortController();
    const leave = follow(aborted, ...signals);
    const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
    aborted.signal.addEventListener("abort", done);
    if (aborted.signal.aborted) done();
    function done(): void {
      clearTimeout(timer);
      leave();
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason is the caller's
      if (aborted.signal.aborted) reject(aborted.signal.reason);
      else resolve();
    }
  });
}
