/**
 * Builds the executable: `bun build.ts [--outfile PATH] [--target bun-linux-arm64]`. The same sources at the same commit
 * give the same bytes.
 */
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import manifest from "./package.json" with { type: "json" };

const ROOT = import.meta.dir;

/**
 * The program, and each file that it starts as a Worker by `new Worker(new URL("./name.ts", import.meta.url))`. Their base
 * names must differ: in the executable they all lie in one folder.
 */
const ENTRY_POINTS = ["src/main.ts", "src/storage/disk/checkpoint-worker.ts"];

const { values } = parseArgs({
  options: {
    outfile: { type: "string", default: join(ROOT, "slimta-queue") },
    target: { type: "string" },
  },
});

const outfile = resolve(values.outfile);
const commit = commitOf(ROOT);
await build(outfile, values.target as Bun.Build.CompileTarget | undefined);
console.log(`built ${outfile} ${manifest.version} (${commit})`);

/** Builds beside the target and renames, so that a running executable is replaced and never overwritten. */
async function build(path: string, target: Bun.Build.CompileTarget | undefined): Promise<void> {
  const scratch = mkdtempSync(join(dirname(path), ".build-"));
  try {
    await Bun.build({
      root: ROOT,
      entrypoints: ENTRY_POINTS.map((entry) => join(ROOT, entry)),
      // What lets a Worker's URL, relative to the module that starts it, be found in the executable.
      naming: { entry: "[name].[ext]" },
      target: "bun",
      format: "esm",
      bytecode: true,
      minify: true,
      sourcemap: "linked",
      define: {
        BUILD_VERSION: JSON.stringify(manifest.version),
        BUILD_COMMIT: JSON.stringify(commit),
      },
      compile: {
        outfile: join(scratch, basename(path)),
        ...(target === undefined ? {} : { target }),
        // A stray file in the working directory must not change what an appliance does.
        autoloadDotenv: false,
        autoloadBunfig: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
      },
    });
    renameSync(join(scratch, basename(path)), path);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The short hash of this tree's commit, `-dirty` when tracked files differ from it; `unknown` outside a clone. */
function commitOf(root: string): string {
  // The sources may lie unpacked inside somebody else's repository: its commit is not ours.
  if (git(root, "rev-parse", "--show-prefix") !== "") return "unknown";
  const hash = git(root, "rev-parse", "HEAD");
  if (hash === undefined) return "unknown";
  const changed = git(root, "status", "--porcelain", "--untracked-files=no");
  return hash.slice(0, 12) + (changed === "" ? "" : "-dirty");
}

function git(root: string, ...args: readonly string[]): string | undefined {
  if (Bun.which("git") === null) return undefined;
  const { exitCode, stdout } = Bun.spawnSync(["git", "-C", root, ...args], { stderr: "ignore" });
  return exitCode === 0 ? stdout.toString().trim() : undefined;
}
