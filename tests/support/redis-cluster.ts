import { freePort } from "./free-port.ts";
import { type RedisServer, startRedis } from "./redis.ts";
import { until } from "./until.ts";

/** Three primaries that share the slots of a Redis Cluster, and nodes without any behind them. */
export interface RedisCluster extends AsyncDisposable {
  readonly primaries: readonly RedisServer[];
  /** In the cluster, without slots. */
  readonly spares: readonly RedisServer[];
  /** `redis+cluster://` with all primaries, and this behind it. */
  url(rest?: string): string;
  /** Who has the keys of this hash tag, as the first primary was set up. */
  ownerOf(key: string): Promise<RedisServer>;
  /** Moves one slot from one primary to another, in as many steps as the caller likes. */
  move(key: string, from: RedisServer, to: RedisServer): Promise<SlotMove>;
}

/** A slot that is on its way: some keys are here, some there. */
export interface SlotMove {
  /** Moves at most so many more keys; how many that were. */
  carry(count: number): Promise<number>;
  /** Tells all nodes who has the slot from now on. */
  finish(): Promise<void>;
}

const SLOTS = ["0-5460", "5461-10922", "10923-16383"];
const MIGRATE_MS = "5000";

/** Starts three primaries and so many spare nodes, and waits until all of them know each other. */
export async function startRedisCluster(spareCount = 0): Promise<RedisCluster> {
  await using starting = new AsyncDisposableStack();
  const nodes: RedisServer[] = [];
  const buses: string[] = [];
  for (let count = 0; count < SLOTS.length + spareCount; count += 1) {
    // By default it is the port and 10,000 more, which may be too many.
    const bus = String(await freePort());
    buses.push(bus);
    nodes.push(starting.use(await startRedis({ args: clusterArguments(bus) })));
  }
  const [first] = nodes;
  if (first === undefined) throw new Error("three are started");
  for (const [index, { port }] of nodes.entries()) {
    await first.cli("cluster", "meet", "127.0.0.1", String(port), buses[index] ?? "");
  }
  const primaries = nodes.slice(0, SLOTS.length);
  for (const [index, slots] of SLOTS.entries()) {
    await primaries[index]?.cli("cluster", "addslotsrange", ...slots.split("-"));
  }
  await Promise.all(nodes.map((node) => knowsAll(node, nodes.length)));
  const stack = starting.move();
  return {
    primaries,
    spares: nodes.slice(SLOTS.length),
    url: (rest = "") =>
      `redis+cluster://${primaries.map(({ port }) => `127.0.0.1:${port}`).join()}${rest}`,
    async ownerOf(key) {
      const slot = Number(await first.cli("cluster", "keyslot", key));
      const owner = primaries[SLOTS.findIndex((range) => slot <= Number(range.split("-")[1]))];
      if (owner === undefined) throw new Error(`no owner of ${slot}`);
      return owner;
    },
    move: async (key, from, to) => await startMove(await slotOf(first, key), { from, to, nodes }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function clusterArguments(bus: string): readonly string[] {
  const known = ["--cluster-announce-ip", "127.0.0.1", "--cluster-port", bus];
  return ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", ...known];
}

async function knowsAll(node: RedisServer, count: number): Promise<void> {
  await until("the cluster", async () => {
    const info = await node.cli("cluster", "info");
    return info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${count}`);
  });
}

function slotOf(node: RedisServer, key: string): Promise<string> {
  return node.cli("cluster", "keyslot", key);
}

interface Movers {
  readonly from: RedisServer;
  readonly to: RedisServer;
  readonly nodes: readonly RedisServer[];
}

/** As the manual of `CLUSTER SETSLOT` has it. */
async function startMove(slot: string, { from, to, nodes }: Movers): Promise<SlotMove> {
  const [source, target] = await Promise.all([from, to].map((node) => node.cli("cluster", "myid")));
  if (source === undefined || target === undefined) throw new Error("both have names");
  await to.cli("cluster", "setslot", slot, "importing", source);
  await from.cli("cluster", "setslot", slot, "migrating", target);
  return {
    async carry(count) {
      const answer = await from.cli("cluster", "getkeysinslot", slot, String(count));
      const keys = answer.split("\n").filter((key) => key !== "");
      if (keys.length === 0) return 0;
      await from.cli(
        ...["migrate", "127.0.0.1", String(to.port), "", "0", MIGRATE_MS, "keys"],
        ...keys,
      );
      return keys.length;
    },
    async finish() {
      // The new owner first: nobody may be sent to one who does not know of it.
      const others = nodes.filter((node) => node !== to);
      for (const node of [to, ...others]) {
        await node.cli("cluster", "setslot", slot, "node", target).catch((error: Error) => {
          // A replica, or who has no slots, learns it from the others.
          if (!error.message.includes("replica")) throw error;
        });
      }
    },
  };
}
