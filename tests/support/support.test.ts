import { expect, test } from "bun:test";
import { connect } from "node:net";
import { startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { describeWithPeers } from "./peers.ts";
import { postfixInstance } from "./postfix.ts";
import { startSink } from "./sink.ts";
import { smtpDialog } from "./smtp-dialog.ts";
import { until } from "./until.ts";

test("a child's lines can be awaited, and its end is seen", async () => {
  await using child = startChild(["sh", "-c", "echo one; echo two >&2; read x; exit 3"], {
    input: "go\n",
  });
  expect((await child.line(/^tw(.)/u))[1]).toBe("o");
  expect((await child.line(/^one$/u))[0]).toBe("one");
  expect(await child.exited).toBe(3);
  expect(child.line(/^three$/u)).rejects.toThrow("ended with 3");
});

test("a child that ignores TERM is killed", async () => {
  await using child = startChild([
    "sh",
    "-c",
    "trap '' TERM; echo up; while :; do sleep 0.05; done",
  ]);
  await child.line(/^up$/u);
  expect(await child.stop(50)).toBe(137);
});

test("a free port is refused until somebody listens", async () => {
  const socket = connect({ host: "127.0.0.1", port: await freePort() });
  const { promise, resolve } = Promise.withResolvers<unknown>();
  socket.once("error", resolve);
  expect(await promise).toMatchObject({ code: "ECONNREFUSED" });
});

describeWithPeers(["smtp-sink"], "smtp-sink", () => {
  test("takes a scripted message and counts it", async () => {
    await using sink = await startSink();
    await using client = await smtpDialog(sink.port);
    expect(client.greeting.code).toBe(220);
    expect((await client.say("EHLO client.example.test")).lines).toContain("PIPELINING");
    const replies = await client.mail(
      "a@example.test",
      ["b@example.net"],
      "Subject: hi\r\n\r\n.dot",
    );
    expect(replies.map((reply) => reply.code)).toEqual([250, 250, 354, 250]);
    await sink.received(1);
    expect(sink.count()).toBe(1);
  });

  test("misbehaves as told", async () => {
    await using sink = await startSink(["-f", "RCPT", "-B", "550 5.1.1 unknown"]);
    await using client = await smtpDialog(sink.port);
    await client.say("EHLO client.example.test");
    const replies = await client.mail("a@example.test", ["b@example.net"], "Subject: hi\r\n");
    expect(replies[1]?.code).toBe(550);
  });
});

describeWithPeers(["postfix", "smtp-sink"], "a private Postfix", () => {
  test("relays to its next hop and delivers to its inbox", async () => {
    await using sink = await startSink();
    await using postfix = await postfixInstance({
      relayhost: `[127.0.0.1]:${sink.port}`,
      inboxDomains: ["inbox.example"],
    });
    await using client = await smtpDialog(postfix.port);
    await client.say("EHLO client.example.test");
    const to = ["b@example.net", "c@inbox.example"];
    const replies = await client.mail("a@example.test", to, "Subject: hi\r\n\r\n..dots\r\n");
    expect(replies.at(-1)?.lines[0]).toStartWith("2.0.0 Ok: queued as");
    await sink.received(1);
    const inbox = await until("inbox", async () => {
      const mail = await postfix.inbox();
      return mail.length > 0 && mail;
    });
    expect(inbox[0]).toEndWith("\n\n..dots\n");
    await until("an empty queue", async () => (await postfix.queued()) === 0);
    await postfix.stop();
    await postfix.wipe();
    await postfix.start();
    expect(await postfix.inbox()).toEqual([]);
  }, 60_000);
});
