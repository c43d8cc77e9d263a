import { expect, test } from "bun:test";
import { preferredFirst } from "../../src/relay/courier.ts";
import { openPeer, STALL } from "./fake-peer.ts";
import { delivery, envelope, NEVER, PATIENT, relayTo } from "./fixtures.ts";

test("the preferred family of addresses comes first, and the other is not forgotten", () => {
  const found = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"];
  expect(preferredFirst(found, "any")).toEqual(found);
  expect(preferredFirst(found, "ipv4").join(" ")).toBe(
    "192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2",
  );
  expect(preferredFirst(found, "ipv6").join(" ")).toBe(
    "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2",
  );
});

test("the banner has a timeout of its own", async () => {
  const peer = await openPeer({ greeting: STALL });
  const relay = relayTo(peer.port, { timeouts: { ...PATIENT, greetingMs: 100 } });
  const [outcome] = await relay.deliver(delivery(envelope(["bob@example.com"])), NEVER);
  expect(outcome?.reply.text).toContain("greeting");
  await relay.close();
  await peer.close();
});
