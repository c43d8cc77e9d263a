/** Postfix's own programs, which know what its files mean. */
export interface Programs {
  /** Runs one to its end; resolves with all that it wrote. Rejects with what it complained of. */
  output(name: ProgramName, ...args: readonly string[]): Promise<Uint8Array>;
  /** Runs one and gives what it writes as it comes. The stream fails when the program does. */
  stream(name: ProgramName, ...args: readonly string[]): AsyncGenerator<Uint8Array>;
}

export type ProgramName = "postcat" | "postconf" | "postfix";

/** One of them failed. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
}

/** Times are printed in the zone of whoever runs it; where the programs are is not for others to say. */
const ENVIRONMENT = {
  TZ: "UTC",
  LC_ALL: "C",
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin",
};
const COMPLAINT_MAX = 500;

/** The programs, over the configuration in `configDir` or the usual one. */
export function postfixPrograms(configDir: string | undefined): Programs {
  const config = configDir === undefined ? [] : ["-c", configDir];
  const stream = (name: ProgramName, ...args: readonly string[]) => run([name, ...config, ...args]);
  return {
    stream,
    async output(name, ...args) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of stream(name, ...args)) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
  };
}

async function* run(command: readonly string[]): AsyncGenerator<Uint8Array> {
  const child = start(command);
  try {
    const complaint = new Response(child.stderr).text();
    yield* child.stdout;
    if ((await child.exited) !== 0) {
      const text = (await complaint).trim().slice(0, COMPLAINT_MAX);
      throw new ProgramError(text === "" ? `${command[0]} failed` : text);
    }
  } finally {
    child.kill();
  }
}

function start(command: readonly string[]) {
  try {
    const options = { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: ENVIRONMENT } as const;
    return Bun.spawn([...command], options);
  } catch (cause) {
    throw new Error(`${command[0]} cannot be run; is Postfix installed?`, { cause });
  }
}
