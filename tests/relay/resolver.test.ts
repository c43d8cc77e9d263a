import { afterEach, expect, test } from "bun:test";
import { createSocket, type Socket } from "node:dgram";
import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { type Answer, decode, encode, type Packet } from "dns-packet";
import { realWorld } from "../../src/lib/world.ts";
import {
  NEGATIVE_TTL_S_MAX,
  openResolver,
  type ResolverOptions,
} from "../../src/relay/dns/open-resolver.ts";
import {
  parseHosts,
  parseResolvConf,
  parseServer,
  SERVERS_MAX,
} from "../../src/relay/dns/system-files.ts";
import { tempDir } from "../support/temp-dir.ts";

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Said {
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly rcode?: number;
  readonly truncated?: boolean;
  /** Sent before the response: something else of the same kind. */
  readonly forged?: Partial<Packet>;
}

type Zone = (type: string, name: string, over: "udp" | "tcp") => Said | undefined;

/** Binds both protocols to one free port; what is free for one may be taken for the other. */
async function samePort(tcp: Server): Promise<{ udp: Socket; port: number }> {
  for (;;) {
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", () => resolve()));
    const address = tcp.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const udp = createSocket("udp4");
    const isBound = await new Promise<boolean>((resolve) => {
      udp.once("error", () => resolve(false));
      udp.bind(port, "127.0.0.1", () => resolve(true));
    });
    if (isBound) return { udp, port };
    await new Promise((resolve) => tcp.close(resolve));
  }
}

/** A DNS server on loopback; it counts the questions it got. */
async function server(zone: Zone) {
  const asked: string[] = [];
  const respond = (data: Buffer, over: "udp" | "tcp"): Buffer[] => {
    const query = decode(data);
    const [question] = query.questions ?? [];
    const { type = "A", name = "" } = question ?? {};
    asked.push(`${over} ${type} ${name}`);
    const said = zone(type, name, over);
    if (!said) return [];
    const packet = {
      type: "response" as const,
      id: query.id ?? 0,
      flags: (said.rcode ?? 0) | (said.truncated ? 0x0200 : 0) | 0x0180,
      questions: query.questions ?? [],
      answers: [...(said.answers ?? [])],
      authorities: [...(said.authorities ?? [])],
    };
    return [...(said.forged ? [encode({ ...packet, ...said.forged })] : []), encode(packet)];
  };
  const tcp = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (data) => {
      for (const packet of respond(Buffer.from(data).subarray(2), "tcp")) {
        const framed = Buffer.concat([
          Buffer.from([packet.length >> 8, packet.length & 255]),
          packet,
        ]);
        // In two pieces: TCP promises no boundaries.
        socket.write(framed.subarray(0, 1));
        setImmediate(() => socket.write(framed.subarray(1)));
      }
    });
  });
  const { udp, port } = await samePort(tcp);
  udp.on("message", (data, from) => {
    for (const packet of respond(data, "udp")) udp.send(packet, from.port, from.address);
  });
  closing.push(
    () => new Promise<void>((resolve) => udp.close(() => resolve())),
    () => tcp.close(),
  );
  return { address: `127.0.0.1:${port}`, asked };
}

function resolver(
  servers: readonly string[],
  more: Partial<ResolverOptions> = {},
  world = realWorld,
) {
  const options = {
    servers,
    resolvConf: "/nonexistent",
    hostsFile: "/nonexistent",
    timeoutMs: 2000,
    tries: 1,
    cacheEntriesMax: 100,
    ...more,
  };
  const opened = openResolver(options, world);
  closing.push(() => opened.close());
  return opened;
}

const a = (name: string, data: string, ttl = 60): Answer => ({
  type: "A",
  name,
  data,
  ttl,
  class: "IN",
});
const aaaa = (name: string, data: string): Answer => ({
  type: "AAAA",
  name,
  data,
  ttl: 60,
  class: "IN",
});
const mx = (name: string, preference: number, exchange: string): Answer => ({
  type: "MX",
  name,
  ttl: 60,
  class: "IN",
  data: { preference, exchange },
});
const soa = (minimum: number): Answer => ({
  type: "SOA",
  name: "example",
  ttl: 3600,
  class: "IN",
  data: {
    mname: "ns.example",
    rname: "host.example",
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum,
  },
});

test("MX records, and null MX as an empty exchange", async () => {
  const { address } = await server((_, name) => ({
    answers:
      name === "null.example"
        ? [mx(name, 0, ".")]
        : [mx(name, 10, "MX1.x.example"), mx(name, 20, "mx2.x.example")],
  }));
  const opened = resolver([address]);
  expect(await opened.mx("X.example.")).toEqual({
    kind: "found",
    records: [
      { preference: 10, exchange: "mx1.x.example" },
      { preference: 20, exchange: "mx2.x.example" },
    ],
  });
  expect(await opened.mx("null.example")).toEqual({
    kind: "found",
    records: [{ preference: 0, exchange: "" }],
  });
});

test("both families, taking turns, over an alias", async () => {
  const { address } = await server((type, name) => ({
    answers: [
      { type: "CNAME", name, data: "Real.example", ttl: 60, class: "IN" },
      ...(type === "A"
        ? [
            a("real.example", "192.0.2.1"),
            a("real.example", "192.0.2.2"),
            a("other.example", "192.0.2.3"),
          ]
        : [aaaa("real.example", "2001:db8::1")]),
    ],
  }));
  expect(await resolver([address]).addresses("x.example")).toEqual({
    kind: "found",
    addresses: ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
  });
});

test("NXDOMAIN, NODATA and failures are told apart", async () => {
  const { address } = await server((_, name) => {
    if (name === "gone.example") return { rcode: 3, authorities: [soa(300)] };
    return name === "broken.example" ? { rcode: 2 } : { authorities: [soa(300)] };
  });
  const opened = resolver([address]);
  expect(await opened.mx("gone.example")).toEqual({ kind: "no-name" });
  expect(await opened.addresses("gone.example")).toEqual({ kind: "no-name" });
  expect(await opened.mx("empty.example")).toEqual({ kind: "no-data" });
  expect(await opened.addresses("empty.example")).toEqual({ kind: "no-data" });
  expect(await opened.mx("broken.example")).toEqual({ kind: "failed", detail: "SERVFAIL" });
});

test("one family is enough when the other fails", async () => {
  const { address } = await server((type, name) =>
    type === "A" ? { answers: [a(name, "192.0.2.1")] } : { rcode: 2 },
  );
  expect(await resolver([address]).addresses("x.example")).toMatchObject({
    addresses: ["192.0.2.1"],
  });
});

test("a truncated response is asked for again over TCP", async () => {
  const many = Array.from({ length: 200 }, (_, index) =>
    mx("x.example", index, `mx${index}.x.example`),
  );
  const { address, asked } = await server((_, __, over) =>
    over === "udp" ? { truncated: true } : { answers: many },
  );
  const answer = await resolver([address]).mx("x.example");
  expect(answer.kind === "found" && answer.records.length).toBe(200);
  expect(asked).toEqual(["udp MX x.example", "tcp MX x.example"]);
});

test("responses to other questions are not believed", async () => {
  const { address } = await server((_, name) => ({
    forged: {
      questions: [{ type: "MX", name: "evil.example" }],
      answers: [mx(name, 1, "evil.example")],
    },
    answers: [mx(name, 10, "mx.x.example")],
  }));
  expect(await resolver([address]).mx("x.example")).toMatchObject({
    records: [{ exchange: "mx.x.example" }],
  });
  const wrongId = await server((_, name) => ({
    forged: { id: 70_000 % 65_536, answers: [mx(name, 1, "evil.example")] },
    answers: [mx(name, 10, "mx.x.example")],
  }));
  expect(await resolver([wrongId.address]).mx("x.example")).toMatchObject({
    records: [{ exchange: "mx.x.example" }],
  });
});

test("the next server is asked when one is silent, broken or refuses", async () => {
  const silent = await server(() => undefined);
  const broken = await server(() => ({ rcode: 5 }));
  const good = await server((_, name) => ({ answers: [mx(name, 10, "mx.x.example")] }));
  const opened = resolver([silent.address, broken.address, good.address], { timeoutMs: 100 });
  expect((await opened.mx("x.example")).kind).toBe("found");
  // From then on the good one comes first.
  expect((await opened.mx("y.example")).kind).toBe("found");
  expect(silent.asked).toHaveLength(1);
});

test("silence ends after the tries, and delays no other name", async () => {
  const { address, asked } = await server((_, name) =>
    name === "silent.example" ? undefined : { answers: [mx(name, 10, "mx.x.example")] },
  );
  const opened = resolver([address], { timeoutMs: 300, tries: 2 });
  const finished: string[] = [];
  const stalled = opened.mx("silent.example").then((answer) => {
    finished.push("silent");
    return answer;
  });
  await opened.mx("x.example").then(() => finished.push("other"));
  expect(await stalled).toEqual({ kind: "failed", detail: "timed out" });
  expect(finished).toEqual(["other", "silent"]);
  expect(asked.filter((question) => question.includes("silent"))).toHaveLength(2);
});

test("answers are remembered as long as they live, missing names too, failures shortly", async () => {
  let now = 1_000_000;
  const world = { ...realWorld, clock: { ...realWorld.clock, now: () => now } };
  const { address, asked } = await server((_, name) => {
    if (name === "gone.example") return { rcode: 3, authorities: [soa(1_000_000)] };
    return name === "broken.example" ? { rcode: 2 } : { answers: [mx(name, 1, "m.example")] };
  });
  const opened = resolver([address], {}, world);
  const names = ["x.example", "gone.example", "broken.example"];
  const askAll = async () => {
    asked.length = 0;
    for (const name of names) await opened.mx(name);
    return asked.map((question) => question.split(" ").at(-1));
  };
  expect(await askAll()).toEqual(names);
  expect(await askAll()).toEqual([]);
  now += 6000;
  expect(await askAll()).toEqual(["broken.example"]);
  now += 55_000;
  expect(await askAll()).toEqual(["x.example", "broken.example"]);
  now += NEGATIVE_TTL_S_MAX * 1000;
  expect(await askAll()).toEqual(names);
});

test("the same question is asked once at a time, and memory is bounded", async () => {
  const { address, asked } = await server((_, name) => ({ answers: [mx(name, 1, "m.example")] }));
  const opened = resolver([address], { cacheEntriesMax: 2 });
  await Promise.all([opened.mx("a.example"), opened.mx("a.example"), opened.mx("A.example")]);
  expect(asked).toHaveLength(1);
  await opened.mx("b.example");
  await opened.mx("c.example");
  await opened.mx("b.example");
  expect(asked).toHaveLength(3);
  await opened.mx("a.example");
  expect(asked).toHaveLength(4);
});

test("names that cannot exist are not asked for", async () => {
  const { address, asked } = await server(() => ({ rcode: 2 }));
  const opened = resolver([address]);
  for (const name of [
    "",
    "a..b",
    `${"x".repeat(64)}.example`,
    "a b.example",
    `${"abc.".repeat(70)}example`,
  ])
    expect(await opened.mx(name)).toEqual({ kind: "no-name" });
  expect(asked).toEqual([]);
});

test("the hosts file comes first, and localhost needs none", async () => {
  await using directory = tempDir("hosts");
  const hostsFile = directory.join("hosts");
  await writeFile(hostsFile, "192.0.2.7 Mail.local mail # comment\n::7 mail.local\nnonsense x\n");
  const { address, asked } = await server(() => ({ rcode: 3 }));
  const opened = resolver([address], { hostsFile });
  expect(await opened.addresses("mail.LOCAL")).toEqual({
    kind: "found",
    addresses: ["192.0.2.7", "::7"],
  });
  expect(await opened.addresses("localhost")).toEqual({
    kind: "found",
    addresses: ["127.0.0.1", "::1"],
  });
  expect(await opened.addresses("192.0.2.8")).toEqual({ kind: "found", addresses: ["192.0.2.8"] });
  expect(asked).toEqual([]);
});

test("servers come from resolv.conf when none are given", async () => {
  const conf =
    "# comment\nnameserver 192.0.2.1\n nameserver ::1 # local\nnameserver x\nsearch a.example\n";
  expect(parseResolvConf(conf)).toEqual([
    { ip: "192.0.2.1", port: 53 },
    { ip: "::1", port: 53 },
  ]);
  expect(parseResolvConf("")).toEqual([{ ip: "127.0.0.1", port: 53 }]);
  expect(parseResolvConf("nameserver 192.0.2.1\n".repeat(9))).toHaveLength(SERVERS_MAX);
  expect(parseHosts("").get("localhost")).toEqual(["127.0.0.1", "::1"]);
});

test.each([
  ["192.0.2.1", { ip: "192.0.2.1", port: 53 }],
  ["192.0.2.1:5353", { ip: "192.0.2.1", port: 5353 }],
  ["2001:db8::1", { ip: "2001:db8::1", port: 53 }],
  ["[2001:db8::1]", { ip: "2001:db8::1", port: 53 }],
  ["[2001:db8::1]:5353", { ip: "2001:db8::1", port: 5353 }],
  ["name.example", undefined],
  ["192.0.2.1:0", undefined],
  ["192.0.2.1:99999", undefined],
])("the server %s", (text, expected) => {
  expect(parseServer(text)).toEqual(expected as never);
});
