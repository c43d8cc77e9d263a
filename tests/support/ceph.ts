import { mkdirSync } from "node:fs";
import { AwsClient } from "aws4fetch";
import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";
import { until } from "./until.ts";

/**
 * A real S3 server of the test's own, on loopback: Ceph's gateway in front of one monitor and one storage daemon that keeps
 * everything in memory. It verifies signatures, and conditional writes are atomic.
 */
export interface Ceph extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly endpoint: string;
  readonly port: number;
  /** Its processes by name. */
  readonly pids: Readonly<Record<string, number>>;
  /** The file to which the gateway writes a line for each request that it has answered, sooner or later. */
  readonly log: string;
  /** Makes an empty bucket and gives its name. */
  bucket(): Promise<string>;
  /** The URL of a queue in this bucket; `search` is what stands behind the endpoint, with its `&`. */
  url(bucket: string, search?: string): string;
  /** KILL for the gateway alone: what it has confirmed is still there when it is started again. */
  crash(): Promise<void>;
  restart(): Promise<void>;
  /** STOP: the gateway answers nothing and keeps its connections. */
  freeze(): void;
  thaw(): void;
}

/** Peers that a test of it needs. */
export const CEPH_PEERS = ["ceph-mon", "ceph-osd", "ceph", "radosgw"];

export const ACCESS_KEY = "queue";
/** With signs that Amazon's own secrets have. */
export const SECRET_KEY = "a/secret+with/signs";

const ADMIN = "client.admin";
const STEP_MS = 30_000;

/**
 * What Ceph is made for and its packages bring along, though Debian's do not link it: a fifth of the storage daemon's time,
 * nothing of the gateway's. Where it is missing all goes on without.
 */
const ALLOCATOR = { LD_PRELOAD: "libtcmalloc.so.4" };

/** Parts of the daemons that remember what they do in case they crash: a fifth of their time. */
const TALKERS =
  "asok auth crush finisher heartbeatmap memdb mgrc mon monc ms none objclass objecter optracker osd paxos perfcounter " +
  "rados rocksdb throttle timer tp";

let shared: Promise<Ceph> | undefined;

/**
 * One for all tests of this process, which ends with it: each has buckets of its own. Whoever crashes or freezes it brings it
 * back.
 */
export async function sharedCeph(): Promise<Ceph> {
  shared ??= startCeph();
  return await shared;
}

/** Starts one in about two seconds; its files go with it. */
export async function startCeph(): Promise<Ceph> {
  const dir = tempDir("ceph");
  const children: Child[] = [];
  const pids: Record<string, number> = {};
  const daemon = (name: string, ...args: readonly string[]): Child => {
    const outputFile = dir.join("log", `${name}.out`);
    const command = [`/usr/bin/${name}`, "-f", "-c", dir.join("ceph.conf"), ...args];
    const env = name === "ceph-osd" ? ALLOCATOR : {};
    const child = startChild(command, { outputFile, env });
    children.push(child);
    pids[name] = child.pid;
    return child;
  };
  const stop = async (): Promise<void> => {
    for (const child of children) {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
    }
    await Promise.all(children.map(({ exited }) => exited));
    await dir[Symbol.asyncDispose]();
  };
  const port = await freePort();
  try {
    await startCluster(dir, port, daemon);
    const gateway = (): Child => daemon("radosgw", "-n", ADMIN);
    let running = gateway();
    await Promise.all([makeUser(dir), until("radosgw", () => answers(port), STEP_MS)]);
    return gatewayOf(port, {
      ...{ pids, log: dir.join("log", `${ADMIN}.log`) },
      stop,
      current: () => running,
      async start() {
        running = gateway();
        await until("radosgw", () => answers(port), STEP_MS);
      },
    });
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Gateway extends Pick<Ceph, "pids" | "log"> {
  current(): Child;
  start(): Promise<void>;
  stop(): Promise<void>;
}

function gatewayOf(port: number, gateway: Gateway): Ceph {
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new AwsClient({
    ...{ accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
    ...{ service: "s3", region: "us-east-1" },
  });
  let made = 0;
  return {
    endpoint,
    port,
    pids: gateway.pids,
    log: gateway.log,
    async bucket() {
      made += 1;
      const name = `bucket-${made}`;
      const answer = await client.fetch(`${endpoint}/${name}`, { method: "PUT" });
      if (!answer.ok) throw new Error(`no bucket: ${await answer.text()}`);
      return name;
    },
    url(bucket, search = "") {
      const login = `${ACCESS_KEY}:${encodeURIComponent(SECRET_KEY)}`;
      return `s3://${login}@${bucket}?endpoint=${endpoint}${search}`;
    },
    async crash() {
      gateway.current().kill("SIGKILL");
      await gateway.current().exited;
    },
    restart: () => gateway.start(),
    freeze: () => gateway.current().kill("SIGSTOP"),
    thaw: () => gateway.current().kill("SIGCONT"),
    [Symbol.asyncDispose]: () => gateway.stop(),
  };
}

/** Monitor and storage; resolves when a gateway may be started. */
async function startCluster(
  dir: TempDir,
  gatewayPort: number,
  daemon: (name: string, ...args: readonly string[]) => Child,
): Promise<void> {
  const monitor = `v2:127.0.0.1:${await freePort()}`;
  const [cluster, storage] = [crypto.randomUUID(), crypto.randomUUID()];
  for (const name of ["mon", "osd", "log", "run"]) mkdirSync(dir.join(name));
  await Bun.write(dir.join("ceph.conf"), configuration(dir, { cluster, monitor, gatewayPort }));
  await Bun.write(dir.join("keyring"), keyring());
  const config = ["-c", dir.join("ceph.conf")];
  const map = dir.join("monmap");
  await run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", `[${monitor}]`, map);
  await run("ceph-mon", ...config, "-i", "a", "--mkfs", "--monmap", map);
  daemon("ceph-mon", "-i", "a");
  await run("ceph", ...config, "--connect-timeout", "20", "osd", "new", storage, "0");
  await run("ceph-osd", ...config, "-i", "0", "--mkfs", "--osd-uuid", storage);
  daemon("ceph-osd", "-i", "0");
}

/** The gateway needs a user before anybody can make buckets. */
async function makeUser(dir: TempDir): Promise<void> {
  const login = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
  const user = ["user", "create", "--uid", "queue", "--display-name", "queue", ...login];
  await run("radosgw-admin", "-c", dir.join("ceph.conf"), "-n", ADMIN, ...user);
}

async function answers(port: number): Promise<boolean> {
  try {
    const { status } = await fetch(`http://127.0.0.1:${port}/`);
    return status === 200;
  } catch {
    return false;
  }
}

/** Authentication stays on: without it the gateway does not start. One key serves all. */
function keyring(): string {
  const key = Buffer.concat([
    Buffer.from([1, 0]),
    Buffer.alloc(8),
    Buffer.from([16, 0]),
    crypto.getRandomValues(Buffer.alloc(16)),
  ]).toString("base64");
  return ["mon.", ADMIN, "osd.0"]
    .map((name) => {
      const caps = ["mon", "osd", "mgr"].map((part) => `\tcaps ${part} = "allow *"`);
      return [`[${name}]`, `\tkey = ${key}`, ...caps, ""].join("\n");
    })
    .join("\n");
}

function configuration(
  dir: TempDir,
  at: { readonly cluster: string; readonly monitor: string; readonly gatewayPort: number },
): string {
  const global = {
    fsid: at.cluster,
    "mon host": `[${at.monitor}]`,
    "public addr": "127.0.0.1",
    "cluster addr": "127.0.0.1",
    "ms bind ipv6": false,
    "ms bind msgr1": false,
    "mon data": dir.join("mon"),
    "osd data": dir.join("osd"),
    keyring: dir.join("keyring"),
    "log file": dir.join("log", "$name.log"),
    "mon cluster log file": dir.join("log", "cluster.log"),
    "run dir": dir.join("run"),
    "crash dir": dir.join("run"),
    "admin socket": dir.join("run", "$name.$pid.asok"),
    "osd objectstore": "memstore",
    "memstore device bytes": 2 * 1024 ** 3,
    // One copy in one place, and no hesitation about it.
    "osd crush chooseleaf type": 0,
    "osd pool default size": 1,
    "osd pool default min size": 1,
    "osd pool default pg num": 1,
    "osd pool default pg autoscale mode": "off",
    "mon allow pool size one": true,
    "mon max pg per osd": 1000,
    // A gateway that was killed still counts as one that must hear of a new bucket, for so long.
    "osd client watch timeout": 1,
    "paxos propose interval": 0.01,
    "paxos min wait": 0.01,
    "mon tick interval": 1,
    ...Object.fromEntries(TALKERS.split(" ").map((part) => [`debug ${part}`, "0/0"])),
    // What goes from one daemon to the other stays in this machine.
    "ms crc data": false,
    "ms crc header": false,
    "cephx sign messages": false,
    "osd enable op tracker": false,
    // There is nobody who could have missed something.
    "osd min pg log entries": 100,
    "osd max pg log entries": 100,
    "osd target pg log entries per osd": 100,
    "osd pg log dups tracked": 100,
  };
  const gateway = {
    // Without tcp_nodelay each answer takes 40 ms.
    "rgw frontends": `beast endpoint=127.0.0.1:${at.gatewayPort} tcp_nodelay=1`,
    "rgw thread pool size": 8,
    // The line of each request, and no more.
    "debug rgw": "1/1",
    "rgw num rados handles": 1,
    "rgw override bucket index max shards": 1,
    "rgw dns name": "localhost",
    // What is there for other sites, old data and accounting.
    "rgw run sync thread": false,
    "rgw enable gc threads": false,
    "rgw enable lc threads": false,
    "rgw enable quota threads": false,
  };
  const section = (name: string, values: object): string =>
    [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${value}`), ""].join(
      "\n",
    );
  return section("global", global) + section(ADMIN, gateway);
}

async function run(name: string, ...args: readonly string[]): Promise<void> {
  const child = startChild([`/usr/bin/${name}`, ...args]);
  const timer = setTimeout(() => child.kill("SIGKILL"), STEP_MS);
  const code = await child.exited;
  clearTimeout(timer);
  if (code !== 0) throw new Error(`${name} ${args.join(" ")}: ${child.output()}`);
}
