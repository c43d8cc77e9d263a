import type { AdminAddress } from "../admin/server.ts";
import type { Config } from "../config/config.ts";
import { fateText, storeName } from "./open-storage.ts";

/** Where a daemon that has started is to be found. */
export interface Whereabouts {
  readonly smtp: readonly { readonly host: string; readonly port: number }[];
  readonly admin: readonly AdminAddress[];
}

/** The whereabouts in one line for the log. */
export function readyLine(config: Config, { smtp, admin }: Whereabouts): string {
  const places = [
    `smtp ${smtp.map(hostPort).join(" ") || "none"}`,
    `admin ${admin.map(addressText).join(" ")}`,
    `spool ${storeName(config)}`,
  ];
  return `${places.join(", ")}; ${destinationText(config)}`;
}

/** The same for somebody who has just started it in a terminal, with what to try next. */
export function introduction(config: Config, where: Whereabouts, version: string): string {
  const { smtp, admin } = where;
  const http = admin.flatMap((at) => ("unix" in at ? [] : [`curl http://${hostPort(at)}`]));
  const sockets = admin.flatMap((at) => ("unix" in at ? [at.unix] : []));
  const rows: readonly (readonly [string, string])[] = [
    ...intakeRows(config, smtp),
    ["mail out", destinationText(config).replace(/^mail /u, "")],
    ...hintsOf(config).map((hint) => ["", hint] as const),
    ["spool", storeName(config)],
    ...[...http, ...sockets].map((at, index) => [index === 0 ? "operators" : "", at] as const),
    ["stop", `Ctrl-C; ${fateText(config)}`],
  ];
  const lines = rows.map(([name, text]) => `  ${name.padEnd(11)}${text}\n`);
  return `\nslimta-queue ${version} is ready\n\n${lines.join("")}\n`;
}

function intakeRows(
  { smtp }: Config,
  listening: Whereabouts["smtp"],
): readonly (readonly [string, string])[] {
  if (listening.length === 0)
    return [["mail in", "none: this node only relays what others accept"]];
  return [
    ["mail in", listening.map(hostPort).join("  ")],
    ["", `from ${smtp.trust.join(" ")}; nobody else may relay`],
  ];
}

/** Where mail goes, without any password. */
function destinationText({ relay }: Config): string {
  switch (relay.to.kind) {
    case "none":
      return "mail is kept and never sent (relay none)";
    case "blackhole":
      return "mail is dropped as if it were delivered (relay blackhole)";
    case "mx":
      return `mail goes to the MX hosts of its domains, port ${relay.mxPort}`;
    case "smarthost":
      return `mail goes to ${relay.to.hosts.map(hostPort).join(", then ")}`;
  }
}

function hintsOf({ relay }: Config): readonly string[] {
  if (relay.to.kind !== "mx" || relay.mxPort !== 25) return [];
  return ["many networks block port 25: --relay smtp://HOST:PORT hands it to a mail server"];
}

function addressText(address: AdminAddress): string {
  return "unix" in address ? address.unix : hostPort(address);
}

/** `host:port`, with brackets around what has colons of its own. */
export function hostPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
