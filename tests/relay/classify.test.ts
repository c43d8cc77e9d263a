import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { reply } from "../../src/mail/reply.ts";
import { classify } from "../../src/relay/classify.ts";
import type { PeerFailure, Phase } from "../../src/relay/peer-failure.ts";

const PLACE = { host: "mx.example", ip: "192.0.2.1", port: 25 };
const PHASES: readonly Phase[] = [
  "connect",
  "greeting",
  "ehlo",
  "starttls",
  "auth",
  "mail",
  "rcpt",
  "data",
  "content",
  "end-of-data",
];

const phase = fc.constantFrom(...PHASES);
const code = fc.integer({ min: 400, max: 599 });
const said = fc
  .tuple(code, fc.string())
  .map(([digits, text]) => reply(digits, `${Math.floor(digits / 100)}.1.2`, text));

const failure: fc.Arbitrary<PeerFailure> = fc.oneof(
  fc.record({ kind: fc.constant("reply" as const), phase, reply: said }),
  fc.record({
    kind: fc.constantFrom("timeout" as const, "lost" as const, "aborted" as const),
    phase,
  }),
  fc.record({ kind: fc.constant("garbled" as const), phase, detail: fc.string() }),
  fc.record({ kind: fc.constant("connect" as const), code: fc.constantFrom("ECONNREFUSED", "X") }),
  fc.record({
    kind: fc.constant("tls" as const),
    reason: fc.constantFrom("not-offered" as const, "handshake" as const, "unverified" as const),
    detail: fc.string(),
  }),
);

describe("any failure", () => {
  test("has a reply whose codes agree with each other and with the kind", () => {
    fc.assert(
      fc.property(failure, (one) => {
        const { kind, reply: told } = classify(one, PLACE);
        expect(kind).not.toBe("delivered");
        expect(told.enhanced[0]).toBe(String(told.code)[0] as string);
        expect(told.code >= 500).toBe(kind === "rejected");
      }),
    );
  });

  test("sends nobody to another host who was already answered", () => {
    fc.assert(
      fc.property(failure, (one) => {
        const { kind, nextHost } = classify(one, PLACE);
        if (kind === "rejected") expect(nextHost).toBe(false);
        if ("phase" in one && PHASES.indexOf(one.phase) > PHASES.indexOf("mail"))
          expect(nextHost).toBe(false);
      }),
    );
  });

  test("of the session alone never bounces mail", () => {
    fc.assert(
      fc.property(failure, (one) => {
        if (one.kind === "reply" && PHASES.indexOf(one.phase) >= PHASES.indexOf("mail")) return;
        expect(classify(one, PLACE).kind).toBe("deferred");
      }),
    );
  });
});

const at = (where: Phase, digits: number, enhanced: string, text = "no"): PeerFailure => ({
  kind: "reply",
  phase: where,
  reply: reply(digits, enhanced, text),
});

test.each<[string, PeerFailure, string]>([
  ["5xx greeting", at("greeting", 554, "5.7.1"), "deferred 451 4.7.1 next"],
  ["4xx greeting", at("greeting", 421, "4.3.2"), "deferred 421 4.3.2 next"],
  ["5xx to AUTH", at("auth", 535, "5.7.8"), "deferred 451 4.7.8 next"],
  ["4xx to MAIL", at("mail", 451, "4.3.0"), "deferred 451 4.3.0 next"],
  ["5xx to MAIL", at("mail", 550, "5.7.1"), "rejected 550 5.7.1"],
  ["4xx to RCPT", at("rcpt", 450, "4.7.1"), "deferred 450 4.7.1"],
  ["5xx to RCPT", at("rcpt", 550, "5.1.1"), "rejected 550 5.1.1"],
  ["552 full mailbox", at("rcpt", 552, "5.2.2", "mailbox full"), "rejected 552 5.2.2"],
  ["552 too many, by code", at("rcpt", 552, "5.5.3"), "deferred 452 4.5.3"],
  ["552 too many, by text", at("rcpt", 552, "5.0.0", "Too many recipients"), "deferred 452 4.5.3"],
  ["552 to the message", at("end-of-data", 552, "5.3.4", "too many"), "rejected 552 5.3.4"],
  ["421 to RCPT", at("rcpt", 421, "4.3.2"), "deferred 421 4.3.2"],
  ["refused", { kind: "connect", code: "ECONNREFUSED" }, "deferred 451 4.4.1 next"],
  ["connect timeout", { kind: "timeout", phase: "connect" }, "deferred 451 4.4.1 next"],
  ["timeout at DATA", { kind: "timeout", phase: "data" }, "deferred 451 4.4.2"],
  ["lost at MAIL", { kind: "lost", phase: "mail" }, "deferred 451 4.4.2 next"],
  ["lost after the end", { kind: "lost", phase: "end-of-data" }, "deferred 451 4.4.2"],
  ["null MX", { kind: "null-mx", name: "x" }, "rejected 556 5.1.10"],
  ["no name", { kind: "no-name", name: "x" }, "rejected 550 5.1.2"],
  ["DNS", { kind: "dns-failed", name: "x", detail: "SERVFAIL" }, "deferred 451 4.4.3 next"],
  ["no smarthost", { kind: "no-smarthost", name: "x" }, "deferred 451 4.4.3 next"],
  ["loop", { kind: "loop", name: "x" }, "rejected 554 5.4.6"],
  ["oversize", { kind: "oversize", sizeMax: 9 }, "rejected 552 5.3.4"],
])("%s", (_, one, expected) => {
  const { kind, reply: told, nextHost } = classify(one, PLACE);
  expect(`${kind} ${told.code} ${told.enhanced}${nextHost ? " next" : ""}`).toBe(expected);
});

test("texts of peers stay one printable line", () => {
  const { reply: told } = classify(
    { kind: "garbled", phase: "mail", detail: "a\r\nb\u0007" },
    PLACE,
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  expect(told.text).not.toMatch(/[\x00-\x1f]/u);
});
