import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { type AdminClient, adminClient } from "./admin-client.ts";
import { type Message, type Page, pageSchema } from "./api.ts";
import { wholeNumber } from "./arguments.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import { footer, heading, listed, listedJson } from "./mailq.ts";
import type { Writer } from "./parts.ts";
import { SELECTOR_OPTIONS, selectorOf, withQuery } from "./selector.ts";

/** Messages asked for at once: memory stays bounded however deep the queue is. */
const PAGE_LENGTH = 500;

export const queueList: Command = {
  name: "queue list",
  summary: "list messages as mailq does",
  usage: "[--json] [--limit N] [--state STATE] [--domain DOMAIN] [--sender ADDRESS]",
  details:
    'An id is followed by "*" while the message is delivered and by "!" while it is on hold.',
  options: [
    { name: "json", doc: "one JSON object a line, as postqueue -j prints" },
    { name: "limit", value: "N", doc: "at most so many" },
    ...SELECTOR_OPTIONS,
  ],
  configured: true,
  examples: [
    "slimta-queue queue list --limit 20",
    "slimta-queue queue list --state deferred --domain example.org --json",
  ],
  run: (args, parts) => {
    const limit = args.get("limit");
    const most =
      limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber("limit", limit, 1, 1e9);
    const selector = selectorOf(args);
    return withConfig(args, parts, async ({ config }) => {
      const pages = pagesOf(adminClient(config, parts), selector, most);
      const print = args.has("json") ? printJson : printText;
      await print(pages, parts.stdout);
      return exit.ok;
    });
  },
};

/** The messages that are selected, page by page, at most `most`. */
async function* pagesOf(
  client: AdminClient,
  selector: Readonly<Record<string, string>>,
  most: number,
): AsyncGenerator<readonly Message[]> {
  let left = most;
  let after: string | undefined;
  do {
    const limit = String(Math.min(left, PAGE_LENGTH));
    const from = after === undefined ? {} : { after };
    const parameters = { ...selector, recipients: "true", limit, ...from };
    const path = withQuery("/v1/messages", parameters);
    const page: Page = await client.call("GET", path, pageSchema);
    if (page.messages.length > 0) yield page.messages;
    left -= page.messages.length;
    after = page.next ?? undefined;
  } while (left > 0 && after !== undefined);
}

async function printText(pages: AsyncIterable<readonly Message[]>, out: Writer): Promise<void> {
  let count = 0;
  let bytes = 0;
  for await (const page of pages) {
    const top = count === 0 ? heading() : "\n";
    count += page.length;
    bytes += page.reduce((sum, { size }) => sum + size, 0);
    await out.write(top + page.map(listed).join("\n"));
  }
  await out.write(count === 0 ? "Mail queue is empty\n" : footer(count, bytes));
}

async function printJson(pages: AsyncIterable<readonly Message[]>, out: Writer): Promise<void> {
  for await (const page of pages) {
    await out.write(page.map((message) => `${terminalJson(listedJson(message))}\n`).join(""));
  }
}
