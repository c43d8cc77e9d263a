/**
 * The library: the queue without the program around it. Open a storage, a relay and a queue over both, in this order, and
 * close them the other way round: `queue.drain`, `relay.close`, `storage.close`. `tests/examples` shows whole programs.
 *
 * Instants are milliseconds since the epoch, durations milliseconds, sizes octets. What can be refused is refused with
 * `QueueError` or one of its kinds. What is not exported here may change.
 */

export { type NewEnvelope, newEnvelope } from "./app/library/new-envelope.ts";
export { openQueue, type QueueOptions } from "./app/library/queue.ts";
export {
  type MxRelayOptions,
  openMxRelay,
  openSmarthostRelay,
  type SmtpRelayOptions,
} from "./app/library/relays.ts";
export type { Embedding } from "./app/library/stock.ts";
export {
  type CloudOptions,
  type DiskOptions,
  type MapOptions,
  openCloudStorage,
  openDiskStorage,
  openMemoryStorage,
  openPostgresStorage,
  openRedisStorage,
  openS3Storage,
  openStorage,
} from "./app/library/storages.ts";
export type { BounceFactory, Notice, NoticeAction, NoticeRecipient } from "./bounce/notice.ts";
export { RETURN_BYTES_MAX } from "./bounce/notice.ts";
export { buildNotification } from "./bounce/notification.ts";
export { type Clock, realWorld, type World } from "./lib/world.ts";
export {
  type Body,
  type BodySink,
  type BytesBody,
  bodyContent,
  bytesContent,
  type Content,
  contentChunks,
  readContent,
  type SourceBody,
  withPrefix,
} from "./mail/content.ts";
export type { Client, DsnRequest, Envelope, Notify, Recipient } from "./mail/envelope.ts";
export { withField } from "./mail/header.ts";
export { QueueError } from "./mail/queue-error.ts";
export { formatReply, parseReply, type Reply, reply } from "./mail/reply.ts";
export {
  type AcceptedEvent,
  type ClientEvent,
  type CorruptEvent,
  type DeliveryEvent,
  type DestinationEvent,
  type Emit,
  type Event,
  type ExpiredEvent,
  fanOut,
  type LifecycleEvent,
  type NotificationEvent,
  type OperatorEvent,
  type RefusedEvent,
  type RemovedEvent,
  type StorageEvent,
} from "./observe/events.ts";
export { addDateHeader, addMessageIdHeader } from "./policy/headers.ts";
export { hopLimit } from "./policy/hop-limit.ts";
export type { Policy, PolicyContext } from "./policy/policy.ts";
export { addReceivedHeader } from "./policy/received.ts";
export { recipientDomainSplit, recipientSplit } from "./policy/split.ts";
export {
  BusyError,
  type DestinationStatus,
  type MessageDetail,
  type QueueControl,
  type QueueStatus,
  type Selector,
  type Verb,
} from "./queue/control.ts";
export type { Queue } from "./queue/queue.ts";
export { openBlackholeRelay } from "./relay/blackhole.ts";
export type { PoolOptions } from "./relay/connection-pool.ts";
export type { CourierOptions } from "./relay/courier.ts";
export { type Attempt, type CustomRelayOptions, openCustomRelay } from "./relay/custom.ts";
export { openResolver, type ResolverOptions } from "./relay/dns/open-resolver.ts";
export type { MxRecord, NoRecords, Resolver } from "./relay/dns/resolver.ts";
export type { ForcedRoute, MxOptions } from "./relay/mx.ts";
export type { Delivery, Outcome, ParkedConnections, Relay, Remote } from "./relay/relay.ts";
export type { Smarthost } from "./relay/smarthost.ts";
export type {
  Credentials,
  SmtpClientOptions,
  SmtpTimeouts,
  TlsMode,
} from "./relay/smtp-session.ts";
export {
  type Backoff,
  type ConstantOptions,
  constantBackoff,
  type ExponentialOptions,
  exponentialBackoff,
  type Limits,
  noRetry,
  type StepsOptions,
  stepsBackoff,
} from "./schedule/backoff.ts";
export type { ThrottleOptions } from "./schedule/throttle.ts";
export type {
  ListedObject,
  ObjectPage,
  ObjectQuery,
  ObjectStore,
  ObjectUpload,
  OctetRange,
  PutCondition,
  StoredObject,
} from "./storage/cloud/object-store.ts";
export type { News, WakeUp } from "./storage/cloud/wake-up.ts";
export { DiskStorage } from "./storage/disk/disk-storage.ts";
export { LockedError } from "./storage/disk/lock.ts";
export type { DiskStorageOptions } from "./storage/disk/open.ts";
export type { MapLike, MemoryStorageOptions } from "./storage/memory/memory-storage.ts";
export { openPersistentMaps, type PersistentMaps } from "./storage/memory/persistent-maps.ts";
export type { MessageRow } from "./storage/message-row.ts";
export type { Claim, Granted, NodeShare, Places } from "./storage/places.ts";
export {
  CorruptError,
  type Lease,
  type LeaseOptions,
  type ListQuery,
  LostLeaseError,
  type MessageState,
  type MessageSummary,
  type Moving,
  NotFoundError,
  type QueueStorage,
  type RecipientChange,
  type RecipientStatus,
  type Settlement,
  type SettleOptions,
  type StorageInfo,
  type StoredMessage,
  type Tenure,
  type WriteOptions,
} from "./storage/storage.ts";
export { StoreConfigError } from "./storage/store-config-error.ts";
