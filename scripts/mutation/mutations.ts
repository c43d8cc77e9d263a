import type { Mutation } from "./mutation.ts";
import type { SyncDetectors } from "./syncs.ts";

/** What notices a sync that was left out. */
export const SYNC_DETECTORS: SyncDetectors = {
  usual: ["tests/power-cut"],
  // It makes nothing durable: it asks whether the disk still does.
  byFile: { "src/storage/disk/probe.ts": ["tests/storage/faults.test.ts"] },
};

/** Order on the disk: what must be durable before what. */
const ORDER: readonly Mutation[] = [
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
const STORAGE: readonly Mutation[] = [
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
        from: "    for (const { envelope, id } of notifications) await bounceQueue?.enqueue(envelope, id);\n",
        to: "",
      },
      {
        file: "src/queue/settle.ts",
        from: "      await storage.settle(message.id, settlement, { ...as, bounces });",
        to: "      await storage.settle(message.id, settlement, { ...as, bounces });\n      for (const { envelope, id } of notifications) await bounceQueue?.enqueue(envelope, id);",
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

/** The schedule, the runner and the operator. */
const QUEUE: readonly Mutation[] = [
  {
    name: "the schedule forgets a message whose lease is given back",
    promise: "P5",
    edits: [
      {
        file: "src/storage/disk/ledger.ts",
        from: "    if (row?.epoch === EPOCH_LEASED) this.#replace(row, { ...row, epoch: this.#epoch });\n  }",
        to: "    void row;\n  }",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts", "tests/sim"],
  },
  {
    name: "the schedule forgets a message that is to be tried again",
    promise: "P5",
    edits: [
      {
        file: "src/queue/settle.ts",
        from: "      if (settlement.due !== undefined) noteDue(settlement.due, firstDomain(message.envelope));\n",
        to: "",
      },
    ],
    tests: ["tests/queue/schedule.test.ts"],
  },
  {
    name: "nobody wakes when stored mail becomes due",
    promise: "P5",
    edits: [
      {
        file: "src/queue/feed.ts",
        from: "    else if (dueAt !== null) this.wakeAt(dueAt);\n",
        to: "",
      },
    ],
    tests: ["tests/queue/schedule.test.ts"],
  },
  {
    name: "a flush reaches only what is due anyway",
    promise: "P5",
    edits: [
      {
        file: "src/storage/disk/ledger.ts",
        from: "    const epoch = this.#epoch + 1;",
        to: "    const epoch = this.#epoch + 0;",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts"],
  },
  {
    name: "a recipient without an outcome counts as delivered",
    promise: "P5",
    edits: [
      {
        file: "src/queue/decide.ts",
        from: '  return { recipient, kind: "deferred", reply: UNKNOWN_RESULT,',
        to: '  return { recipient, kind: "delivered", reply: UNKNOWN_RESULT,',
      },
    ],
    tests: ["tests/queue/decide.test.ts"],
  },
  {
    name: "mail on hold is tried",
    promise: "P5",
    edits: [
      {
        file: "src/queue/attempt.ts",
        from: '  if (message.state === "hold") {',
        to: '  if (message.id === "hold") {',
      },
    ],
    tests: ["tests/queue/operator.test.ts"],
  },
  {
    name: "a settlement that the disk refuses is given up",
    promise: "P7",
    edits: [
      {
        file: "src/queue/persistence.ts",
        from: "        if (this.#stopped) throw error;",
        to: "        throw error;",
      },
    ],
    tests: ["tests/queue/storage-faults.test.ts"],
  },
  {
    name: "the window onto the store has no end",
    promise: "P8",
    edits: [
      {
        file: "src/queue/agenda.ts",
        from: "    return Math.max(0, this.#options.waitingMax - this.#waiting - this.#reserved);",
        to: "    return 1e6;",
      },
    ],
    tests: ["tests/queue/agenda.test.ts"],
  },
  {
    name: "one destination may fill the whole window",
    promise: "P9",
    edits: [
      {
        file: "src/queue/agenda.ts",
        from: "    const most = isTrusted ? this.#options.waitingPerDestinationMax : limit;",
        to: "    const most = isTrusted ? this.#options.waitingMax : limit;",
      },
    ],
    tests: ["tests/queue/agenda.test.ts", "tests/queue/isolation.test.ts"],
  },
  {
    name: "a pile of mail for one destination hides the rest of the schedule",
    promise: "P9",
    edits: [
      {
        file: "src/storage/disk/schedule.ts",
        from: "    return [...wanted, ...this.#roundOfDomains(query, limit - wanted.length, new Set(front))];",
        to: "    return wanted;",
      },
    ],
    tests: ["tests/storage/disk-storage.test.ts"],
  },
  {
    name: "a stop does not wait for what runs",
    promise: "P10",
    edits: [
      {
        file: "src/queue/runner.ts",
        from: "    while (this.#running.size > 0) await Promise.allSettled(this.#running);\n",
        to: "",
      },
    ],
    tests: ["tests/queue/drain.test.ts"],
  },
];

/** Who may do what. */
const SAFETY: readonly Mutation[] = [
  {
    name: "everybody may relay",
    promise: "P11",
    edits: [
      {
        file: "src/edge/dialog.ts",
        from: "  if (!rules.trusted) return relayDenied(command.address);\n",
        to: "",
      },
    ],
    tests: ["tests/edge/dialog.test.ts"],
  },
  {
    name: "a bare LF starts a line",
    promise: "P11",
    edits: [
      {
        file: "src/edge/data-scanner.ts",
        from: "    if (byte === LF) this.#repair(at);\n",
        to: '    if (byte === LF) {\n      this.#repair(at);\n      this.#state = "start";\n    }\n',
      },
    ],
    tests: ["tests/edge/data-scanner.test.ts"],
  },
  {
    name: "what a client says behind STARTTLS is read behind the handshake",
    promise: "P11",
    edits: [
      {
        file: "src/edge/session.ts",
        from: "    this.#backlog = [];\n    this.#parts.wire.startTls();\n",
        to: "    this.#hold();\n    this.#parts.wire.startTls();\n",
      },
      {
        file: "src/edge/session.ts",
        from: '    this.#mode = "command";\n  }\n\n  /** The client sends no more',
        to: '    this.#mode = "command";\n    this.#release();\n  }\n\n  /** The client sends no more',
      },
    ],
    tests: ["tests/dialogues/run.test.ts"],
  },
  {
    name: "a reply that came before the message counts for it",
    promise: "P5",
    edits: [
      {
        file: "src/relay/smtp-exchange.ts",
        from: "    if (!this.#line.hasUnread()) {\n",
        to: "    if (this.uses >= 0) {\n",
      },
    ],
    tests: ["tests/fuzz/relay.test.ts"],
  },
  {
    name: "a session is used again after a reply nobody asked for",
    promise: "P5",
    edits: [
      {
        file: "src/relay/smtp-client.ts",
        from: '      this.#end({ kind: "lost", phase: "mail" });\n      return;\n    }\n    if (this.#setupReplies',
        to: "      return;\n    }\n    if (this.#setupReplies",
      },
    ],
    tests: ["tests/fuzz/relay.test.ts"],
  },
  {
    name: "the admin port answers without the token",
    promise: "P11",
    edits: [
      {
        file: "src/admin/guard.ts",
        from: "return given !== undefined && timingSafeEqual(digest(given), expected);",
        to: "return given !== undefined || timingSafeEqual(digest(expected.toString()), expected) || true;",
      },
    ],
    tests: ["tests/admin/guard.test.ts"],
  },
];

export const MUTATIONS: readonly Mutation[] = [...ORDER, ...STORAGE, ...QUEUE, ...SAFETY];
