/**
 * The library: the queue without the program around it. Open a storage, a relay and a queue over both, in this order, and
 * close them the other way round: `queue.drain`, `relay.close`, `storage.close`. What is not exported here may change.
 */
export type { BounceFactory, Notice, NoticeAction, NoticeRecipient } from "./bounce/notice.ts";
export { RETURN_BYTES_MAX } from "./bounce/notice.ts";
export { buildNotification } from "./bounce/notification.ts";
export { type Clock, realWorld, type World } from "./lib/world.ts";
export { type Body, type BodySink, bytesContent, type Content } from "./mail/content.ts";
export type { Client, DsnRequest, Envelope, Notify, Recipient } from "./mail/envelope.ts";
export { QueueError } from "./mail/queue-error.ts";
export { formatReply, type Reply, reply } from "./mail/reply.ts";
export { type Emit, type Event, fanOut } from "./observe/events.ts";
export { addDateHeader, addMessageIdHeader } from "./policy/headers.ts";
export { hopLimit } from "./policy/hop-limit.ts";
export type { Policy, PolicyContext } from "./policy/policy.ts";
export { addReceivedHeader } from "./policy/received.ts";
export { recipientDomainSplit, recipientSplit } from "./policy/split.ts";
export {
  BusyError,
  type MessageDetail,
  type QueueControl,
  type QueueStatus,
  type Selector,
  type Verb,
} from "./queue/control.ts";
export { openQueue, type Queue, type QueueOptions, type QueueParts } from "./queue/queue.ts";
export { openBlackholeRelay } from "./relay/blackhole.ts";
export { openResolver, type ResolverOptions } from "./relay/dns/open-resolver.ts";
export type { Resolver } from "./relay/dns/resolver.ts";
export { type MxOptions, openMxRelay } from "./relay/mx.ts";
export type { Delivery, Outcome, Relay, Remote } from "./relay/relay.ts";
export { openSmarthostRelay, type Smarthost, type SmarthostOptions } from "./relay/smarthost.ts";
export {
  type Backoff,
  constantBackoff,
  exponentialBackoff,
  noRetry,
  stepsBackoff,
} from "./schedule/backoff.ts";
export { DiskStorage } from "./storage/disk/disk-storage.ts";
export { LockedError } from "./storage/disk/lock.ts";
export {
  type DiskStorageOptions,
  type DiskStorageWorld,
  openDiskStorage,
} from "./storage/disk/open.ts";
export {
  type MapLike,
  type MemoryStorageOptions,
  type MemoryStorageParts,
  openMemoryStorage,
} from "./storage/memory/memory-storage.ts";
export { openPersistentMaps, type PersistentMaps } from "./storage/memory/persistent-maps.ts";
export {
  openPostgresStorage,
  type PostgresStorageParts,
} from "./storage/postgres/open.ts";
export type { PostgresStorageOptions } from "./storage/postgres/options.ts";
export {
  CorruptError,
  LostLeaseError,
  NotFoundError,
  type QueueStorage,
  type Settlement,
  type StoredMessage,
} from "./storage/storage.ts";
