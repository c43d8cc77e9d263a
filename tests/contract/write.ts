import { describe, expect, test } from "bun:test";
import { bodyContent, bytesContent, withPrefix } from "../../src/mail/content.ts";
import { LostLeaseError } from "../../src/storage/storage.ts";
import { bytesOf, envelope, idOf } from "../storage/fixtures.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

const FIVE_MEBIBYTES = 5 * 1024 * 1024;

/** What every engine promises of writing and of content. */
export function writeContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: write`, () => {
    test("returns ids in the order of the envelopes, and they sort in the order of arrival", async () => {
      await using at = await opened();
      const ids = await at.storage.write([envelope(), envelope({ sender: "b@x" })], at.now());
      const more = await at.storage.write([envelope()], at.now());
      expect(new Set([...ids, ...more]).size).toBe(3);
      expect((await at.storage.get(ids[1] ?? "")).envelope.sender).toBe("b@x");
      expect(await at.listed()).toEqual([...ids, ...more]);
    });

    test("starts with no attempts, everybody pending, due when it was said", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["A@X.example", "b@y"] })], 4242);
      const message = await at.storage.get(id);
      expect(message).toMatchObject({ id, attempts: 0, due: 4242, state: "incoming" });
      expect(message).toMatchObject({ delayNotified: false, recipientCount: 2, recipients: [] });
      expect(message.envelope.recipients).toEqual([
        { index: 0, address: "A@X.example" },
        { index: 1, address: "b@y" },
      ]);
    });

    test("keeps every fact of an envelope", async () => {
      await using at = await opened();
      const full = {
        ...envelope(),
        recipients: [
          { index: 0, address: "ü@example.com", notify: ["SUCCESS" as const, "DELAY" as const] },
          { index: 1, address: "b@example.com", orcpt: "rfc822;b+c@example.com" },
        ],
        client: {
          ip: "::1",
          host: "h",
          name: "n",
          protocol: "UTF8SMTPSA",
          auth: "me",
          tls: "TLSv1.3",
        },
        dsn: { ret: "HDRS" as const, envid: "a b\u00e9" },
        eightBit: true,
        smtpUtf8: true,
      };
      const [id = ""] = await at.storage.write([full], 1);
      const { content: _, ...facts } = (await at.storage.get(id)).envelope;
      const { content: __, ...given } = full;
      expect(facts).toEqual(given);
    });

    test("an id that is stored already is left as it is", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await at.storage.write([envelope({ sender: "first@x" })], 1, { ids });
      await at.storage.incrementAttempts(idOf(1));
      expect(await at.storage.write([envelope({ sender: "second@x" })], 2, { ids })).toEqual(ids);
      expect(await at.storage.get(idOf(1))).toMatchObject({
        attempts: 1,
        due: 1,
        envelope: { sender: "first@x" },
      });
      expect(await at.storage.getInfo()).toMatchObject({ size: 1 });
    });

    test("the same id twice at the same time, or twice in one write, is stored once", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await Promise.all([
        at.storage.write([envelope()], 1, { ids, lease: { holder: "a", until: at.now() + LATER } }),
        at.storage.write([envelope()], 1, { ids, lease: { holder: "b", until: at.now() + LATER } }),
        at.storage.write([envelope(), envelope()], 1, { ids: [idOf(2), idOf(2)] }),
      ]);
      expect(await at.listed()).toEqual([idOf(1), idOf(2)]);
      expect(await at.storage.getInfo()).toMatchObject({
        size: 2,
        states: { active: 1, incoming: 1 },
      });
      await at.storage.settle(idOf(1), { attempts: 1 }, { holder: "a" });
      await expect(at.storage.settle(idOf(1), {}, { holder: "b" })).rejects.toThrow(LostLeaseError);
    });

    test("an id may be used again after its message has ended", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await at.storage.write([envelope({ text: "first" })], 1, { ids });
      await at.storage.getInfo();
      await at.storage.remove(idOf(1));
      await at.storage.write([envelope({ text: "second" })], 2, { ids });
      expect(await bytesOf((await at.storage.get(idOf(1))).envelope.content)).toEqual(
        Buffer.from("second"),
      );
      await at.storage.remove(idOf(1));
      expect(await at.listed()).toEqual([]);
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, bytes: 0 });
    });

    test("all or nothing: one body that fails stores none of the envelopes", async () => {
      await using at = await opened();
      const broken = bodyContent({
        kind: "source",
        size: 10,
        head: new Uint8Array(0),
        async *stream() {
          yield new Uint8Array(3);
          throw new Error("the client is gone");
        },
      });
      const both = [envelope(), envelope({ content: broken })];
      await expect(at.storage.write(both, 1)).rejects.toThrow("the client is gone");
      expect(await at.listed()).toEqual([]);
    });

    test("with a lease nobody else sees it", async () => {
      await using at = await opened();
      const lease = { holder: "me", until: at.now() + LATER };
      const [id = ""] = await at.storage.write([envelope()], at.now(), { lease });
      expect(await at.leasedIds(10, "other")).toEqual([]);
      expect((await at.storage.get(id)).state).toBe("active");
      await at.storage.settle(id, { attempts: 1, due: at.now() }, { holder: "me" });
      expect(await at.leasedIds(10, "other")).toEqual([id]);
    });

    test("instants between two milliseconds are as good as others", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await at.storage.write([{ ...envelope(), receivedAt: at.now() + 0.5 }], 1.5, { ids });
      await at.storage.settle(idOf(1), { due: at.now() + LATER + 0.25 });
      const message = await at.storage.get(idOf(1));
      expect(Math.abs(message.due - (at.now() + LATER))).toBeLessThanOrEqual(1);
      expect(message.envelope.recipients).toHaveLength(1);
    });

    test("recipients are numbered by their place, whatever number they come with", async () => {
      await using at = await opened();
      const given = {
        ...envelope(),
        recipients: [
          { index: 5, address: "a@x" },
          { index: 9, address: "b@x" },
        ],
      };
      const lease = { holder: "me", until: at.now() + LATER };
      const [id = ""] = await at.storage.write([given], 1, { lease });
      expect((await at.storage.get(id)).envelope.recipients.map(({ index }) => index)).toEqual([
        0, 1,
      ]);
    });
  });

  describe(`${name}: content`, () => {
    test("every byte survives, in every engine the same", async () => {
      await using at = await opened();
      const all = Uint8Array.from({ length: 1024 }, (_, index) => index % 256);
      const content = withPrefix(bytesContent(all), Uint8Array.of(0x58, 0x00, 0xff, 0x0d, 0x0a));
      const [id = ""] = await at.storage.write([envelope({ content })], 1);
      const stored = await at.storage.get(id);
      expect(await bytesOf(stored.envelope.content)).toEqual(await bytesOf(content));
      expect(stored.envelope.content.prefix).toEqual(content.prefix);
    });

    test("an empty message is a message", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write(
        [envelope({ content: bytesContent(new Uint8Array(0)) })],
        1,
      );
      expect(await bytesOf((await at.storage.get(id)).envelope.content)).toEqual(new Uint8Array(0));
    });

    test("a large body is streamed in and out, shared by several envelopes, more than once", async () => {
      await using at = await opened();
      const sink = await at.storage.openBody();
      const block = new Uint8Array(64 * 1024);
      const hash = new Bun.CryptoHasher("sha256");
      for (let done = 0; done < FIVE_MEBIBYTES; done += block.length) {
        block.fill(done % 251);
        hash.update(block);
        await sink.write(block);
      }
      const body = await sink.end();
      const digest = hash.digest("hex");
      const prefix = Buffer.from("X: 1\r\n");
      const content = bodyContent(body);
      const ids = await at.storage.write(
        [envelope({ content }), envelope({ content: withPrefix(content, prefix) })],
        1,
      );
      await sink.discard();
      expect(await at.storage.getInfo()).toMatchObject({
        bytes: 2 * FIVE_MEBIBYTES + prefix.length,
      });
      for (const id of [...ids, ...ids]) {
        const { content: stored } = (await at.storage.get(id)).envelope;
        const seen = new Bun.CryptoHasher("sha256");
        if (stored.body.kind !== "source") throw new Error("it should not be in memory whole");
        for await (const chunk of stored.body.stream()) seen.update(chunk);
        expect(seen.digest("hex")).toBe(digest);
        expect(stored.body.size).toBe(FIVE_MEBIBYTES);
        expect(stored.body.head.length).toBe(64 * 1024);
      }
      await at.storage.remove(ids[0] ?? "");
      const rest = await at.storage.get(ids[1] ?? "");
      expect((await bytesOf(rest.envelope.content)).length).toBe(FIVE_MEBIBYTES + prefix.length);
    });

    test("a streamed body that came out of a store can be stored again", async () => {
      await using at = await opened();
      const sink = await at.storage.openBody();
      await sink.write(new Uint8Array(1024 * 1024).fill(7));
      const [id = ""] = await at.storage.write(
        [envelope({ content: bodyContent(await sink.end()) })],
        1,
      );
      const { envelope: first } = await at.storage.get(id);
      const [copy = ""] = await at.storage.write([first], 1);
      await at.storage.remove(id);
      const bytes = await bytesOf((await at.storage.get(copy)).envelope.content);
      expect(bytes).toEqual(new Uint8Array(1024 * 1024).fill(7));
    });

    test("giving up a body is possible at any time, more than once", async () => {
      await using at = await opened();
      const early = await at.storage.openBody();
      await early.write(new Uint8Array(10));
      await early.discard();
      await early.discard();
      const late = await at.storage.openBody();
      await late.end();
      await late.discard();
      expect(await at.storage.getInfo()).toMatchObject({ size: 0 });
    });
  });
}
