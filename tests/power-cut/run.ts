/** The long form of the power cuts, with as many states as one likes: see HELP. */
import { scriptFlags } from "../support/flags.ts";
import { cutPower } from "./power-cut.ts";

const HELP = `bun tests/power-cut/run.ts [flags]: starts the engine over every state of the disk that a power cut could leave

  --seed N       which states are looked at, where not all of them are (1)
  --states M     how many of each recording (5000)
  --breaks B     so many more starts of each recording are broken off somewhere, and the next one recorded (2)
  --only TEXT    only recordings whose name has this text
  --findings F   stops after so many findings (5)
  --keep DIR     leaves the disk of each finding there: DIR/1, DIR/2 and so on hold a spool as the power cut left it

Needs strace. A finding names the step behind which the power went, what was lost, and the promises that were broken. A
recording is made anew each time, by threads that race: the same seed looks at much the same states, and --keep has the
very one. The recordings are in chapters.ts, what a disk may do in disk.ts. Exit code 1: a promise was broken.`;

const { values, number, refuse } = scriptFlags("power-cut", HELP, {
  seed: { type: "string", default: "1" },
  states: { type: "string", default: "5000" },
  breaks: { type: "string", default: "2" },
  only: { type: "string", default: "" },
  findings: { type: "string", default: "5" },
  keep: { type: "string" },
});

const { findings, ...counts } = await cutPower({
  seed: number("seed", { whole: true }),
  states: number("states", { least: 1, whole: true }),
  breaks: number("breaks", { whole: true }),
  only: values.only,
  findingsMax: number("findings", { least: 1, whole: true }),
  keep: values.keep,
  report: (line) => console.log(line),
});
if (counts.recordings === 0) refuse("no recording has such a name");
for (const { text, problems } of findings) {
  console.log(`\n${text}\n  wrong:\n    ${problems.slice(0, 10).join("\n    ")}`);
}
console.log(
  `${counts.recordings} recordings, ${counts.cuts} instants, ${counts.possible} states, ${counts.checked} checked, ${findings.length} wrong`,
);
process.exit(findings.length === 0 ? 0 : 1);
