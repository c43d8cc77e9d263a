import { describe, expect, test } from "bun:test";
import { DOWN, HOUR, MINUTE, SECOND, setUp, suspend } from "./queue-fixture.ts";

describe("flush", () => {
  test("tries everything that waits at once, in one call to storage, and says how much that is", async () => {
    const fixture = setUp({ script: () => "deferred" });
    const { control, send, world, relay, faulty, recorder } = fixture;
    for (let count = 0; count < 20; count += 1) await send(`x@d${count}.test`, { sender: "" });
    await world.advance(10 * SECOND);
    const calls = (["flush", "setTimestamp", "settle", "get", "list"] as const).map((operation) =>
      faulty.calls(operation),
    );
    expect(await control.flush()).toBe(20);
    expect(
      (["flush", "setTimestamp", "settle", "get", "list"] as const).map((operation) =>
        faulty.calls(operation),
      ),
    ).toEqual([calls[0]! + 1, ...calls.slice(1)]);
    expect(recorder.all("operator")).toEqual([
      { kind: "operator", action: "flush", subject: "all", count: 20 },
    ]);
    await world.advance(0);
    expect(relay.calls).toHaveLength(40);
  });

  test("a message that fails after the flush waits its normal time", async () => {
    const { control, send, world, relay } = setUp({ script: () => "deferred" });
    await send("x@one.test", { sender: "" });
    await control.flush();
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
    // Its second attempt: five minutes.
    await world.advance(5 * MINUTE - 1);
    expect(relay.calls).toHaveLength(2);
    await world.advance(1);
    expect(relay.calls).toHaveLength(3);
  });

  test("finds what is being settled at that moment too", async () => {
    const { control, send, world, relay, faulty, kept } = setUp({ script: () => "deferred" });
    const release = faulty.stallAfter("settle");
    const id = await send("x@one.test", { sender: "" });
    // In storage it is settled and due in a minute; here that is not known yet.
    await control.flush();
    await world.advance(0);
    expect(kept.messages.get(id)?.lease).toBeDefined();
    release();
    await world.settle();
    await world.advance(0);
    expect(relay.calls).toHaveLength(2);
    expect(kept.messages.get(id)?.lease).toBeUndefined();
  });

  test("trusts suspended destinations again", async () => {
    const fixture = setUp({ script: DOWN });
    const { control, send, world, relay, kept, recorder } = fixture;
    await suspend(fixture);
    for (let count = 0; count < 10; count += 1) await send("x@down.test");
    relay.script = () => "delivered";
    expect(await control.flush()).toBe(15);
    await world.advance(0);
    expect(kept.messages.size).toBe(0);
    expect(recorder.all("destination").at(-1)).toMatchObject({ state: "resumed" });
  });

  test("what was flushed for a destination that is still down is not deferred as overdue for that", async () => {
    const fixture = setUp({ script: DOWN });
    const { control, send, world, recorder } = fixture;
    // The start of the queue counts as a flush too; this is about a later one.
    await world.advance(HOUR);
    await suspend(fixture);
    for (let count = 0; count < 20; count += 1) await send("x@down.test");
    await world.advance(MINUTE);
    await control.flush();
    await world.advance(5 * MINUTE);
    const suspended = recorder.all("delivery").filter(({ reply }) => /suspended/u.test(reply.text));
    expect(suspended).toEqual([]);
  });
});
