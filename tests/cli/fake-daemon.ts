/** A message as the fake daemon keeps it. */
export interface FakeMessage {
  readonly id: string;
  readonly state: string;
  readonly sender: string;
  readonly domain: string;
}

const PAGE_MAX = 1000;

/** The admin endpoint of a daemon, as far as commands use it. */
export interface FakeDaemon extends AsyncDisposable {
  messages: readonly FakeMessage[];
  /** Every request: `GET /v1/queue`. */
  calls: string[];
  /** Answers instead of the daemon. */
  answer: ((request: Request) => Response) | undefined;
  readonly port: number;
  /** The flags that lead there. */
  readonly at: readonly string[];
}

export function fakeDaemon(): FakeDaemon {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const url = new URL(request.url);
      daemon.calls.push(`${request.method} ${url.pathname}${url.search}`);
      return daemon.answer?.(request) ?? route(request, url, daemon.messages);
    },
  });
  const port = server.port ?? 0;
  const daemon: FakeDaemon = {
    messages: [],
    calls: [],
    answer: undefined,
    port,
    at: ["--admin", `127.0.0.1:${port}`],
    [Symbol.asyncDispose]: () => server.stop(true),
  };
  return daemon;
}

export function problem(status: number, title: string, detail = ""): Response {
  return Response.json({ title, detail, status }, { status });
}

export const CONTENT = "Subject: hi\r\nX: \u00e9\r\n\r\nbody\r\n";

function route(request: Request, url: URL, messages: readonly FakeMessage[]): Response {
  const { pathname, searchParams } = url;
  if (pathname === "/v1/queue")
    return Response.json({ size: 3, states: { active: 1, hold: 2 }, more: true });
  if (pathname === "/v1/flush") return Response.json({ flushed: 7 });
  if (pathname === "/v1/messages") return page(searchParams, messages);
  const [, id = "", verb] = /^\/v1\/messages\/(\w+)(?:\/(\w+))?$/u.exec(pathname) ?? [];
  if (["retry", "hold", "release", "remove", "bounce"].includes(id))
    return Response.json({ count: 2 });
  const message = messages.find((one) => one.id === id);
  if (message === undefined) return problem(404, "Not Found", "There is no such message.");
  if (verb === "content") return new Response(Buffer.from(CONTENT, "latin1"));
  return request.method === "GET" ? Response.json(detail(message)) : Response.json({});
}

function page(query: URLSearchParams, messages: readonly FakeMessage[]): Response {
  const limit = Number(query.get("limit"));
  if (limit > PAGE_MAX) return problem(400, "Bad Request", "limit");
  const from = messages.findIndex(({ id }) => id === query.get("after")) + 1;
  const selected = messages
    .slice(from)
    .filter(({ state }) => state === (query.get("state") ?? state));
  const shown = selected.slice(0, limit);
  const next = selected.length > limit ? shown.at(-1)?.id : null;
  return Response.json({ messages: shown.map(detail), next });
}

function detail({ id, state, sender, domain }: FakeMessage) {
  const reason = state === "deferred" ? "451 4.4.1 connect to mx: timed out" : null;
  return {
    id,
    state,
    sender,
    size: 2048,
    received_at: "2026-11-05T04:03:02.000Z",
    due_at: "2026-11-05T05:03:02.000Z",
    expires_at: "2026-11-10T04:03:02.000Z",
    attempts: 2,
    domain,
    held: state === "hold",
    holder: state === "active" ? "relay-1/1F6YH3Q2K0NODE00" : null,
    leased_until: state === "active" ? "2026-11-05T04:18:02.000Z" : null,
    client: { ip: "192.0.2.1", host: "c.example", name: "c", protocol: "ESMTP" },
    recipients: [
      { index: 0, address: `a@${domain}`, status: "pending", reason, relay: null },
      { index: 1, address: `b@${domain}`, status: "pending", reason, relay: "mx[192.0.2.9]:25" },
      { index: 2, address: null, status: "delivered", reason: null, relay: null },
    ],
  };
}

export function some(count: number, state = "deferred"): FakeMessage[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `1F6YH3Q2K0${String(index).padStart(6, "0")}`,
    state,
    sender: "s@example.org",
    domain: "example.net",
  }));
}
