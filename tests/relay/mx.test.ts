import { afterEach, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import type { Resolver } from "../../src/relay/dns/resolver.ts";
import { type MxOptions, openMxRelay } from "../../src/relay/mx.ts";
import type { Relay } from "../../src/relay/relay.ts";
import { type FakePeer, openPeer, type Script } from "./fake-peer.ts";
import { COURIER, delivery, envelope, NEVER, shown } from "./fixtures.ts";

const closing: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of closing.splice(0).reverse()) await one.close();
});

interface Zone {
  readonly mx?: readonly (readonly [number, string])[] | "no-name" | "failed";
  readonly addresses?: readonly string[] | "no-name" | "failed";
}

/** A resolver that knows some names. */
function zones(known: Record<string, Zone>): Resolver {
  return {
    async mx(name) {
      const mx = known[name]?.mx;
      if (mx === "failed") return { kind: "failed", detail: "SERVFAIL" };
      if (mx === "no-name" || !known[name]) return { kind: "no-name" };
      if (!mx) return { kind: "no-data" };
      return {
        kind: "found",
        records: mx.map(([preference, exchange]) => ({ preference, exchange })),
      };
    },
    async addresses(name) {
      const addresses = known[name]?.addresses;
      if (addresses === "failed") return { kind: "failed", detail: "timed out" };
      if (addresses === "no-name" || !known[name]) return { kind: "no-name" };
      return addresses ? { kind: "found", addresses } : { kind: "no-data" };
    },
    close: () => undefined,
  };
}

function mxRelay(port: number, known: Record<string, Zone>, more: Partial<MxOptions> = {}): Relay {
  const options: MxOptions = {
    ...COURIER,
    port,
    tls: "none",
    hostsMax: 5,
    ownNames: ["relay.example"],
    ownAddresses: ["192.0.2.99", "2001:db8:0:0::99"],
    forced: [],
    ...more,
  };
  const relay = openMxRelay(options, realWorld, zones(known));
  closing.push(relay);
  return relay;
}

async function peer(script: Script = {}): Promise<FakePeer> {
  const opened = await openPeer(script);
  closing.push(opened);
  return opened;
}

async function resultFor(
  domain: string,
  known: Record<string, Zone>,
  more: Partial<MxOptions> = {},
) {
  const { port } = await peer();
  const relay = mxRelay(port, known, more);
  return relay.deliver(delivery(envelope([`user@${domain}`])), NEVER);
}

const HERE: Zone = { addresses: ["127.0.0.1"] };

test.each<[string, Record<string, Zone>, string]>([
  [
    "MX",
    { "x.example": { mx: [[10, "mx.x.example"]] }, "mx.x.example": HERE },
    "delivered 250 2.0.0",
  ],
  ["implicit MX", { "x.example": HERE }, "delivered 250 2.0.0"],
  ["null MX", { "x.example": { mx: [[0, ""]] } }, "rejected 556 5.1.10"],
  ["no such domain", {}, "rejected 550 5.1.2"],
  ["neither MX nor address", { "x.example": {} }, "rejected 550 5.1.2"],
  ["MX without address", { "x.example": { mx: [[10, "gone.example"]] } }, "rejected 550 5.1.2"],
  ["a failing MX lookup", { "x.example": { mx: "failed" } }, "deferred 451 4.4.3"],
  [
    "a failing address lookup",
    { "x.example": { mx: [[10, "mx.x.example"]] }, "mx.x.example": { addresses: "failed" } },
    "deferred 451 4.4.3",
  ],
  [
    "ourselves by name",
    { "x.example": { mx: [[10, "relay.example"]] }, "relay.example": HERE },
    "rejected 554 5.4.6",
  ],
  ["ourselves by address", { "x.example": { addresses: ["192.0.2.99"] } }, "rejected 554 5.4.6"],
  [
    "ourselves by another spelling",
    { "x.example": { addresses: ["2001:db8::99"] } },
    "rejected 554 5.4.6",
  ],
])("%s", async (_, known, expected) => {
  expect(shown(await resultFor("x.example", known))).toEqual([expected]);
});

test("an address without a domain is rejected", async () => {
  const relay = mxRelay(1, {});
  expect(shown(await relay.deliver(delivery(envelope(["postmaster"])), NEVER))).toEqual([
    "rejected 550 5.1.5",
  ]);
});

test("address literals need no DNS", async () => {
  expect(shown(await resultFor("[127.0.0.1]", {}))).toEqual(["delivered 250 2.0.0"]);
  expect(shown(await resultFor("[192.0.2.99]", {}))).toEqual(["rejected 554 5.4.6"]);
  expect(shown(await resultFor("[no.address]", {}))).toEqual(["rejected 550 5.1.2"]);
});

test("hosts are tried by preference, and all their addresses", async () => {
  const { port, transcripts } = await peer();
  const relay = mxRelay(port, {
    "x.example": {
      mx: [
        [20, "second.example"],
        [10, "first.example"],
      ],
    },
    // Nothing listens there.
    "first.example": { addresses: ["127.0.0.77", "127.0.0.78"] },
    "second.example": { addresses: ["127.0.0.79", "127.0.0.1"] },
  });
  const [outcome] = await relay.deliver(delivery(envelope(["user@x.example"])), NEVER);
  expect(outcome).toMatchObject({
    kind: "delivered",
    remote: { host: "second.example", ip: "127.0.0.1" },
  });
  expect(transcripts).toHaveLength(1);
});

test("no more addresses are tried than the limit says", async () => {
  const { port, transcripts } = await peer();
  const known = {
    "x.example": { addresses: ["127.0.0.71", "127.0.0.72", "127.0.0.1"] },
  };
  const two = mxRelay(port, known, { addressesMax: 2 });
  expect(shown(await two.deliver(delivery(envelope(["a@x.example"])), NEVER))).toEqual([
    "deferred 451 4.4.1",
  ]);
  expect(transcripts).toHaveLength(0);
  const three = mxRelay(port, known, { addressesMax: 3 });
  expect(shown(await three.deliver(delivery(envelope(["a@x.example"])), NEVER))).toEqual([
    "delivered 250 2.0.0",
  ]);
});

test("equal preferences are shuffled by the given dice", async () => {
  const { port } = await peer();
  const known = {
    "x.example": {
      mx: [
        [10, "a.example"],
        [10, "b.example"],
      ] as const,
    },
    "a.example": HERE,
    "b.example": HERE,
  };
  const hosts: unknown[] = [];
  for (const dice of [
    [0.1, 0.9],
    [0.9, 0.1],
  ]) {
    const world = { ...realWorld, random: () => dice.shift() ?? 0 };
    const options = {
      ...COURIER,
      port,
      tls: "none" as const,
      hostsMax: 5,
      ownNames: [],
      ownAddresses: [],
      forced: [],
    };
    const relay = openMxRelay(options, world, zones(known));
    closing.push(relay);
    const [outcome] = await relay.deliver(delivery(envelope(["u@x.example"])), NEVER);
    hosts.push(outcome?.remote?.host);
  }
  expect(hosts).toEqual(["a.example", "b.example"]);
});

test("hosts no better than ourselves are left out", async () => {
  const { port } = await peer();
  const known: Record<string, Zone> = {
    "x.example": {
      mx: [
        [10, "best.example"],
        [20, "relay.example"],
        [20, "equal.example"],
        [30, "worse.example"],
      ],
    },
    "best.example": { addresses: ["127.0.0.76"] },
    "relay.example": HERE,
    "equal.example": HERE,
    "worse.example": HERE,
  };
  const relay = mxRelay(port, known);
  const [outcome] = await relay.deliver(delivery(envelope(["u@x.example"])), NEVER);
  expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.4.1"]);
  expect(outcome?.reply.text).toContain("best.example");
});

test("recipients of several domains each go their way", async () => {
  const { port, transcripts } = await peer();
  const relay = mxRelay(port, {
    "x.example": HERE,
    "xn--bcher-kva.example": HERE,
    "null.example": { mx: [[0, ""]] },
  });
  const of = envelope(["a@x.example", "b@null.example", "c@X.example", "d@bücher.example"]);
  const outcomes = await relay.deliver(delivery(of), NEVER);
  const sorted = outcomes.toSorted((one, other) => one.recipient - other.recipient);
  expect(sorted.map(({ recipient }) => recipient)).toEqual([1, 3, 5, 7]);
  expect(shown(sorted)).toEqual([
    "delivered 250 2.0.0",
    "rejected 556 5.1.10",
    "delivered 250 2.0.0",
    "delivered 250 2.0.0",
  ]);
  const messages = transcripts.flatMap((transcript) => transcript.messages);
  expect(messages).toHaveLength(2);
});

test("a forced route knows better than DNS", async () => {
  const { port } = await peer();
  const forced = [{ domain: "X.example", host: "127.0.0.1", port }];
  const relay = openMxRelay(
    { ...COURIER, port: 1, tls: "none", hostsMax: 5, ownNames: [], ownAddresses: [], forced },
    realWorld,
    { ...zones({}), addresses: async (name) => ({ kind: "found", addresses: [name] }) },
  );
  closing.push(relay);
  expect(shown(await relay.deliver(delivery(envelope(["u@x.example"])), NEVER))).toEqual([
    "delivered 250 2.0.0",
  ]);
});

test("a lookup that stalls ends with the signal", async () => {
  const abort = new AbortController();
  const stalled: Resolver = {
    ...zones({}),
    mx: () => {
      queueMicrotask(() => abort.abort());
      return new Promise(() => undefined);
    },
  };
  const options = {
    ...COURIER,
    port: 1,
    tls: "none" as const,
    hostsMax: 5,
    ownNames: [],
    ownAddresses: [],
    forced: [],
  };
  const relay = openMxRelay(options, realWorld, stalled);
  closing.push(relay);
  const outcomes = await relay.deliver(
    delivery(envelope(["u@x.example", "v@x.example"])),
    abort.signal,
  );
  expect(shown(outcomes)).toEqual(["deferred 451 4.4.2", "deferred 451 4.4.2"]);
});

test("the destination is the domain in A-labels", () => {
  const relay = mxRelay(1, {});
  expect(relay.destinationOf("X.Example")).toBe("x.example");
  expect(relay.destinationOf("bücher.example")).toBe("xn--bcher-kva.example");
});
