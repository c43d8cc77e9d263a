import { expect, test } from "bun:test";
import { detail, fakeApp, IDS } from "./fake-control.ts";

test("mail on its way to another store is shown as that", async () => {
  const moving = { from: "mx:/spool", to: "redis://store:6379", held: true };
  const held = detail(IDS[0] ?? "", { state: "hold", moving });
  const { app } = fakeApp({ control: { show: async () => held } });
  const body = await (await app.request(`/v1/messages/${IDS[0]}`)).json();
  expect(body).toMatchObject({ moving: { from: moving.from, to: moving.to } });
  const text = await (await app.request(`/v1/messages/${IDS[0]}?format=text`)).text();
  expect(text).toContain("from mx:/spool to redis://store:6379");
});

test("where nodes share a queue it is said who has a message", async () => {
  const lease = { holder: "relay-1/1F6YH3Q2K0NODE00", until: Date.UTC(2026, 10, 21) };
  const leased = detail(IDS[0] ?? "", { state: "active", lease });
  const { app } = fakeApp({ control: { show: async () => leased } });
  const body = await (await app.request(`/v1/messages/${IDS[0]}`)).json();
  expect(body).toMatchObject({
    holder: lease.holder,
    leased_until: "2026-11-21T00:00:00.000Z",
  });
  const text = await (await app.request(`/v1/messages/${IDS[0]}?format=text`)).text();
  expect(text).toContain(lease.holder);
  const list = await app.request("/v1/messages?limit=1&recipients=true");
  expect(await list.json()).toMatchObject({ messages: [{ holder: lease.holder }] });
  const page = await app.request("/v1/messages?limit=1&recipients=true&format=text");
  expect(await page.text()).toContain(`held by   ${lease.holder}`);
});
