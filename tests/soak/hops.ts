import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import type { Whim } from "../../src/selftest/receiver-session.ts";
import { freePort } from "../support/free-port.ts";

/** The next hops of the soak: one for each domain that the client writes to, one for the load, one where bounces go. */
export interface Hops extends AsyncDisposable {
  /** All of them listen on it, each on an address of its own. */
  readonly port: number;
  /** What the ledger's recipients are spread over. */
  readonly ledger: readonly LedgerReceiver[];
  readonly load: LedgerReceiver;
  readonly home: LedgerReceiver;
  readonly all: readonly LedgerReceiver[];
  /** From now on everything is taken. */
  heal(): Promise<void>;
}

/** The domains of recipients are addresses: what goes where needs no DNS. */
export const LEDGER_DOMAINS: readonly string[] = ["[127.0.0.2]", "[127.0.0.3]", "[127.0.0.4]"];
export const LOAD_DOMAIN = "[127.0.0.5]";
export const HOME_DOMAIN = "[127.0.0.6]";

const GREETING_MS_MAX = 300;

/** Opens them with dice for their whims. */
export async function openHops(random: () => number): Promise<Hops> {
  let isHealed = false;
  const port = await freePort();
  const whim = (rejects: boolean) => (): Whim => {
    const roll = isHealed ? 1 : random();
    if (roll < 0.04) return "defer";
    if (roll < 0.06) return rejects ? "reject" : "defer";
    if (roll < 0.07) return "drop";
    return roll < 0.08 ? "mute" : "take";
  };
  const greetingDelayMs = () => (!isHealed && random() < 0.1 ? random() * GREETING_MS_MAX : 0);
  const open = (domain: string, rejects: boolean) => {
    const atRcpt = whim(rejects);
    const host = domain.slice(1, -1);
    return ledgerReceiver({ host, port, atRcpt, atDot: atRcpt, greetingDelayMs });
  };
  const ledger = await Promise.all(LEDGER_DOMAINS.map((domain) => open(domain, true)));
  const load = await open(LOAD_DOMAIN, false);
  const home = await open(HOME_DOMAIN, false);
  const all = [...ledger, load, home];
  return {
    port,
    ledger,
    load,
    home,
    all,
    async heal() {
      isHealed = true;
      for (const hop of all) {
        hop.resume();
        await hop.up();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const hop of all) await hop.down();
    },
  };
}
