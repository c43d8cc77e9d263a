import { afterAll, beforeAll } from "bun:test";
import { interruptedContract } from "../contract/interrupted.ts";
import { severalContract } from "../contract/several.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { postgresStoreServer } from "./postgres-fixture.ts";

describeWithPeers(["postgres"], "PostgreSQL", () => {
  let server: Postgres;
  beforeAll(async () => {
    // No power cut here: nothing of this is about the disk.
    server = await startPostgres({ fsync: "off" }, "trust");
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  interruptedContract("postgres", () => postgresStoreServer(server));
  severalContract("postgres", () => postgresStoreServer(server));
});
