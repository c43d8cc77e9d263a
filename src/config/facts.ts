import { isHostName } from "./network.ts";

/** What the configuration takes from the machine and the account that it runs on. */
export interface Facts {
  readonly uid: number;
  /** The home directory; empty when there is none. */
  readonly home: string;
  /** What the system calls this machine. */
  readonly hostname: string;
}

export type Env = Readonly<Record<string, string | undefined>>;

/** Where things are when nobody says so (FHS for root, systemd's directories, the XDG base directories). */
export interface Places {
  readonly hostname: string;
  readonly spool: string;
  readonly socket: string;
  /** The first of these that exists is the configuration file. */
  readonly configFiles: readonly string[];
}

export const CONFIG_FILE = "/etc/slimta-queue/config.toml";

/** Works out the defaults that depend on the machine. */
export function placesOf(facts: Facts, env: Env): Places {
  const root = facts.uid === 0;
  const hostname = hostNameFrom(facts.hostname);
  const state = systemdDirectory(env.STATE_DIRECTORY);
  const runtime = systemdDirectory(env.RUNTIME_DIRECTORY);
  const home = facts.home === "" ? `/tmp/slimta-queue-${facts.uid}` : facts.home;
  const stateHome = absolute(env.XDG_STATE_HOME) ?? `${home}/.local/state`;
  const runtimeHome = absolute(env.XDG_RUNTIME_DIR) ?? `/run/user/${facts.uid}`;
  const configHome = absolute(env.XDG_CONFIG_HOME) ?? `${home}/.config`;
  const mine = root ? [] : [`${configHome}/slimta-queue/config.toml`];
  return {
    hostname,
    spool: state ?? (root ? "/var/spool/slimta-queue" : `${stateHome}/slimta-queue`),
    socket: `${runtime ?? (root ? "/run/slimta-queue" : `${runtimeHome}/slimta-queue`)}/admin.sock`,
    configFiles: [...mine, CONFIG_FILE],
  };
}

/** The nearest valid host name: what a system calls itself may have underscores, or be empty. */
export function hostNameFrom(text: string): string {
  const labels = text
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/gu, "-")
    .split(".")
    .map((label) => label.slice(0, 63).replace(/^-+|-+$/gu, ""))
    .filter((label) => label !== "");
  const name = labels.join(".");
  return isHostName(name) ? name : "localhost";
}

/** systemd gives a colon-separated list; the first is ours. */
function systemdDirectory(value: string | undefined): string | undefined {
  return absolute(value?.split(":")[0]);
}

function absolute(value: string | undefined): string | undefined {
  return value?.startsWith("/") === true ? value.replace(/(?<=.)\/+$/u, "") : undefined;
}
