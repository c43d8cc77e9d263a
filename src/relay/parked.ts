import type { SmtpClient } from "./smtp-session.ts";

/** Which sessions were last used for which destination and are not in use now, until they are closed. */
export class Parked {
  readonly #destinations = new Map<SmtpClient, string>();
  readonly #clients = new Map<string, Set<SmtpClient>>();

  add(client: SmtpClient, destination: string): void {
    this.#destinations.set(client, destination);
    const same = this.#clients.get(destination);
    if (same) same.add(client);
    else this.#clients.set(destination, new Set([client]));
  }

  delete(client: SmtpClient): void {
    const destination = this.#destinations.get(client);
    if (destination === undefined) return;
    this.#destinations.delete(client);
    const same = this.#clients.get(destination);
    same?.delete(client);
    if (same?.size === 0) this.#clients.delete(destination);
  }

  count(destination: string): number {
    return this.#clients.get(destination)?.size ?? 0;
  }

  /** Those that came first are first. */
  of(destination: string): readonly SmtpClient[] {
    return [...(this.#clients.get(destination) ?? [])];
  }
}
