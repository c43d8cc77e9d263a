import { afterAll, beforeAll, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { runProduct } from "../support/binary.ts";
import { CEPH_PEERS, type Ceph, startCeph } from "../support/ceph.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { QUICK, queueOf } from "./help.ts";
import { edgeOnly, nodeScenarios } from "./nodes.ts";

const LOGIN = "queue:a%2Fsecret%2Bwith%2Fsigns";

describeWithPeers(CEPH_PEERS, "nodes on one bucket", () => {
  let ceph: Ceph;
  let bucket: string;
  beforeAll(async () => {
    ceph = await startCeph();
    bucket = await ceph.bucket();
  });
  afterAll(async () => await ceph[Symbol.asyncDispose]());

  nodeScenarios("s3", () => ({
    spool: (queue) => `s3://${LOGIN}@${bucket}/${queue}?endpoint=${ceph.endpoint}&poll=200ms`,
    crash: () => ceph.crash(),
    restart: () => ceph.restart(),
    complaint: "the object store",
  }));

  test("what a node has cost is told where operators look", async () => {
    const spool = `s3://${LOGIN}@${bucket}/bill?endpoint=${ceph.endpoint}`;
    await using node = await edgeOnly(spool);
    const bill = async () => (await queueOf(node)).store_requests;
    const before = await bill();
    await ledgerClient().sendSome(node.smtpPort, 1, 5);
    const after = await bill();
    expect((after?.PUT ?? 0) - (before?.PUT ?? 0)).toBeGreaterThanOrEqual(5);
    expect(await (await node.admin("/?format=text")).text()).toMatch(/^ {2}requests +PUT \d/mu);
    const metrics = await (await node.admin("/metrics")).text();
    const puts = /^slimta_storage_requests_total\{kind="PUT"\} (\d+)$/mu.exec(metrics)?.[1];
    expect(Number(puts)).toBeGreaterThanOrEqual(after?.PUT ?? 0);
  }, 60_000);

  test("a start that cannot go well ends with a code and a line that tells no secret", async () => {
    const serve = async (url: string) => {
      const { code, output } = await runProduct(["serve", "--spool", url, ...QUICK]);
      expect(output).not.toMatch(/secret.with|hush-word/u);
      return { code, output };
    };
    const at = `endpoint=${ceph.endpoint}`;
    const wrong = await serve(`s3://queue:hush-word@${bucket}/q?${at}`);
    expect(wrong.code).toBe(78);
    expect(wrong.output).toContain("the secret key is wrong");
    const missing = await serve(`s3://${LOGIN}@no-such-bucket/q?${at}`);
    expect(missing.code).toBe(78);
    expect(missing.output).toContain("there is no such bucket");
    const nowhere = await serve(
      `s3://${LOGIN}@${bucket}/q?endpoint=http://127.0.0.1:${await freePort()}`,
    );
    expect(nowhere.code).toBe(69);
    expect((await serve(`s3://${LOGIN}@${bucket}/q?${at}&typo=1`)).code).toBe(78);
  }, 60_000);
});
