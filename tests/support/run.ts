/** Runs a program to its end; gives its output, and throws when it fails unless told not to. */
export async function run(command: string[], input = "", mayFail = false): Promise<string> {
  const child = Bun.spawn(command, { stdin: Buffer.from(input), stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0 && !mayFail) throw new Error(`${command[0]} ended with ${code}: ${out}${err}`);
  return out + err;
}
