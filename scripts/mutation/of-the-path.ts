import type { Mutation } from "./mutation.ts";

/** The schedule, the runner and the operator. */
export const QUEUE: readonly Mutation[] = [
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
        from: "    else this.wakeAt(Math.min(dueAt ?? Number.POSITIVE_INFINITY, this.#notedAt));",
        to: "    else void dueAt;",
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
export const SAFETY: readonly Mutation[] = [
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
