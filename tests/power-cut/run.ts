import { parseArgs } from "node:util";
import { cutPower } from "./power-cut.ts";

/** `bun tests/power-cut/run.ts [--seed N] [--states M] [--breaks B] [--only NAME]`: the long form, with as many states as one likes. */
const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    states: { type: "string", default: "5000" },
    breaks: { type: "string", default: "2" },
    only: { type: "string", default: "" },
    findings: { type: "string", default: "5" },
  },
});

const { findings, ...counts } = await cutPower({
  seed: Number(values.seed),
  states: Number(values.states),
  breaks: Number(values.breaks),
  only: values.only,
  findingsMax: Number(values.findings),
  report: (line) => console.log(line),
});
for (const { text, problems } of findings) {
  console.log(`\n${text}\n  wrong:\n    ${problems.slice(0, 10).join("\n    ")}`);
}
console.log(JSON.stringify({ ...counts, wrong: findings.length }));
process.exit(findings.length === 0 ? 0 : 1);
