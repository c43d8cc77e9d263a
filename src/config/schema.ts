import * as v from "valibot";
import type { Places } from "./facts.ts";
import * as kind from "./kinds.ts";
import { listOf, setting } from "./setting.ts";

/**
 * Every setting: how it is read, its default, what it means, and whether it is secret. Durations become milliseconds,
 * sizes bytes, percentages a share from 0 to 1. Nothing else in the project has defaults of its own.
 */
export function configSchema(places: Places) {
  return v.strictObject({
    smtp: smtp(places),
    spool: spool(places),
    relay: relay(places),
    queue: queue(),
    policy: policy(),
    bounce: bounce(places),
    admin: admin(places),
    log: log(),
    shutdown: shutdown(),
  });
}

/** What `configSchema` makes, with the names of the configuration file. */
export type ConfigValues = v.InferOutput<ReturnType<typeof configSchema>>;

/** A group of settings; one that is missing has the default of each. */
function section<const T extends v.ObjectEntries>(entries: T) {
  return v.optional(v.strictObject(entries), {} as never);
}

function smtp(places: Places) {
  return section({
    listen: setting(kind.hostPorts, {
      default: ["127.0.0.1:2525"],
      doc: "Where to accept mail over SMTP; STARTTLS is offered when there is a certificate.",
    }),
    tls: section({
      listen: setting(kind.hostPorts, {
        default: [],
        doc: "Where to accept mail over SMTP with TLS from the first byte (RFC 8314).",
      }),
      cert_file: setting(kind.optionalPath, {
        default: "",
        doc: "Certificate chain, PEM. Read again when it changes.",
      }),
      key_file: setting(kind.optionalPath, {
        default: "",
        doc: "Private key of the certificate, PEM. Read again when it changes.",
      }),
    }),
    trust: setting(kind.networks, {
      default: ["127.0.0.0/8", "::1/128"],
      doc: "Networks whose clients may relay; nobody else may.",
    }),
    hostname: setting(kind.hostName, {
      default: places.hostname,
      doc: "What this server calls itself in its banner, in Received, and to its next hops.",
    }),
    size_max: setting(kind.size(64 * 1024, 2 ** 31), {
      default: "25MiB",
      doc: "The largest message; larger ones are refused with 552.",
    }),
    recipients_max: setting(kind.whole(1, 100_000), {
      default: 1000,
      doc: "Recipients of one transaction; further ones are put off with 452 (RFC 5321 asks for at least 100).",
    }),
    header_max: setting(kind.size(1024, 64 * 1024), {
      default: "64KiB",
      doc: "The largest message header; messages with more are refused.",
    }),
    received_max: setting(kind.whole(1, 1000), {
      default: 50,
      doc: "Received fields after which a message counts as looping and is refused.",
    }),
    bare_newlines: setting(kind.oneOf(["normalise", "refuse"]), {
      default: "normalise",
      doc: "What to do with a CR or LF that stands alone: make it CRLF, or refuse the message.",
    }),
    connections_max: setting(kind.whole(1, 100_000), {
      default: 1000,
      doc: "Client connections at once; further ones are put off with 421.",
    }),
    connections_per_client_max: setting(kind.whole(1, 100_000), {
      default: 50,
      doc: "Connections at once from one address; trusted networks are exempt.",
    }),
    greeting_pause: setting(kind.duration(0), {
      default: "100ms",
      doc: "How long clients outside the trusted networks wait for the banner; who talks early is refused.",
    }),
    timeout: setting(kind.duration(100), {
      default: "5m",
      doc: "How long a client may be silent (RFC 5321 §4.5.3.2.7).",
    }),
    spill: setting(kind.size(1024, 2 ** 31), {
      default: "256KiB",
      doc: "Larger messages go to disk while they arrive instead of into memory.",
    }),
  });
}

function spool(places: Places) {
  return section({
    dir: setting(kind.path, {
      default: places.spool,
      doc: "The directory that the queue is kept in. One process at a time uses it.",
    }),
    url: setting(kind.storeUrl, {
      default: "",
      doc: "Where the queue is kept instead: memory: (gone with the process; for trials), redis://user:password@host/database, postgres://user:password@host/database or s3://bucket/prefix (several nodes may share these).",
      secret: "url",
    }),
    free_min: setting(kind.size(0), {
      default: "512MiB",
      doc: "Clients get 452 while less than this is free on the disk of the spool.",
    }),
    free_min_percent: setting(kind.percent, {
      default: "10%",
      doc: "Clients get 452 while less than this share is free on the disk of the spool.",
    }),
    memory: setting(kind.size(0, 2 ** 40), {
      default: "64MiB",
      doc: "Content of fresh messages that stays in memory for their first attempt; the rest is read back.",
    }),
  });
}

function relay(places: Places) {
  return section({
    to: setting(kind.relayTarget, {
      default: ["mx"],
      doc: "Where mail goes: mx (by DNS), smtp:// or smtps:// hosts in order of preference, blackhole (drop), or none (keep).",
      secret: "login",
    }),
    tls: setting(kind.oneOf(["opportunistic", "required", "verify", "none"]), {
      default: "opportunistic",
      doc: "TLS to next hops: when offered, always, always and with a certificate that proves the host, or never.",
    }),
    username: setting(kind.optionalText, {
      default: "",
      doc: "Login at the hosts of relay.to whose URL has none.",
    }),
    password: setting(kind.optionalText, {
      default: "",
      doc: "Password of that login.",
      secret: true,
    }),
    ehlo: setting(kind.hostName, {
      default: places.hostname,
      doc: "What to say in EHLO; as smtp.hostname unless set.",
    }),
    prefer: setting(kind.oneOf(["any", "ipv4", "ipv6"]), {
      default: "any",
      doc: "Which addresses of a host to try first.",
    }),
    dns_servers: setting(kind.servers, {
      default: [],
      doc: "Resolvers to ask; those of /etc/resolv.conf when empty.",
    }),
    mx_port: setting(kind.whole(1, 65_535), { default: 25, doc: "The port of MX hosts." }),
    mx_hosts_max: setting(kind.whole(1, 100), {
      default: 5,
      doc: "MX hosts tried in one attempt.",
    }),
    addresses_max: setting(kind.whole(1, 100), {
      default: 5,
      doc: "Addresses of one host tried in one attempt.",
    }),
    messages_per_connection: setting(kind.whole(1, 1_000_000), {
      default: 100,
      doc: "Messages after which a connection is closed.",
    }),
    idle: setting(kind.duration(0), {
      default: "10s",
      doc: "How long a connection to an MX waits for another message.",
    }),
    idle_smarthost: setting(kind.duration(0), {
      default: "60s",
      doc: "How long a connection to a host of relay.to waits for another message.",
    }),
    timeout: section({
      connect: setting(kind.duration(10), { default: "30s", doc: "For the TCP connection." }),
      greeting: setting(kind.duration(10), { default: "5m", doc: "For the banner." }),
      command: setting(kind.duration(10), {
        default: "5m",
        doc: "For EHLO, STARTTLS, AUTH, MAIL and RCPT.",
      }),
      data: setting(kind.duration(10), { default: "2m", doc: "For the reply to DATA." }),
      block: setting(kind.duration(10), { default: "3m", doc: "For each piece of the content." }),
      end: setting(kind.duration(10), { default: "10m", doc: "For the reply to the final dot." }),
      dns: setting(kind.duration(10), { default: "10s", doc: "For one question to DNS." }),
    }),
  });
}

function queue() {
  return section({
    retry: setting(kind.durations, {
      default: ["1m", "5m", "15m", "30m", "1h", "2h", "4h"],
      doc: "Waits between attempts; the last repeats.",
    }),
    jitter: setting(kind.percent, {
      default: "10%",
      doc: "By how much a wait may differ, so that messages spread out.",
    }),
    lifetime: setting(kind.duration(1000), {
      default: "5d",
      doc: "After this long a message is given up and its sender told.",
    }),
    bounce_lifetime: setting(kind.duration(1000), {
      default: "1d",
      doc: "After this long a bounce is given up.",
    }),
    delay_notice: setting(kind.durationOrOff, {
      default: "4h",
      doc: "After this long senders are told of a delay, once; off for never.",
    }),
    deliveries_max: setting(kind.whole(1, 10_000), { default: 200, doc: "Deliveries at once." }),
    per_destination_max: setting(kind.whole(1, 10_000), {
      default: 20,
      doc: "Deliveries at once to one destination; where the queue is kept in Redis, of all nodes together.",
    }),
    per_destination_start: setting(kind.whole(1, 10_000), {
      default: 5,
      doc: "Deliveries at once to a destination of which nothing is known yet.",
    }),
    lease: setting(kind.duration(5000), {
      default: "5m",
      doc: "After this long without a sign of life from a node, others that share its queue take its mail over.",
    }),
    window: setting(kind.whole(10, 1_000_000), {
      default: 10_000,
      doc: "Due messages that are in memory; the others wait in the spool.",
    }),
    window_per_destination: setting(kind.whole(1, 1_000_000), {
      default: 1000,
      doc: "Share of the window that one destination may fill; less where nodes share the queue, so that each has something to do.",
    }),
  });
}

function policy() {
  return section({
    chain: setting(
      kind.orderOf(["date", "message-id", "received", "split-domain", "split-recipient"]),
      {
        default: ["date", "message-id", "received", "split-domain"],
        doc: "What is done to a message before it is stored, in this order.",
      },
    ),
  });
}

function bounce(places: Places) {
  return section({
    size_max: setting(kind.size(1024, 2 ** 31), {
      default: "50KiB",
      doc: "Larger messages come back in bounces with their header only.",
    }),
    postmaster: setting(kind.mailAddress, {
      default: `postmaster@${places.hostname}`,
      doc: "Whom bounces name for questions; postmaster at smtp.hostname unless set.",
    }),
  });
}

function admin(places: Places) {
  return section({
    listen: setting(kind.endpoints, {
      default: ["127.0.0.1:8425"],
      doc: "Where to answer HTTP for operators: host:port or the path of a unix socket. Beyond loopback a token is required.",
    }),
    socket: setting(kind.socketChoice, {
      default: `auto:${places.socket}`,
      doc: "One more unix socket, used by the queue commands. Off when admin.listen is set and this is not.",
    }),
    hosts: setting(listOf(kind.hostName), {
      default: [],
      doc: "Names besides localhost by which requests may ask; only needed behind a proxy.",
    }),
    token: setting(kind.optionalText, {
      default: "",
      doc: "Bearer token that requests must have.",
      secret: true,
    }),
  });
}

function log() {
  return section({
    format: setting(kind.oneOf(["text", "json"]), {
      default: "text",
      doc: "Lines as Postfix writes them, or JSON with the same keys.",
    }),
    level: setting(kind.oneOf(["error", "warning", "info", "debug"]), {
      default: "info",
      doc: "The least important lines that are written.",
    }),
  });
}

function shutdown() {
  return section({
    grace: setting(kind.duration(0), {
      default: "30s",
      doc: "How long deliveries may take to finish after TERM. Keep it below the limit of the supervisor (Docker: 10s unless told).",
    }),
  });
}
