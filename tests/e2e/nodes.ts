import { expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { type Daemon, productCommand, runProduct, startDaemon } from "../support/binary.ts";
import { startChild } from "../support/child.ts";
import { until } from "../support/until.ts";
import { drained, QUICK, queueOf, stored } from "./help.ts";

/** The server that the nodes of these scenarios share, whatever it is. */
export interface SharedServer {
  /** What `--spool` is given for the queue of this name. */
  spool(queue: string): string;
  /** Ends it as a power cut does, and starts it again. */
  crash(): Promise<void>;
  restart(): Promise<void>;
  /** What a node without it says of it. */
  readonly complaint: string;
}

const LEASE_MS = 5000;
const LEASE = ["--set", `queue.lease=${LEASE_MS}ms`];
const MOVED = 300;
const GRACE = ["--set", "shutdown.grace=500ms"];

const to = ({ port }: LedgerReceiver): readonly string[] => ["--relay", `smtp://127.0.0.1:${port}`];

/** A node that accepts mail and delivers none. */
export function edgeOnly(spool: string, args: readonly string[] = []): Promise<Daemon> {
  return startDaemon({ spool, args: ["--relay", "none", ...QUICK, ...args] });
}

/** A node that delivers what others have accepted. */
export function relayOnly(
  spool: string,
  hop: LedgerReceiver,
  args: readonly string[] = [],
): Promise<Daemon> {
  return startDaemon({ spool, relayOnly: true, args: [...to(hop), ...args, ...QUICK] });
}

/** Several nodes on one store, tried as an operator would: the same for every store that nodes share. */
export function nodeScenarios(name: string, server: () => SharedServer): void {
  test(`${name}: what an edge-only node accepts relay-only nodes deliver, each message once; all see the queue`, async () => {
    await using hop = await ledgerReceiver();
    const spool = server().spool("shared");
    await using edge = await edgeOnly(spool);
    await using first = await relayOnly(spool, hop);
    await using second = await relayOnly(spool, hop);
    expect(first.output()).toContain("smtp none");
    expect(await (await first.admin("/")).text()).toContain(
      "READY         mail of the store is relayed",
    );
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 8, 200);
    await drained(edge);
    expect(client.acknowledged.size).toBe(200);
    expect(hop.taken.size).toBe(200);
    expect(hop.count()).toBe(200);
    for (const node of [edge, first, second]) {
      expect(await queueOf(node)).toMatchObject({ size: 0, refusal: null });
    }
    expect(await first.stop()).toBe(0);
    await client.sendSome(edge.smtpPort, 2, 10);
    await drained(second);
    expect(hop.taken.size).toBe(210);
  }, 60_000);

  test(`${name}: whichever node is killed mail flows on, and any node tells who holds what`, async () => {
    await using hop = await ledgerReceiver();
    const spool = server().spool("heirs");
    await using edge = await edgeOnly(spool);
    await using dying = await relayOnly(spool, hop, LEASE);
    hop.pause();
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 2, 6);
    await until("they are leased", async () => (await queueOf(edge)).states.active === 6);
    await using heir = await relayOnly(spool, hop, LEASE);
    const before = await holdersOf(edge);
    expect(before.size).toBe(1);
    expect([...before][0]).toMatch(/^.+\/[0-9A-Z]{16}$/u);
    expect(await holdersOf(dying)).toEqual(before);
    expect(await holdersOf(heir)).toEqual(before);
    dying.kill("SIGKILL");
    await dying.exited;
    await until("the heir has them", async () => {
      const holders = await holdersOf(edge);
      return holders.size === 1 && [...holders].every((holder) => !before.has(holder));
    });
    expect(await holderShown(edge)).toBe([...(await holdersOf(heir))][0] ?? "nobody");
    hop.resume();
    await drained(heir);
    expect([hop.taken.size, hop.count()]).toEqual([6, 6]);

    await client.sendSome(edge.smtpPort, 2, 20);
    edge.kill("SIGKILL");
    await edge.exited;
    await drained(heir);
    await using other = await edgeOnly(spool);
    await client.sendSome(other.smtpPort, 2, 20);
    await drained(other);
    expect(client.acknowledged.size).toBe(46);
    expect([...client.acknowledged.keys()].filter((number) => !hop.taken.has(number))).toEqual([]);
  }, 60_000);

  test(`${name}: a node that is stopped gives its mail back at once, however long its leases`, async () => {
    await using hop = await ledgerReceiver();
    await using hung = await ledgerReceiver();
    hung.pause();
    const spool = server().spool("stopped");
    await using edge = await edgeOnly(spool);
    await using stopping = await relayOnly(spool, hung, GRACE);
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 2, 12);
    await until("they are leased", async () => (await queueOf(edge)).states.active === 12);
    await using heir = await relayOnly(spool, hop);
    expect(await stopping.stop()).toBe(0);
    await drained(heir, 5000);
    expect([hop.taken.size, hop.count()]).toEqual([12, 12]);
    expect(hung.count()).toBe(0);
  }, 60_000);

  test(`${name}: without its store a node refuses mail for now, says why, and goes on when it is back`, async () => {
    await using hop = await ledgerReceiver();
    const args = [...to(hop), ...QUICK];
    await using node = await startDaemon({ spool: server().spool("lonely"), args });
    const client = ledgerClient();
    await client.sendSome(node.smtpPort, 4, 40);
    await server().crash();
    const stop = new AbortController();
    const sending = client.send(node.smtpPort, 2, stop.signal);
    await until("mail is refused", () => client.refusals.length > 0);
    expect(client.refusals.filter((line) => !/^4|^503 .* Need MAIL/u.test(line))).toEqual([]);
    const sick = await node.admin("/readyz");
    expect(sick.status).toBe(503);
    expect(await sick.text()).toContain(server().complaint);
    await server().restart();
    const before = client.acknowledged.size;
    await until("mail is taken", () => client.acknowledged.size > before + 20);
    stop.abort();
    await sending;
    await drained(node);
    expect([...client.acknowledged.keys()].filter((number) => !hop.taken.has(number))).toEqual([]);
    expect((await node.admin("/readyz")).status).toBe(200);
    await stored(node, 0);
  }, 60_000);

  test(`${name}: mail that moves to another queue while nodes at both ends deliver, and the move is killed, is delivered once`, async () => {
    await using hop = await ledgerReceiver();
    const [old, next] = [server().spool("old"), server().spool("next")];
    await using edge = await edgeOnly(old);
    const client = ledgerClient();
    await client.sendSome(edge.smtpPort, 8, MOVED);
    await using there = await relayOnly(next, hop);
    await using here = await relayOnly(old, hop, ["--set", "queue.deliveries_max=1"]);
    const transfer = () =>
      startChild([...productCommand(), "transfer", "--from", old, "--to", next]);
    const first = transfer();
    await until("it is under way", async () => (await queueOf(edge)).size < MOVED * 0.8);
    first.kill("SIGKILL");
    await first.exited;
    // What a node is delivering is left, and is gone or there the next time.
    let moved = 0;
    const isDone = async (): Promise<boolean> => {
      const run = transfer();
      const code = await run.exited;
      moved += Number(/: (\d+) moved/u.exec(run.output())?.[1] ?? 0);
      return code === 0;
    };
    await until("all of it has moved", isDone, 60_000);
    expect(moved).toBeGreaterThan(0);
    await drained(here);
    await drained(there);
    expect(hop.taken.size).toBe(MOVED);
    expect(hop.count()).toBe(MOVED);
  }, 90_000);
}

/** Whoever has any of the mail that is stored, as this node tells in one answer. */
async function holdersOf(node: Daemon): Promise<ReadonlySet<string>> {
  const { messages } = (await node.adminJson("/v1/messages?recipients=true")) as {
    messages: { holder: string | null }[];
  };
  return new Set(messages.flatMap(({ holder }) => holder ?? []));
}

/** The same for one message, on the command line. */
async function holderShown(node: Daemon): Promise<string | undefined> {
  const { messages } = (await node.adminJson("/v1/messages")) as { messages: { id: string }[] };
  const admin = ["--admin", `127.0.0.1:${node.adminPort}`];
  const { output } = await runProduct(["queue", "show", messages[0]?.id ?? "", ...admin]);
  return /^held by +(\S+) until /mu.exec(output)?.[1];
}
