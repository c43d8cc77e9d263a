import type { QueueControl } from "../../../src/queue/control.ts";
import { detail, fakeApp, IDS, READY, STATUS } from "../../admin/fake-control.ts";

export const TOKEN = "correct-horse-battery";
const TERMINAL = "\u001b[2J\u001b]0;owned\u0007\u009b31m\u202egnp.exe\r\nforged: line\u0000";
/** Probes, which README says need no token. */
export const PROBES = ["/livez", "/readyz", "/healthz", "/healthz/live", "/healthz/ready"];

/** A queue in which everything that others say is hostile. */
function hostileMessage(id: string) {
  const said = { code: 450, enhanced: "4.2.0", text: TERMINAL };
  const usual = detail(id);
  return detail(id, {
    sender: TERMINAL,
    domain: TERMINAL,
    envelope: {
      ...usual.envelope,
      sender: TERMINAL,
      client: { ip: TERMINAL, host: TERMINAL, name: TERMINAL, protocol: TERMINAL },
    },
    original: [{ index: 0, address: TERMINAL, orcpt: TERMINAL }],
    recipients: [{ index: 0, status: "pending", reply: said, relay: TERMINAL }],
    receivedAt: Number.NaN,
    expiresAt: 1e300,
  });
}

const [destination] = STATUS.destinations;
const hostileStatus = {
  ...STATUS,
  refusal: TERMINAL,
  destinations: [
    { ...destination, destination: TERMINAL, lastFailure: TERMINAL },
  ] as typeof STATUS.destinations,
};
const hostileControl: Partial<QueueControl> = {
  status: async () => hostileStatus,
  list: async () => IDS.map(hostileMessage),
  show: async (id) => (id.startsWith("0") ? hostileMessage(id) : undefined),
};
const hostileReady = async () => ({ ...READY, checks: { spool: TERMINAL } });
/** The routes over such a queue, behind a token. */
export function hostileApp() {
  const parts = { token: TOKEN, ready: hostileReady };
  return fakeApp({ control: hostileControl, parts }).app;
}
