import { beforeAll, describe, expect, test } from "bun:test";
import type { TlsMaterial } from "../../src/edge/smtp.ts";
import { makeCertificate } from "../support/certificate.ts";
import { allScripts, type NamedScript } from "./support/library.ts";
import { AS_WRITTEN, play } from "./support/play.ts";
import type { Script } from "./support/script.ts";
import { type DialogueServer, listeningServer, sessionServer } from "./support/server.ts";

const scripts = allScripts();
const usesTls = ({ steps }: Script) => steps.some(({ kind }) => kind === "tls");
const hasTls = ({ name, script }: NamedScript) => name.startsWith("starttls/") || usesTls(script);
/** Above this, one byte at a time takes seconds and shows nothing new. */
const OCTETS_MAX = 100_000;

let certificate: TlsMaterial;

beforeAll(async () => {
  certificate = await makeCertificate("mx.example.org");
});

describe("as written, over TCP", () => {
  for (const named of scripts) {
    test(named.name, async () => {
      const tls = hasTls(named) ? certificate : undefined;
      await using server = await listeningServer(named.script, tls);
      await play(named.script, server.dial());
      await expectQueued(server, named.script);
    });
  }
});

describe("byte by byte", () => {
  const fit = scripts.filter((each) => !hasTls(each) && octetsOf(each.script) <= OCTETS_MAX);
  for (const named of fit) {
    test(named.name, async () => {
      const { script } = named;
      await using server = sessionServer(script);
      await play(script, server.dial(), { ...AS_WRITTEN, packetBytesMax: 1 });
      await expectQueued(server, script);
    });
  }
});

function octetsOf({ steps }: Script): number {
  return steps.reduce((sum, step) => sum + (step.kind === "send" ? step.bytes.length : 0), 0);
}

async function expectQueued(server: DialogueServer, { queued }: Script): Promise<void> {
  const found = await server.queued();
  const expected = queued.map(({ envelope, content }, index) => ({
    envelope,
    content:
      content === undefined ? found[index]?.content : Buffer.from(content).toString("latin1"),
  }));
  expect(found, "messages that were queued").toEqual(expected as typeof found);
}
