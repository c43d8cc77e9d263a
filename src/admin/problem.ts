import { terminalJson } from "../lib/json.ts";

/** What stands before a request and its answer. */
export interface Problem {
  readonly status: number;
  readonly detail: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** More members of the JSON object (RFC 9457 §3.2). */
  readonly members?: Readonly<Record<string, unknown>>;
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  421: "Misdirected Request",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** The answer that tells of a problem: `application/problem+json` (RFC 9457). */
export function problemResponse({ status, detail, headers, members }: Problem): Response {
  const title = TITLES[status] ?? "Error";
  const body = { type: "about:blank", title, status, detail, ...members };
  return new Response(`${terminalJson(body)}\n`, {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });
}

/** A handler gives up on a request. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}
