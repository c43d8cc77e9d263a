import type { Clock } from "../../../lib/world.ts";
import type { Emit } from "../../../observe/events.ts";
import { StoreConfigError } from "../../store-config-error.ts";
import type { News, WakeUp } from "../wake-up.ts";
import { type SqsCallsParts, sqsCalls } from "./sqs-calls.ts";
import { type SqsQueue, sqsQueue } from "./sqs-queue.ts";
import { Trouble } from "./trouble.ts";

export interface SqsOptions extends SqsCallsParts {
  /** The URL of the queue, or its name. */
  readonly queue: string;
  readonly emit: Emit;
}

/** News that wait to be sent. What comes beyond that is dropped: whoever looks finds it. */
const BACKLOG_MAX = 1000;
/** As many as SQS takes and gives in one call. */
const MESSAGES_MAX = 10;
/** News of one message, when there are more of them than messages. */
const NEWS_MAX = 50;
/** As long as SQS waits at most before it answers that there is nothing. */
const WAIT_SECONDS = 20;
/** A message that was handed on and could not be removed comes again after this. */
const HIDDEN_SECONDS = 30;
/** How long what is still to be sent may hold up a stop. */
const CLOSE_MS = 2000;

/**
 * A queue of SQS that wakes other nodes. Rejects with `StoreConfigError` when the queue or the credentials are wrong; a queue
 * that cannot be reached is a warning, and is tried again.
 */
export async function openSqs({ queue, emit, ...parts }: SqsOptions): Promise<WakeUp> {
  const opened = new SqsWakeUp(sqsQueue(sqsCalls(parts), queue), queue, emit, parts.clock);
  await opened.check();
  return opened;
}

class SqsWakeUp implements WakeUp {
  readonly #queue: SqsQueue;
  readonly #clock: Clock;
  readonly #sending: Trouble;
  readonly #receiving: Trouble;
  readonly #closed = new AbortController();
  readonly #backlog: News[] = [];
  #sender: Promise<void> | undefined;

  constructor(queue: SqsQueue, name: string, emit: Emit, clock: Clock) {
    this.#queue = queue;
    this.#clock = clock;
    this.#sending = new Trouble(`sending to the queue ${name}`, { emit, clock });
    this.#receiving = new Trouble(`receiving from the queue ${name}`, { emit, clock });
  }

  async check(): Promise<void> {
    try {
      await this.#queue.check();
    } catch (error) {
      if (error instanceof StoreConfigError) throw error;
      void this.#receiving.failed(error, AbortSignal.abort());
    }
  }

  tell(news: readonly News[]): void {
    if (this.#closed.signal.aborted) return;
    this.#backlog.push(...news.slice(0, BACKLOG_MAX - this.#backlog.length));
    this.#sender ??= this.#send();
  }

  /** Never rejects. */
  async #send(): Promise<void> {
    // What is told in the same turn goes together.
    await Promise.resolve();
    while (this.#backlog.length > 0 && !this.#closed.signal.aborted) {
      const taken = this.#backlog.splice(0, MESSAGES_MAX * NEWS_MAX);
      try {
        await this.#queue.call("SendMessageBatch", { Entries: entriesOf(taken) });
        this.#sending.worked();
      } catch (error) {
        await this.#sending.failed(error, this.#closed.signal);
      }
    }
    this.#sender = undefined;
  }

  async listen(signal: AbortSignal): Promise<readonly News[]> {
    signal.throwIfAborted();
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    const received = await this.#receive(ended);
    // Behind the end there is nothing to look for: whoever listens on would never rest.
    if (this.#closed.signal.aborted) await aborted(signal);
    signal.throwIfAborted();
    return received;
  }

  async #receive(signal: AbortSignal): Promise<readonly News[]> {
    if (signal.aborted) return [];
    const asked = {
      MaxNumberOfMessages: MESSAGES_MAX,
      WaitTimeSeconds: WAIT_SECONDS,
      VisibilityTimeout: HIDDEN_SECONDS,
    };
    try {
      const waitMs = WAIT_SECONDS * 1000;
      const answer = await this.#queue.call("ReceiveMessage", asked, { waitMs, signal });
      this.#receiving.worked();
      const messages = messagesIn(answer.Messages);
      if (messages.length > 0) void this.#remove(messages);
      return messages.flatMap(({ body }) => newsIn(body));
    } catch (error) {
      if (!signal.aborted) await this.#receiving.failed(error, signal);
      return [];
    }
  }

  /** What cannot be removed comes again, which harms nobody. */
  async #remove(messages: readonly Message[]): Promise<void> {
    const Entries = messages.map(({ handle }, index) => ({
      Id: String(index),
      ReceiptHandle: handle,
    }));
    await this.#queue.call("DeleteMessageBatch", { Entries }).catch(() => undefined);
  }

  async close(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const cancel = this.#clock.after(CLOSE_MS, late.resolve);
    await Promise.race([this.#sender, late.promise]);
    cancel();
    this.#closed.abort();
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

/** As many messages as a call takes, so that several who listen get something, and then more in each. */
function entriesOf(news: readonly News[]): readonly object[] {
  const perMessage = Math.ceil(news.length / MESSAGES_MAX);
  const count = Math.ceil(news.length / perMessage);
  return Array.from({ length: count }, (_, index) => {
    const part = news.slice(index * perMessage, (index + 1) * perMessage);
    const lines = part.map(({ id, timestamp }) => `${id} ${timestamp}`);
    return { Id: String(index), MessageBody: lines.join("\n") };
  });
}

interface Message {
  readonly handle: string;
  readonly body: string;
}

function messagesIn(value: unknown): readonly Message[] {
  if (!Array.isArray(value)) return [];
  return value.map((each: { readonly ReceiptHandle?: unknown; readonly Body?: unknown }) => ({
    handle: String(each.ReceiptHandle),
    body: String(each.Body),
  }));
}

/** What others put into the queue is no news. */
function newsIn(body: string): readonly News[] {
  return body.split("\n").flatMap((line) => {
    const [, id = "", digits] = /^([A-Za-z0-9_-]{1,64}) (\d{1,15})$/u.exec(line) ?? [];
    return id === "" ? [] : [{ id, timestamp: Number(digits) }];
  });
}
