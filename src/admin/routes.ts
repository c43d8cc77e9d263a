import { type Context, Hono } from "hono";
import { ID_PATTERN } from "../lib/id.ts";
import { terminalJson } from "../lib/json.ts";
import type { Clock } from "../lib/world.ts";
import { QueueError } from "../mail/queue-error.ts";
import { formatReply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import type { Totals } from "../observe/metrics.ts";
import { EXPOSITION_TYPE } from "../observe/registry.ts";
import { BusyError, type MessageDetail, type QueueControl, type Verb } from "../queue/control.ts";
import { contentResponse } from "./content.ts";
import { ENDPOINTS } from "./endpoints.ts";
import { type AdminEnv, type Guard, openGuard } from "./guard.ts";
import { overviewJson, overviewText } from "./overview.ts";
import { ProblemError, problemResponse } from "./problem.ts";
import {
  flushQuery,
  formatQuery,
  listQuery,
  noQuery,
  readQuery,
  readSelector,
  selectorOf,
} from "./query.ts";
import { type ReadyReport, readiness, withoutReasons } from "./ready.ts";
import { detailJson, queueJson, summaryJson } from "./shapes.ts";
import { messagesText, messageText, queueText } from "./text.ts";

export interface AdminParts {
  /** The text for `/metrics`. */
  readonly metrics: () => Promise<string>;
  readonly totals: () => Totals;
  /** Asks whether mail can be accepted durably; may be slow, asked once at a time. */
  readonly ready: () => Promise<ReadyReport>;
  readonly version: string;
  readonly hostname: string;
  /** When the process started, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** The bearer token; without one only this host may ask. */
  readonly token: string | undefined;
  /** Names of this host that a `Host` header may have, besides the loopback ones. */
  readonly hosts: readonly string[];
  readonly clock: Clock;
  /** Told of faults; what operators do is told by the queue. */
  readonly emit: Emit;
}

type AdminContext = Context<{ Bindings: AdminEnv }>;
export type AdminApp = Hono<{ Bindings: AdminEnv }>;
type Handler = (c: AdminContext) => Response | Promise<Response>;
type Methods = Readonly<Partial<Record<"GET" | "POST" | "DELETE", Handler>>>;

const VERBS = ["retry", "hold", "release", "remove", "bounce"] as const satisfies readonly Verb[];

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

/**
 * The HTTP interface for operators and probes. Asks nothing of the queue but its `QueueControl`, never answers with a
 * secret, and refuses whom the guard refuses before anything else.
 */
export function adminRoutes(control: QueueControl, parts: AdminParts): AdminApp {
  const app: AdminApp = new Hono<{ Bindings: AdminEnv }>();
  const guard = openGuard(parts);
  app.use(async (c, next) => {
    const problem = guard.check(c.req.raw, c.env ?? {});
    if (problem === undefined) await next();
    else c.res = problemResponse(problem);
    for (const [name, value] of Object.entries(HEADERS)) c.res.headers.set(name, value);
  });
  for (const [path, methods] of Object.entries(routesOf(control, parts, guard))) {
    route(app, path, methods);
  }
  app.notFound(() =>
    problemResponse({
      status: 404,
      detail: "There is nothing here. `endpoints` says what there is.",
      members: { endpoints: ENDPOINTS.map(({ call }) => call) },
    }),
  );
  app.onError((error) => errorResponse(error, parts.emit));
  return app;
}

/** One path with its methods; any other method is 405 with `Allow`. */
function route(app: AdminApp, path: string, methods: Methods): void {
  for (const [method, handler] of Object.entries(methods)) app.on(method, path, handler);
  const names = Object.keys(methods);
  const allow = names.includes("GET") ? ["GET", "HEAD", ...names.slice(1)] : names;
  app.all(path, () =>
    problemResponse({
      status: 405,
      detail: `Use ${names.join(" or ")} here.`,
      headers: { Allow: allow.join(", ") },
    }),
  );
}

function routesOf(
  control: QueueControl,
  parts: AdminParts,
  guard: Guard,
): Readonly<Record<string, Methods>> {
  const ready = readiness(parts.ready, parts.clock);
  const readyz: Handler = async (c) => {
    readQuery(c.req.url, formatQuery);
    const report = await ready();
    const shown = guard.isTrusted(c.req.raw, c.env ?? {}) ? report : withoutReasons(report);
    return json(shown, report.status === "ready" ? 200 : 503);
  };
  const livez: Handler = () => json({ status: "live" });
  return {
    "/": { GET: overview(control, parts, ready) },
    "/livez": { GET: livez },
    "/healthz/live": { GET: livez },
    "/readyz": { GET: readyz },
    "/healthz": { GET: readyz },
    "/healthz/ready": { GET: readyz },
    "/metrics": {
      GET: async (c) => c.body(await parts.metrics(), 200, { "Content-Type": EXPOSITION_TYPE }),
    },
    "/v1/queue": { GET: queue(control, parts) },
    "/v1/flush": { POST: flush(control) },
    "/v1/messages": { GET: list(control, parts) },
    ...forVerbs("/v1/messages", (verb) => bulk(control, verb)),
    "/v1/messages/:id": { GET: show(control, parts), DELETE: apply(control, "remove") },
    "/v1/messages/:id/content": { GET: content(control) },
    ...forVerbs("/v1/messages/:id", (verb) => apply(control, verb)),
  };
}

/** Each verb is a path of its own: no pattern stands between a message and all messages. */
function forVerbs(base: string, handler: (verb: Verb) => Handler): Record<string, Methods> {
  return Object.fromEntries(VERBS.map((verb) => [`${base}/${verb}`, { POST: handler(verb) }]));
}

function overview(
  control: QueueControl,
  parts: AdminParts,
  ready: () => Promise<ReadyReport>,
): Handler {
  return async (c) => {
    const text = wantsText(c, "text");
    // A sick disk is when this page is needed: what does not answer is left out.
    const [report, status] = await Promise.all([ready(), control.status().catch(() => undefined)]);
    const { version, hostname, startedAt, clock } = parts;
    const now = clock.now();
    const totals = parts.totals();
    const told = { version, hostname, startedAt, now, ready: report, totals, queue: status };
    return text
      ? plainText(overviewText(told, new URL(c.req.url).origin))
      : json(overviewJson(told));
  };
}

function queue(control: QueueControl, { clock }: AdminParts): Handler {
  return async (c) => {
    const text = wantsText(c, "json");
    const status = await control.status();
    return text ? plainText(queueText(status, clock.now())) : json(queueJson(status, clock.now()));
  };
}

function list(control: QueueControl, { clock }: AdminParts): Handler {
  return async (c) => {
    const query = readQuery(c.req.url, listQuery);
    const summaries = await control.list({
      ...selectorOf(query),
      ...(query.after === undefined ? {} : { after: query.after }),
      limit: query.limit,
    });
    const messages: { summary: (typeof summaries)[number]; detail: MessageDetail | undefined }[] =
      [];
    for (const summary of summaries) {
      const detail = query.recipients ? await control.show(summary.id) : undefined;
      messages.push({ summary, detail });
    }
    const next = summaries.length < query.limit ? null : (summaries.at(-1)?.id ?? null);
    if (prefersText(c, query.format, "json")) {
      return plainText(messagesText(messages, next, clock.now()));
    }
    const shapes = messages.map(({ summary, detail }) => summaryJson(summary, detail));
    return json({ messages: shapes, next });
  };
}

function show(control: QueueControl, { clock }: AdminParts): Handler {
  return async (c) => {
    const text = wantsText(c, "json");
    const detail = await existing(c, (id) => control.show(id));
    return text ? plainText(messageText(detail, clock.now())) : json(detailJson(detail));
  };
}

function content(control: QueueControl): Handler {
  return async (c) => {
    readQuery(c.req.url, noQuery);
    const detail = await existing(c, (id) => control.show(id));
    return contentResponse(detail.id, detail.envelope.content, c.req.method === "HEAD");
  };
}

function apply(control: QueueControl, verb: Verb): Handler {
  return async (c) => {
    readQuery(c.req.url, noQuery);
    const id = await existing(c, async (id) => ((await control[verb](id)) ? id : undefined));
    return json({ id, done: true });
  };
}

function bulk(control: QueueControl, verb: Verb): Handler {
  return async (c) => {
    const selector = readSelector(c.req.url);
    const count = await control.each(verb, selector);
    return json({ count });
  };
}

function flush(control: QueueControl): Handler {
  return async (c) => {
    const selector = selectorOf(readQuery(c.req.url, flushQuery));
    const all = Object.keys(selector).length === 0;
    const flushed = await (all ? control.flush() : control.flush(selector));
    return json({ flushed });
  };
}

/** What `find` finds under the id in the path, or 404. */
async function existing<T>(
  c: AdminContext,
  find: (id: string) => Promise<T | undefined>,
): Promise<T> {
  const id = c.req.param("id") ?? "";
  const found = ID_PATTERN.test(id) ? await find(id) : undefined;
  if (found !== undefined) return found;
  const detail = ID_PATTERN.test(id)
    ? `No message ${id}: it has left the queue, or never was here.`
    : "No such message: an id has 16 digits and capital letters.";
  throw new ProblemError({ status: 404, detail });
}

function wantsText(c: AdminContext, usual: "text" | "json"): boolean {
  return prefersText(c, readQuery(c.req.url, formatQuery).format, usual);
}

/** The query decides, else the more wanted of the two types, else what is usual there. */
function prefersText(
  c: AdminContext,
  format: "text" | "json" | undefined,
  usual: "text" | "json",
): boolean {
  if (format !== undefined) return format === "text";
  const accept = c.req.header("accept") ?? "";
  const text = quality(accept, "text/plain");
  const json = quality(accept, "application/json");
  return text === json ? usual === "text" : text > json;
}

function quality(accept: string, type: string): number {
  const range = accept.split(",").find((one) => one.trim().toLowerCase().split(";")[0] === type);
  if (range === undefined) return 0;
  return Number(/;\s*q=([\d.]+)/iu.exec(range)?.[1] ?? 1);
}

/** Also read in terminals: nothing in it is one's command. */
function json(value: unknown, status = 200): Response {
  const headers = { "Content-Type": "application/json" };
  return new Response(terminalJson(value), { status, headers });
}

function plainText(text: string): Response {
  return new Response(text, { headers: { "Content-Type": "text/plain; charset=utf-8" } });
}

/** Operating errors say what clients may know; others say nothing and are reported. */
function errorResponse(error: Error, emit: Emit): Response {
  if (error instanceof ProblemError) return problemResponse(error.problem);
  if (error.name === "NotFoundError") {
    return problemResponse({ status: 404, detail: "The message has left the queue." });
  }
  if (error instanceof BusyError) {
    const detail = "The message is being delivered at this moment; try again when that has ended.";
    return problemResponse({ status: 409, detail });
  }
  emit({ kind: "lifecycle", what: "error", text: `admin: ${error.message}` });
  if (error instanceof QueueError) {
    const why = error.reply === undefined ? "" : `: ${formatReply(error.reply)}`;
    return problemResponse({ status: 503, detail: `Storage could not do it${why}.` });
  }
  return problemResponse({ status: 500, detail: "Something went wrong here; the log says what." });
}
