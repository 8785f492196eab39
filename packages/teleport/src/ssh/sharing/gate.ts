// Output on its way to people, where it may have to wait. What waits when it is closed for good is dropped.

export class Gate {
  #opening: PromiseWithResolvers<boolean> | undefined;
  #over = false;

  /** At once, for whatever comes from now on. */
  close(): void {
    if (!this.#over) this.#opening ??= Promise.withResolvers();
  }

  open(): void {
    this.#opening?.resolve(true);
    this.#opening = undefined;
  }

  /** Nothing passes any more that it held back, and nobody waits. */
  abandon(): void {
    this.#over = true;
    this.#opening?.resolve(false);
  }

  /** False: the bytes go nowhere. */
  async passes(): Promise<boolean> {
    // It may have been closed again before who waited got their turn.
    while (this.#opening) if (!(await this.#opening.promise)) return false;
    return true;
  }
}
