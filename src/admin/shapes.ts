import { formatReply } from "../mail/reply.ts";
import type { MessageDetail, QueueControl, QueueStatus } from "../queue/control.ts";

/** One message of a list. */
export type Summary = Awaited<ReturnType<QueueControl["list"]>>[number];

/** The JSON of `GET /v1/queue`. */
export function queueJson(status: QueueStatus, now: number) {
  return {
    size: status.size,
    states: status.states,
    bytes: status.bytes,
    oldest_seconds: oldestSeconds(status, now),
    delivering: status.delivering,
    waiting: status.waiting,
    next_due_at: instant(status.nextDue),
    connections: { open: status.connections.open, idle: status.connections.idle },
    destinations: status.destinations.map((destination) => ({
      destination: destination.destination,
      delivering: destination.delivering,
      waiting: destination.waiting,
      limit: destination.limit,
      places: destination.places ?? null,
      suspended_until: instant(destination.suspendedUntil),
      last_failure: destination.lastFailure,
    })),
    refusal: status.refusal ?? null,
    corrupt: status.corrupt,
    store_requests: status.requests ?? null,
  };
}

export function oldestSeconds({ oldestAt }: QueueStatus, now: number): number | null {
  return oldestAt === null ? null : Math.max(0, Math.round((now - oldestAt) / 1000));
}

/** One message in the JSON of `GET /v1/messages`; with its recipients and who has it when they were read. */
export function summaryJson(summary: Summary, detail: MessageDetail | undefined) {
  return {
    id: summary.id,
    state: summary.state,
    sender: summary.sender,
    size: summary.size,
    received_at: instant(summary.receivedAt),
    due_at: instant(summary.due),
    attempts: summary.attempts,
    domain: summary.domain,
    recipient_count: summary.recipientCount,
    ...(detail && { holder: holderOf(detail), recipients: recipientsOf(detail).map(briefly) }),
  };
}

/** Which node has it; null for nobody, and for a store that only one process uses. */
function holderOf({ lease }: MessageDetail): string | null {
  return lease?.holder ?? null;
}

function briefly({ address, status, reason }: RecipientJson) {
  return { address, status, reason };
}

/** The JSON of `GET /v1/messages/ID`. */
export function detailJson(detail: MessageDetail) {
  const { client } = detail.envelope;
  return {
    id: detail.id,
    state: detail.state,
    sender: detail.sender,
    size: detail.size,
    received_at: instant(detail.receivedAt),
    due_at: instant(detail.due),
    expires_at: instant(detail.expiresAt),
    attempts: detail.attempts,
    held: detail.state === "hold",
    delay_notified: detail.delayNotified,
    recipient_count: detail.recipientCount,
    client: { ip: client.ip, host: client.host, name: client.name, protocol: client.protocol },
    holder: holderOf(detail),
    leased_until: instant(detail.lease?.until ?? null),
    moving: detail.moving ? { from: detail.moving.from, to: detail.moving.to } : null,
    recipients: recipientsOf(detail),
  };
}

export interface RecipientJson {
  readonly index: number;
  /** As given. */
  readonly address: string;
  readonly status: "pending" | "delivered" | "bounced" | "dropped";
  readonly reason: string | null;
  readonly relay: string | null;
  readonly notify: readonly string[] | null;
  readonly orcpt: string | null;
}

/** Every recipient in the order of the envelope, with what is known of it. */
export function recipientsOf(detail: MessageDetail): readonly RecipientJson[] {
  const changes = new Map(detail.recipients.map((change) => [change.index, change]));
  return detail.original.map(({ index, address, notify, orcpt }) => {
    const change = changes.get(index);
    return {
      index,
      address,
      status: change?.status ?? "pending",
      reason: change?.reply === undefined ? null : formatReply(change.reply),
      relay: change?.relay ?? null,
      notify: notify ?? null,
      orcpt: orcpt ?? null,
    };
  });
}

/** RFC 3339 in UTC; null for an instant that no calendar has. */
export function instant(ms: number | null): string | null {
  if (ms === null) return null;
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
