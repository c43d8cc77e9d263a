import type { Server, Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { SMTPServer, type SMTPServerSession } from "smtp-server";
import { SMTPConnection, type TLSError } from "smtp-server/lib/smtp-connection.js";
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import type { World } from "../lib/world.ts";
import { type Reply, reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import type { FrontDoor } from "./accept.ts";
import { clientIp, type NetworkTest, networkTest } from "./networks.ts";
import { type SessionOptions, SmtpSession, type Wire } from "./session.ts";

/** Certificate chain and private key, PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
}

/** Where to listen: an address, or a socket that is open already (systemd). */
export type ListenAt = { readonly host: string; readonly port: number } | { readonly fd: number };

/** One listener. All of it explicit: defaults are the configuration's. */
export interface SmtpEdgeOptions extends Omit<SessionOptions, "listener"> {
  readonly listen: ListenAt;
  /** With it STARTTLS is offered, or TLS begins at once; without it there is no encryption. */
  readonly tls: TlsMaterial | undefined;
  /** TLS from the first byte on (RFC 8314). Needs `tls`. */
  readonly implicitTls: boolean;
  /** Who may send mail to other hosts: networks as `networkTest` reads them. */
  readonly trustedNetworks: readonly string[];
  readonly connectionsMax: number;
  /** Of clients outside the trusted networks. */
  readonly connectionsPerIpMax: number;
}

/** What an edge tells, and where it takes its time from. */
export interface EdgeParts {
  readonly emit: Emit;
  readonly world: World;
}

/** A listener that is open. */
export interface SmtpEdge {
  readonly address: { readonly host: string; readonly port: number };
  /** Handshakes from here on use this certificate. Throws, and changes nothing, when it cannot be used. */
  reloadTls(tls: TlsMaterial): void;
  /** Open connections, those included that are being closed. */
  connections(): number;
  /**
   * Stops listening at once and sends away all sessions, with 421 4.3.2, as soon as no message of theirs is under way;
   * what is left after `graceMs` is cut off. Resolves when no connection is left. Idempotent.
   */
  drain(graceMs: number): Promise<void>;
  /** `drain` without grace. */
  close(): Promise<void>;
}

const TOO_MANY_CONNECTIONS = reply(421, "4.7.0", "Too many connections, try again later");
const TOO_MANY_FROM_IP = reply(421, "4.7.0", "Too many connections from your address");
const EMPTIED = Symbol("emptied");
const TLS_VERSION_MIN = "TLSv1.2";

/** Accepts mail over SMTP and gives it to the door (RFC 5321). Rejects when it cannot listen or use the certificate. */
export async function openSmtpEdge(
  options: SmtpEdgeOptions,
  door: FrontDoor,
  parts: EdgeParts,
): Promise<SmtpEdge> {
  if (options.implicitTls && options.tls === undefined) {
    throw new RangeError("implicit TLS needs a certificate");
  }
  const server = new EdgeServer(options, door, parts);
  const address = await listening(server, options.listen);
  server.sessionOptions = { ...options, listener: `${address.host}:${address.port}` };
  let drained: Promise<void> | undefined;

  async function drain(graceMs: number): Promise<void> {
    drained ??= server.stopped();
    server.sendAway();
    if (graceMs <= 0) server.cutOff();
    const cancel = parts.world.clock.after(graceMs, () => server.cutOff());
    await drained;
    cancel();
  }

  return {
    address,
    reloadTls: (tls) => server.useTls(tls),
    connections: () => server.open.size,
    drain,
    close: () => drain(0),
  };
}

function listening(server: EdgeServer, at: ListenAt): Promise<SmtpEdge["address"]> {
  return new Promise((resolve, reject) => {
    const listener: Server = server.server;
    listener.once("error", reject);
    listener.listen(at, () => {
      listener.off("error", reject);
      const address = listener.address();
      const isInet = address !== null && typeof address === "object";
      resolve(isInet ? { host: address.address, port: address.port } : { host: "", port: 0 });
    });
  });
}

/** smtp-server as a listener: it accepts connections and makes TLS of them; the protocol is left to `SmtpSession`. */
class EdgeServer extends SMTPServer {
  readonly door: FrontDoor;
  readonly parts: EdgeParts;
  readonly isTrusted: NetworkTest;
  readonly open = new Set<EdgeConnection>();
  /** Set as soon as the address is known, which is before any connection. */
  sessionOptions: SessionOptions;
  readonly #edge: SmtpEdgeOptions;
  readonly #perIp = new Map<string, number>();

  constructor(edge: SmtpEdgeOptions, door: FrontDoor, parts: EdgeParts) {
    super({
      ...(edge.tls !== undefined && { key: edge.tls.key, cert: edge.tls.cert }),
      // Without it Bun takes TLS 1.0.
      minVersion: TLS_VERSION_MIN,
      secure: edge.implicitTls,
      name: edge.hostname,
      logger: false,
      disableReverseLookup: true,
      // A client may close its side right after its last command and still wait for the answers.
      allowHalfOpen: true,
      socketTimeout: edge.commandTimeoutMs,
      maxClients: edge.connectionsMax,
    });
    this.#edge = edge;
    this.door = door;
    this.parts = parts;
    this.sessionOptions = { ...edge, listener: "" };
    this.isTrusted = networkTest(edge.trustedNetworks);
  }

  hasCertificate(): boolean {
    return this.secureContext.size > 0;
  }

  useTls(tls: TlsMaterial): void {
    // Tried out first: the parent would be left without any when it cannot be used.
    createSecureContext({ ...tls, minVersion: TLS_VERSION_MIN });
    this.updateSecureContext({ ...tls });
  }

  /** Stops listening; resolves when nothing is open any more. */
  async stopped(): Promise<void> {
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
    // The listener knows of the sockets below TLS only, which go first.
    if (this.open.size > 0) await new Promise<void>((resolve) => this.once(EMPTIED, resolve));
  }

  sendAway(): void {
    for (const socket of this._pendingSockets.values()) socket.destroy();
    for (const connection of this.open) connection.client.drain();
  }

  cutOff(): void {
    for (const connection of this.open) connection.destroy();
  }

  /** Counts a connection in; the reply is set when there are too many. */
  admit(connection: EdgeConnection): Reply | undefined {
    const { ip, isTrusted } = connection;
    const fromIp = (this.#perIp.get(ip) ?? 0) + 1;
    this.#perIp.set(ip, fromIp);
    this.open.add(connection);
    if (this.open.size > this.#edge.connectionsMax) return TOO_MANY_CONNECTIONS;
    if (isTrusted || fromIp <= this.#edge.connectionsPerIpMax) return undefined;
    return TOO_MANY_FROM_IP;
  }

  release(connection: EdgeConnection): void {
    if (!this.open.delete(connection)) return;
    const fromIp = (this.#perIp.get(connection.ip) ?? 0) - 1;
    if (fromIp > 0) this.#perIp.set(connection.ip, fromIp);
    else this.#perIp.delete(connection.ip);
    if (this.open.size === 0) this.emit(EMPTIED);
  }

  override connect(socket: Socket | TLSSocket): void {
    new EdgeConnection(this, socket).init();
  }

  override onSecure(socket: Socket | TLSSocket, session: SMTPServerSession): void {
    // The callback would connect the parent's own parser.
    CONNECTIONS.get(session)?.secured(socket);
  }

  override updateSecureContext(options?: { key: string; cert: string }): void {
    // The parent would fall back to a key that everybody knows. It calls this from its constructor.
    if (options === undefined && this.options.key === undefined) this.secureContext = new Map();
    else super.updateSecureContext(options);
  }

  override _expectsProxyHeader(): boolean {
    return false;
  }

  override _handleProxy(_: Socket, callback: (error: null, options: { id: string }) => void): void {
    callback(null, UNUSED);
  }

  /** A handshake that failed before there was a session, or trouble of the listener itself. */
  override _onError(error: TLSError): void {
    const { listener } = this.sessionOptions;
    const ip = error.meta?.remoteAddress;
    if (ip !== undefined) {
      const detail = error.message;
      this.parts.emit({ kind: "client", what: "tls-failed", ip: clientIp(ip), listener, detail });
    } else if (listener !== "") {
      const text = `edge: ${listener}: ${error.message}`;
      this.parts.emit({ kind: "lifecycle", what: "error", text });
    }
  }
}

/** smtp-server as a connection: STARTTLS and the orderly close are its; what is said is up to `SmtpSession`. */
class EdgeConnection extends SMTPConnection {
  readonly ip: string;
  readonly isTrusted: boolean;
  readonly client: SmtpSession;
  readonly #edge: EdgeServer;
  /** The outermost socket, also while its handshake is under way. */
  #top: Socket | TLSSocket;

  constructor(edge: EdgeServer, socket: Socket | TLSSocket) {
    super(edge, socket, UNUSED);
    this.#edge = edge;
    this.#top = socket;
    this.ip = clientIp(socket.remoteAddress ?? "");
    this.isTrusted = edge.isTrusted(this.ip);
    const { door, parts, sessionOptions } = edge;
    this.client = new SmtpSession(sessionOptions, {
      ...parts,
      door,
      wire: this.#wire(),
      ip: this.ip,
      trusted: this.isTrusted,
      tls: edge.options.secure ? tlsOf(socket) : undefined,
      hasCertificate: () => edge.hasCertificate(),
    });
  }

  override init(): void {
    this.#listen(this._socket);
    this._socket.on("error", (error) => this._onError(error));
    this._socket.on("close", () => this._onCloseEvent());
    this.client.open(this.#edge.admit(this));
  }

  secured(socket: Socket | TLSSocket): void {
    this.client.secured(tlsOf(socket));
    this.#listen(socket);
  }

  /** Cuts the connection without a word. */
  destroy(): void {
    this.#top.destroy();
  }

  #listen(socket: Socket | TLSSocket): void {
    const { client } = this;
    socket.on("data", (chunk: Uint8Array) => client.receive(chunk));
    socket.on("end", () => client.inputEnded());
    socket.on("drain", () => client.drained());
  }

  #wire(): Wire {
    return {
      write: (text) => this._socket.destroyed || this._socket.write(text),
      pause: () => this._socket.pause(),
      resume: () => this._socket.resume(),
      startTls: () => {
        CONNECTIONS.set(this.session, this);
        this.upgrade(() => undefined);
      },
      end: () => this.close(),
      destroy: () => this.destroy(),
    };
  }

  override _createParser(): SMTPStream {
    return UNUSED_PARSER;
  }

  /** The session keeps the time; here the parent shows its TLS socket before anything else. */
  override _armTimeout(socket: Socket | TLSSocket = this._socket): void {
    this.#top = socket;
  }

  override _onError(error: Error): void {
    const { parts, sessionOptions } = this.#edge;
    if (this._upgrading) {
      const { listener } = sessionOptions;
      const detail = error.message;
      parts.emit({ kind: "client", what: "tls-failed", ip: this.ip, listener, detail });
    }
    this.destroy();
  }

  override _onCloseEvent(): void {
    clearTimeout(this._closeTimer);
    this._closed = true;
    this.#edge.connections.delete(this);
    this.#edge.release(this);
    this.client.gone();
  }
}

/** Which connection a session of the parent's belongs to, once STARTTLS was given. */
const CONNECTIONS = new WeakMap<SMTPServerSession, EdgeConnection>();
/** The parent would make up an id and study the addresses otherwise, for its own log. */
const UNUSED = { id: "-", localAddress: "-", remoteAddress: "-", localPort: 1, remotePort: 1 };
/** The parent wants a parser to detach from. One serves all, since none ever reads. */
const UNUSED_PARSER = new SMTPStream();

function tlsOf(socket: Socket | TLSSocket): string {
  if (!(socket instanceof TLSSocket)) return "TLS";
  return `${socket.getProtocol()} ${socket.getCipher().name}`;
}
