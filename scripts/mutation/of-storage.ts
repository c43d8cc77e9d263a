import type { Mutation } from "./mutation.ts";

/** Order on the disk: what must be durable before what. */
export const ORDER: readonly Mutation[] = [
  {
    name: "SQLite does not sync when it folds the write-ahead file in",
    promise: "P3",
    edits: [
      {
        file: "src/storage/disk/state-db.ts",
        from: 'db.run("PRAGMA synchronous = NORMAL")',
        to: 'db.run("PRAGMA synchronous = OFF")',
      },
    ],
    tests: ["tests/power-cut"],
  },
  {
    name: "SQLite does not sync when it folds the write-ahead file in, in the thread for that",
    promise: "P3",
    edits: [
      {
        file: "src/storage/disk/checkpoint-worker.ts",
        from: 'db.run("PRAGMA synchronous = NORMAL")',
        to: 'db.run("PRAGMA synchronous = OFF")',
      },
    ],
    tests: ["tests/power-cut"],
  },
  {
    name: "the write-ahead file of a damaged queue.db is moved aside behind it",
    promise: "P3",
    edits: [
      {
        file: "src/storage/disk/open-state.ts",
        from: 'for (const suffix of ["-wal", ""]) {',
        to: 'for (const suffix of ["", "-wal"]) {',
      },
    ],
    tests: ["tests/power-cut"],
  },
  {
    name: "a segment is renamed into place before its bytes are synced",
    promise: "P1",
    edits: [
      {
        file: "src/storage/disk/committer.ts",
        from: "      await this.#sync(opened);\n      for (const { fd } of opened.splice(0)) this.#close(fd);\n      await this.#rename(pending, renamed);",
        to: "      await this.#rename(pending, renamed);\n      await this.#sync(opened);\n      for (const { fd } of opened.splice(0)) this.#close(fd);",
      },
    ],
    tests: ["tests/power-cut", "tests/storage/faults.test.ts"],
  },
  {
    name: "a settlement is acknowledged before the write-ahead file is synced",
    promise: "P3",
    edits: [
      {
        file: "src/storage/disk/journal.ts",
        from: "      this.apply();\n      dead = this.#dead;",
        to: "      this.apply();\n      for (const waiter of waiters) waiter.resolve();\n      dead = this.#dead;",
      },
    ],
    tests: ["tests/power-cut"],
  },
  {
    name: "the file of an ended segment goes before its end is durable",
    promise: "P1",
    edits: [
      {
        file: "src/storage/disk/journal.ts",
        from: "      // Rows that are only news need no sync",
        to: "      if (dead.length > 0) this.#parts.onDead(dead);\n      // Rows that are only news need no sync",
      },
    ],
    tests: ["tests/power-cut"],
  },
  {
    name: "settlements wait three seconds for others to share their sync",
    promise: "P5",
    edits: [
      {
        file: "src/storage/disk/journal.ts",
        from: "SETTLE_WINDOW_MS = 20",
        to: "SETTLE_WINDOW_MS = 3000",
      },
    ],
    tests: ["tests/e2e/kill.test.ts"],
    needsExecutable: true,
  },
];

/** What is stored, and what a settlement is. */
export const STORAGE: readonly Mutation[] = [
  {
    name: "the 250 does not wait for the disk",
    promise: "P1",
    edits: [
      {
        file: "src/storage/disk/disk-storage.ts",
        from: "      await this.#commit([...entries.values()]);",
        to: "      void this.#commit([...entries.values()]).catch(() => undefined);",
      },
    ],
    tests: ["tests/power-cut", "tests/storage/disk-storage.test.ts"],
  },
  {
    name: "the envelopes of a transaction are written one by one",
    promise: "P2",
    edits: [
      {
        file: "src/storage/disk/disk-storage.ts",
        from: "      await this.#commit([...entries.values()]);",
        to: "      for (const entry of entries.values()) await this.#commit([entry]);",
      },
    ],
    tests: ["tests/storage/crash.test.ts", "tests/power-cut"],
  },
  {
    name: "the bounce is stored behind the settlement",
    promise: "P4",
    edits: [
      {
        file: "src/storage/disk/disk-storage.ts",
        from: "    await this.#settling.run([id], () => this.#commit([carrier, ...others]));",
        to: "    this.#ledger.settle(row, settlement, endsLease);\n    await this.#parts.journal.durable();\n    void carrier;\n    await this.#settling.run([id], () => this.#commit([first, ...others]));",
      },
    ],
    tests: ["tests/storage/crash.test.ts"],
  },
  {
    name: "the bounce goes to the other queue behind the settlement",
    promise: "P4",
    edits: [
      {
        file: "src/queue/settle.ts",
        from: "    for (const notification of notifications) await handOver?.(notification);\n",
        to: "",
      },
      {
        file: "src/queue/settle.ts",
        from: "      await storage.settle(message.id, settlement, { ...as, bounces });",
        to: "      await storage.settle(message.id, settlement, { ...as, bounces });\n      for (const notification of notifications) await handOver?.(notification);",
      },
    ],
    tests: ["tests/queue/settlement.test.ts"],
  },
  {
    name: "a script runs in a Redis Cluster while its slot is in two places",
    promise: "P5",
    edits: [
      {
        file: "src/storage/redis/lua-moving.ts",
        from: "[shebang, CHECK, ...body]",
        to: "[shebang, ...body]",
      },
    ],
    tests: ["tests/storage/redis-moving-slot.test.ts"],
  },
  {
    name: "each try to settle gives the bounce to the other queue again",
    promise: "P4",
    edits: [
      {
        file: "src/queue/settle.ts",
        from: '    if (before === "taken") return;\n',
        to: "",
      },
    ],
    tests: ["tests/queue/settlement.test.ts"],
  },
  {
    name: "a lost lease may settle: no fencing on disk",
    promise: "P3",
    edits: [
      {
        file: "src/storage/disk/disk-storage.ts",
        from: "    if (endsLease) this.#ledger.requireLease(id, holder);\n",
        to: "",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts"],
  },
  {
    name: "a lost lease may settle: no fencing in memory",
    promise: "P3",
    edits: [
      {
        file: "src/storage/memory/memory-storage.ts",
        from: "      if (!this.#leases.isHeld(id, holder, this.#now())) {",
        to: "      if (holder === null) {",
      },
    ],
    tests: ["tests/storage/memory-storage.test.ts"],
  },
  {
    name: "a lease that is over counts on",
    promise: "P3",
    edits: [
      {
        file: "src/storage/lease-book.ts",
        from: "return lease?.holder === holder && now < lease.until;",
        to: "return lease?.holder === holder && now >= 0;",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts", "tests/storage/memory-storage.test.ts"],
  },
  {
    name: "a settlement forgets who was done before",
    promise: "P3",
    edits: [
      {
        file: "src/storage/message-row.ts",
        from: "mergeChanges(before.recipients, (settlement.recipients ?? []).filter(isOurs))",
        to: "mergeChanges([], (settlement.recipients ?? []).filter(isOurs))",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts", "tests/queue/settlement.test.ts"],
  },
  {
    name: "a damaged body passes for a sound one",
    promise: "P6",
    edits: [
      {
        file: "src/storage/disk/body-file.ts",
        from: "if (done === at.length && at.crc !== undefined && crc !== at.crc) {",
        to: "if (crc < 0) {",
      },
    ],
    tests: ["tests/storage/damage.test.ts"],
  },
];
