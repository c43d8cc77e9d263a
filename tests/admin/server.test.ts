import { afterEach, expect, test } from "bun:test";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import {
  type AdminAddress,
  type AdminHandler,
  type AdminServer,
  openAdmin,
} from "../../src/admin/server.ts";
import { realWorld } from "../../src/lib/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { countedBody, detail, fakeApp, IDS } from "./fake-control.ts";

const [ID] = IDS;
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function directory(): string {
  const dir = tempDir("admin");
  closers.push(() => dir[Symbol.asyncDispose]());
  return dir.path;
}

async function open(
  listen: readonly AdminAddress[],
  app: AdminHandler = fakeApp({ parts: { clock: realWorld.clock } }).app,
): Promise<AdminServer> {
  const { clock } = realWorld;
  const server = await openAdmin(
    { listen, idleTimeoutSeconds: 10, closeGraceMs: 1000, clock },
    app,
  );
  closers.push(() => server.close());
  return server;
}

const TCP = { host: "127.0.0.1", port: 0 } as const;

function urlOf({ addresses: [address] }: AdminServer): string {
  if (address === undefined || "unix" in address) throw new Error("no TCP address");
  return `http://127.0.0.1:${address.port}`;
}

/** What curl prints, the status on a line of its own at the end. */
async function curl(...args: string[]): Promise<string> {
  const command = [
    "curl",
    "--silent",
    "--max-time",
    "10",
    "--write-out",
    "\n%{http_code}",
    ...args,
  ];
  const child = Bun.spawn(command, { stdout: "pipe" });
  return new Response(child.stdout).text();
}

test("curl gets the story over TCP, under the name it asked", async () => {
  const url = urlOf(await open([TCP]));
  const page = await curl(url);
  expect(page).toStartWith("slimta-queue 0.1.0 on mail.example.org, up ");
  expect(page).toContain(`curl '${url}/v1/messages?format=text'\n`);
  expect(page).toEndWith("\n200");
  expect(await curl(`${url}/v1/queue`)).toStartWith('{"size":12345,');
  expect(await curl("--head", `${url}/v1/queue`)).toEndWith("\n200");
  expect(await curl("--header", "Host: evil.example", url)).toEndWith("\n421");
  expect(await curl("--request", "POST", `${url}/v1/flush`)).toBe('{"flushed":7}\n200');
});

test("bodies are refused, small and large", async () => {
  const url = urlOf(await open([TCP]));
  expect(await curl("--data", "x", `${url}/v1/flush`)).toEndWith("\n400");
  const large = join(directory(), "large");
  writeFileSync(large, new Uint8Array(1_000_000));
  expect(await curl("--data-binary", `@${large}`, `${url}/v1/flush`)).toMatch(/\n(?:400|413)$/u);
});

test("a message arrives byte for byte", async () => {
  const chunks = Array.from({ length: 300 }, (_, n) => new Uint8Array(65_536).fill(n));
  const { body } = countedBody(chunks);
  const { envelope } = detail(ID);
  const large = detail(ID, {
    envelope: { ...envelope, content: { prefix: new Uint8Array([1, 2]), body } },
  });
  const { app } = fakeApp({ control: { show: async () => large } });
  const response = await fetch(`${urlOf(await open([TCP], app))}/v1/messages/${ID}/content`);
  const bytes = await response.bytes();
  const digest = (...parts: Uint8Array[]) => {
    const hash = new Bun.CryptoHasher("sha256");
    for (const part of parts) hash.update(part);
    return hash.digest("hex");
  };
  expect(digest(bytes)).toBe(digest(new Uint8Array([1, 2]), ...chunks));
});

test("a message that cannot be read to its end is not taken for a whole one", async () => {
  const { envelope } = detail(ID);
  const asked = Promise.withResolvers<void>();
  const body = {
    kind: "source" as const,
    size: 131_072,
    head: new Uint8Array(),
    async *stream() {
      yield new Uint8Array(65_536);
      await asked.promise;
      throw new Error("EIO");
    },
  };
  const broken = detail(ID, { envelope: { ...envelope, content: { ...envelope.content, body } } });
  const { app } = fakeApp({ control: { show: async () => broken } });
  const response = await fetch(`${urlOf(await open([TCP], app))}/v1/messages/${ID}/content`);
  const read = response.bytes();
  asked.resolve();
  await expect(read).rejects.toThrow();
});

test("a reader that goes away ends the reading", async () => {
  const closed = Promise.withResolvers<void>();
  const { envelope } = detail(ID);
  const body = {
    kind: "source" as const,
    size: Number.MAX_SAFE_INTEGER,
    head: new Uint8Array(),
    async *stream() {
      try {
        for (;;) yield new Uint8Array(65_536);
      } finally {
        closed.resolve();
      }
    },
  };
  const endless = detail(ID, { envelope: { ...envelope, content: { ...envelope.content, body } } });
  const { app } = fakeApp({ control: { show: async () => endless } });
  const abort = new AbortController();
  const response = await fetch(`${urlOf(await open([TCP], app))}/v1/messages/${ID}/content`, {
    signal: abort.signal,
  });
  await response.body?.getReader().read();
  abort.abort();
  await closed.promise;
});

test("a unix socket is for its owner only, trusted, and gone after close", async () => {
  const unix = join(directory(), "below", "admin.sock");
  const { app } = fakeApp({ parts: { token: "secret" } });
  const server = await open([{ unix }], app);
  expect(server.addresses).toEqual([{ unix }]);
  expect(statSync(unix).mode & 0o777).toBe(0o600);
  expect(statSync(join(unix, "..")).mode & 0o777).toBe(0o700);
  expect(await curl("--unix-socket", unix, "http://queue/v1/queue")).toEndWith("\n200");
  await server.close();
  await server.close();
  expect(existsSync(unix)).toBe(false);
});

test("a port is not shared with another daemon's admin server", async () => {
  const server = await open([TCP]);
  const port = Number(new URL(urlOf(server)).port);
  await expect(open([{ host: "127.0.0.1", port }])).rejects.toThrow("in use");
});

test("opening leaves the umask of the process alone", async () => {
  const before = process.umask(0o022);
  closers.push(() => process.umask(before));
  await open([{ unix: join(directory(), "admin.sock") }]);
  expect(process.umask()).toBe(0o022);
});

test("over TCP the peer is known: the token is wanted", async () => {
  const { app } = fakeApp({ parts: { token: "secret" } });
  const url = urlOf(await open([TCP], app));
  expect(await curl(`${url}/v1/queue`)).toEndWith("\n401");
  expect(await curl("--header", "Authorization: Bearer secret", `${url}/v1/queue`)).toEndWith(
    "\n200",
  );
  const peers: unknown[] = [];
  const handler: AdminHandler = {
    fetch(_, env) {
      peers.push(env.peer);
      return new Response("ok");
    },
  };
  await curl(urlOf(await open([TCP], handler)));
  expect(peers).toEqual(["127.0.0.1"]);
});

test("a stale socket is replaced, a living one is not, a file is not", async () => {
  const unix = join(directory(), "admin.sock");
  const script = `require("net").createServer().listen(${JSON.stringify(unix)}, () => process.kill(process.pid, "SIGKILL"))`;
  await Bun.spawn([process.execPath, "-e", script], { stderr: "ignore" }).exited;
  expect(existsSync(unix)).toBe(true);
  await open([{ unix }]);
  expect(await curl("--unix-socket", unix, "http://x/livez")).toEndWith("\n200");

  await expect(open([{ unix }])).rejects.toThrow(`another process answers on ${unix}`);
  expect(await curl("--unix-socket", unix, "http://x/livez")).toEndWith("\n200");

  const file = join(directory(), "precious");
  writeFileSync(file, "mail");
  await expect(open([{ unix: file }])).rejects.toThrow("is not a socket");
  expect(existsSync(file)).toBe(true);
});

test("all addresses or none: a port that is taken gives the others back", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => {
    taken.listen(0, "127.0.0.1", resolve);
  });
  closers.push(() => taken.close());
  const { port } = taken.address() as { port: number };
  const unix = join(directory(), "admin.sock");
  await expect(open([{ unix }, { host: "127.0.0.1", port }])).rejects.toThrow();
  expect(existsSync(unix)).toBe(false);
});

test("close lets an answer finish, and does not wait for ever", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  const slow: AdminHandler = {
    fetch() {
      asked.resolve();
      return answer.promise;
    },
  };
  const server = await open([TCP], slow);
  const response = fetch(urlOf(server));
  await asked.promise;
  const closed = server.close();
  answer.resolve(new Response("done"));
  expect(await (await response).text()).toBe("done");
  await closed;

  const started = Promise.withResolvers<void>();
  const never: AdminHandler = {
    fetch() {
      started.resolve();
      return new Promise<Response>(() => undefined);
    },
  };
  const stuck = await open([TCP], never);
  const lost = fetch(urlOf(stuck)).catch(() => "lost");
  await started.promise;
  await stuck.close();
  expect(await lost).toBe("lost");
});

test("a handler that throws is a 500 without a word about why", async () => {
  const broken: AdminHandler = {
    fetch() {
      throw new Error("secret");
    },
  };
  const page = await curl(urlOf(await open([TCP], broken)));
  expect(page).toEndWith("\n500");
  expect(page).not.toContain("secret");
});
