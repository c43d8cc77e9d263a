import { afterAll, beforeAll } from "bun:test";
import { storageContract } from "../contract/contract.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { openEmpty } from "./postgres-fixture.ts";

describeWithPeers(["postgres"], "the PostgreSQL engine", () => {
  let server: Postgres;
  beforeAll(async () => {
    // No power cut here: nothing of this is about the disk.
    server = await startPostgres({ fsync: "off" }, "trust");
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  storageContract("postgres", (world) => openEmpty(server, world));
});
