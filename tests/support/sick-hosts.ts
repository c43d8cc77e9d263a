import { type Manners, STEPS } from "./mail-host.ts";

/** Hosts of a mail world that are sick, each in its own way: what their names say. */
export const SICK_HOSTS: Readonly<Record<string, Manners>> = {
  ...Object.fromEntries(
    STEPS.map((step): [string, Manners] => [
      `hang-${step}`,
      { whim: (reached) => (reached === step ? "hang" : undefined) },
    ]),
  ),
  drip: { readsSlowly: true },
  mumble: { answersSlowly: true },
};

/** The name of which the name server never says anything. */
export const SILENT = "silent";

/** A message that does not fit into the buffers on the way to a host that reads an octet a second. */
export const DRIP_BYTES: number = 8 * 2 ** 20;
