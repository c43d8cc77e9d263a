import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { openAdmin } from "../../src/admin/server.ts";
import { realWorld } from "../../src/lib/world.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { hostileApp, TOKEN } from "./support/hostile-app.ts";
import { below, bytesOf, mutator, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

describe("the server", () => {
  const servers: { close(): Promise<void> }[] = [];
  afterAll(async () => {
    for (const server of servers) await server.close();
  });

  const SEEDS = [
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    `GET /v1/queue HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n\r\nGET /v1/messages HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    "POST /v1/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/queue HTTP/1.1\r\n\r\n",
    "POST /v1/flush HTTP/1.0\r\nContent-Length: 100000000\r\n\r\nxxxx",
    "GET http://evil.example/v1/queue HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "DELETE /v1/messages/06CV2Q2M8Z000001 HTTP/1.1\r\nHost: a b\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003",
  ].map((text) => bytesOf(text));
  const WORDS = [
    "\r\n",
    "\n",
    "\0",
    ":",
    " ",
    "HTTP/1.1",
    "HTTP/9.9",
    "Host: localhost\r\n",
    "Host: a b\r\n",
    "Host: [\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "FFFFFFFFFFFFFFFF\r\n",
    "/..%2f",
    "?",
    "%",
    "\xff",
    "X: ".padEnd(9000, "x"),
    `Authorization: Bearer ${TOKEN}\r\n`,
    "Connection: upgrade\r\n",
    "Expect: 100-continue\r\n",
  ];

  test(
    "survives any bytes on a socket, pipelined or not, and says neither token nor stack",
    async () => {
      const server = await openAdmin(
        {
          listen: [{ host: "127.0.0.1", port: 0 }],
          idleTimeoutSeconds: 5,
          closeGraceMs: 100,
          clock: realWorld.clock,
        },
        hostileApp(),
      );
      servers.push(server);
      const [address] = server.addresses;
      const port = address !== undefined && "port" in address ? address.port : 0;
      await rounds(150, async (random) => {
        const bytes = mutator(random, WORDS)(pick(random, SEEDS), pick(random, SEEDS));
        const hasToken = Buffer.from(bytes).toString("latin1").includes(TOKEN);
        const answer = await exchange(port, bytes, random);
        expect(answer).not.toContain(TOKEN);
        expect(answer).not.toMatch(/ at .*\.ts:\d+/u);
        expect(answer).not.toMatch(/^HTTP\/1\.[01] 5(?!05)/mu);
        if (!hasToken) expect(answer).not.toContain('"destinations"');
      });
      const response = await fetch(`http://127.0.0.1:${port}/livez`);
      expect(response.status).toBe(200);
    },
    FUZZ_TIMEOUT_MS,
  );

  test("a Host that is no name is refused also by those who are trusted", async () => {
    for (const host of ["a b", "[", "localhost:99999", "%", "\u00e9", "/"]) {
      const random = seededRandom(testSeed());
      const port = await portOf(servers);
      const text = `GET / HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n\r\n`;
      const answer = await exchange(port, bytesOf(Buffer.from(text, "utf8")), random);
      expect(answer).not.toMatch(/^HTTP\/1\.[01] 5(?!05)/mu);
    }
  });

  async function portOf(opened: typeof servers): Promise<number> {
    const server = await openAdmin(
      {
        listen: [{ host: "127.0.0.1", port: 0 }],
        idleTimeoutSeconds: 5,
        closeGraceMs: 100,
        clock: realWorld.clock,
      },
      hostileApp(),
    );
    opened.push(server);
    const [address] = server.addresses;
    return address !== undefined && "port" in address ? address.port : 0;
  }
});

/** What comes back until the server closes, or our half has been closed and nothing comes any more. */
function exchange(port: number, bytes: Uint8Array, random: () => number): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect({ port, host: "127.0.0.1" });
    const end = () => resolve(Buffer.concat(chunks).toString("latin1"));
    socket.on("data", (chunk) => chunks.push(Buffer.from(chunk)));
    socket.on("error", end);
    socket.on("close", end);
    const split = below(random, bytes.length + 1);
    socket.write(bytes.subarray(0, split));
    socket.end(bytes.subarray(split));
  });
}
