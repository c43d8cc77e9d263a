import { afterAll, beforeAll, expect, test } from "bun:test";
import { runProduct } from "../support/binary.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { QUICK } from "./help.ts";
import { nodeScenarios } from "./nodes.ts";

describeWithPeers(["postgres"], "nodes on one PostgreSQL", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  nodeScenarios("postgres", () => ({
    spool: (queue) => server.url(`?schema=${queue}&connections=3`),
    crash: () => server.crash(),
    restart: () => server.start(),
    complaint: "the database cannot be used",
  }));

  test("a wrong password ends the start with 78 and one line that does not tell the right one", async () => {
    const spool = server.url("", { password: "wrong-word" });
    const { code, output } = await runProduct(["serve", "--spool", spool, ...QUICK]);
    expect(code).toBe(78);
    expect(output).toContain("password authentication failed");
    expect(output).not.toContain("wrong-word");
  });
});
