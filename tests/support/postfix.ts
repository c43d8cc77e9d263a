import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  statSync,
} from "node:fs";
import { appendFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { atExit } from "./at-exit.ts";
import { freePort } from "./free-port.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";
import { accepts, until } from "./until.ts";

/** A Postfix of our own: it shares no configuration, queue, port or log with the machine's. Root only. */
export interface Postfix extends AsyncDisposable {
  /** Where its smtpd listens on 127.0.0.1. */
  readonly port: number;
  readonly configDir: string;
  readonly queueDir: string;
  /** The process id of its master while it runs; all its other processes are children of that one. */
  masterPid(): number;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Runs one of Postfix's commands (`postqueue`, `postsuper`, `postconf` ...) on this instance; gives its stdout. */
  command(name: string, ...args: readonly string[]): string;
  /** Changes main.cf; takes effect with the next start. */
  configure(settings: Readonly<Record<string, string>>): Promise<void>;
  /** Messages in all of its queues, or in these. */
  queued(...queues: readonly QueueName[]): Promise<number>;
  /** All that it logged so far. */
  log(): Promise<string>;
  /** The messages delivered to `inboxDomains`, oldest first, as stored in a Maildir (LF line ends). */
  inbox(): Promise<readonly string[]>;
  /** Throws away queue, mail and log of the stopped instance. */
  wipe(): Promise<void>;
}

export type QueueName = "incoming" | "active" | "deferred" | "hold" | "corrupt" | "maildrop";

export interface PostfixOptions {
  /** Where all mail goes, for instance `[127.0.0.1]:2500`; none by default. */
  readonly relayhost?: string;
  /** Domains whose every address ends in `inbox()`. */
  readonly inboxDomains?: readonly string[];
  /** More settings of main.cf. */
  readonly main?: Readonly<Record<string, string>>;
  /** More lines of master.cf. */
  readonly master?: readonly string[];
  /** Makes the instance's directory below this one instead of the system's temporary directory. */
  readonly parent?: string;
}

const QUEUES: readonly QueueName[] = [
  "incoming",
  "active",
  "deferred",
  "hold",
  "corrupt",
  "maildrop",
];

const MASTER_CF = ["/usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf.proto"];

/** What the system's init script copies into the chroot of Debian's default services. */
const CHROOT_FILES = [
  "/etc/hosts",
  "/etc/host.conf",
  "/etc/localtime",
  "/etc/nsswitch.conf",
  "/etc/resolv.conf",
  "/etc/services",
  "/lib/*/libgcc_s*.so*",
  "/lib/*/libnss*.so*",
  "/lib/*/libresolv*.so*",
];

const started = new Set<Postfix>();
atExit("programs", () => {
  for (const postfix of started) {
    started.delete(postfix);
    process.kill(postfix.masterPid());
  }
});

/** Makes an instance with Debian's defaults (chroot included), open to 127.0.0.1 only, and starts it. */
export async function postfixInstance(options: PostfixOptions = {}): Promise<Postfix> {
  const dir = tempDir("postfix", options.parent);
  const port = await freePort();
  await writeConfiguration(dir, port, options);
  const postfix = instanceIn(dir, port);
  try {
    await postfix.start();
  } catch (error) {
    await postfix[Symbol.asyncDispose]();
    throw error;
  }
  return postfix;
}

async function writeConfiguration(dir: TempDir, port: number, o: PostfixOptions): Promise<void> {
  for (const name of ["etc", "data", "mail"]) mkdirSync(dir.join(name));
  chownTo("postfix", dir.join("data"));
  chownTo("nobody", dir.join("mail"));
  makeQueueDir(dir);
  await writeFile(dir.join("etc/main.cf"), text({ ...mainCf(dir), ...inboxCf(dir, o), ...o.main }));
  const stock = MASTER_CF.find((path) => existsSync(path)) ?? "";
  const master = await readFile(stock, "utf8");
  const ours = master.replace(/^smtp(\s+inet)/mu, `127.0.0.1:${port}$1`);
  await writeFile(dir.join("etc/master.cf"), `${ours}\n${(o.master ?? []).join("\n")}\n`);
}

function mainCf(dir: TempDir): Record<string, string> {
  return {
    compatibility_level: "3.6",
    smtpd_banner: "$myhostname ESMTP $mail_name (Debian/GNU)",
    biff: "no",
    append_dot_mydomain: "no",
    readme_directory: "no",
    smtpd_relay_restrictions:
      "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
    mailbox_size_limit: "0",
    recipient_delimiter: "+",
    mynetworks: "127.0.0.0/8",
    // What makes the instance private and keeps it on this machine.
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    myhostname: "postfix.example.test",
    myorigin: "$myhostname",
    mydestination: "$myhostname",
    alias_maps: "",
    alias_database: "",
    queue_directory: dir.join("queue"),
    data_directory: dir.join("data"),
    maillog_file: dir.join("maillog"),
    maillog_file_prefixes: dir.path,
  };
}

function inboxCf(dir: TempDir, o: PostfixOptions): Record<string, string> {
  const relayhost: Record<string, string> =
    o.relayhost === undefined ? {} : { relayhost: o.relayhost };
  if (o.inboxDomains === undefined) return relayhost;
  const nobody = statSync(dir.join("mail"));
  return {
    ...relayhost,
    virtual_mailbox_domains: o.inboxDomains.join(" "),
    virtual_mailbox_base: dir.join("mail"),
    virtual_mailbox_maps: "static:inbox/",
    virtual_uid_maps: `static:${nobody.uid}`,
    virtual_gid_maps: `static:${nobody.gid}`,
  };
}

function text(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join("");
}

function makeQueueDir(dir: TempDir): void {
  mkdirSync(dir.join("queue"));
  for (const file of globSync(CHROOT_FILES)) {
    const copy = dir.join("queue", file);
    mkdirSync(dirname(copy), { recursive: true });
    cpSync(file, copy, { dereference: true });
    chmodSync(copy, 0o644);
  }
}

function chownTo(user: string, path: string): void {
  const id = (flag: string) => Number(run(["id", flag, user]));
  chownSync(path, id("-u"), id("-g"));
}

function run(command: readonly string[]): string {
  const [program = "", ...args] = command;
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0)
    throw new Error(`${command.join(" ")} failed with ${status}: ${stdout}${stderr}`);
  return stdout;
}

function instanceIn(dir: TempDir, port: number): Postfix {
  const configDir = dir.join("etc");
  const queueDir = dir.join("queue");
  const log = async () => {
    const path = dir.join("maillog");
    return existsSync(path) ? await readFile(path, "utf8") : "";
  };
  const command = (name: string, ...args: readonly string[]) =>
    run([`/usr/sbin/${name}`, "-c", configDir, ...args]);
  const masterPid = () =>
    Number.parseInt(readFileSync(join(queueDir, "pid/master.pid"), "utf8"), 10);

  const postfix: Postfix = {
    port,
    configDir,
    queueDir,
    masterPid,
    command,
    log,
    async start() {
      started.add(postfix);
      command("postfix", "start");
      try {
        await until("Postfix's smtpd", () => accepts(port));
      } catch (cause) {
        throw new Error(`Postfix did not start:\n${await log()}`, { cause });
      }
    },
    async stop() {
      if (!started.delete(postfix)) return;
      const pid = masterPid();
      // What "postfix stop" does, without its pauses of a second.
      process.kill(pid);
      await until("Postfix is gone", () => hasEnded(pid));
    },
    async configure(settings) {
      await appendFile(join(configDir, "main.cf"), text(settings));
    },
    async queued(...queues) {
      const names = queues.length === 0 ? QUEUES : queues;
      const counts = await Promise.all(names.map((name) => countFiles(join(queueDir, name))));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    inbox: () => readMaildir(dir.join("mail/inbox/new")),
    async wipe() {
      if (started.has(postfix)) throw new Error("stop Postfix before wiping it");
      await rm(queueDir, { recursive: true, force: true });
      await rm(dir.join("maillog"), { force: true });
      await rm(dir.join("mail/inbox"), { recursive: true, force: true });
      makeQueueDir(dir);
    },
    async [Symbol.asyncDispose]() {
      await postfix.stop();
      await dir[Symbol.asyncDispose]();
    },
  };
  return postfix;
}

/** Whether the process is gone, or only waits for its parent to notice. */
function hasEnded(pid: number): boolean {
  try {
    return /\) Z/u.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

/** Files below a directory that others add to and remove from meanwhile. */
async function countFiles(path: string): Promise<number> {
  try {
    const entries = await readdir(path, { withFileTypes: true, recursive: true });
    return entries.filter((entry) => entry.isFile()).length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

async function readMaildir(path: string): Promise<readonly string[]> {
  if (!existsSync(path)) return [];
  const names = (await readdir(path)).toSorted();
  return await Promise.all(names.map((name) => readFile(join(path, name), "utf8")));
}
