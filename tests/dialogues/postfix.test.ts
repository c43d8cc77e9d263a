/** Postfix as the second opinion: the same dialogues, the first digit of each reply, its known differences marked `P:`. */
import { afterAll, beforeAll, setDefaultTimeout, test } from "bun:test";
import { makeCertificate } from "../support/certificate.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postfix, postfixInstance } from "../support/postfix.ts";
import { tempDir } from "../support/temp-dir.ts";
import { allScripts, type NamedScript } from "./support/library.ts";
import { socketLine } from "./support/line.ts";
import { AS_WRITTEN, play } from "./support/play.ts";

// Programs are started, on machines that may have much else to do.
setDefaultTimeout(60_000);

/** What brings it as near to our defaults as it gets. */
const MAIN = {
  message_size_limit: "1048576",
  smtpd_helo_required: "yes",
  smtpd_error_sleep_time: "0",
  smtpd_hard_error_limit: "100",
  smtpd_forbid_bare_newline: "normalize",
  smtpd_forbid_bare_newline_exclusions: "",
  smtpd_tls_security_level: "may",
  smtputf8_enable: "yes",
  smtpd_reject_unlisted_recipient: "yes",
  // Whatever it takes stays where it is.
  defer_transports: "smtp local",
};

/** With settings of our own, or a queue that fails, there is nothing to compare with. */
const isPlain = ({ script: { settings, door, notPostfix } }: NamedScript) =>
  settings.length === 0 && Object.keys(door).length === 0 && notPostfix === undefined;

describeWithPeers(["postfix"], "Postfix answers alike", () => {
  let postfix: Postfix;
  const directory = tempDir("dialogues");

  beforeAll(async () => {
    const { cert, key } = await makeCertificate("mx.example.org");
    const file = directory.join("tls.pem");
    await Bun.write(file, `${key}\n${cert}`);
    postfix = await postfixInstance({ main: { ...MAIN, smtpd_tls_chain_files: file } });
  });
  afterAll(async () => {
    await postfix[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  for (const { name, script } of allScripts().filter(isPlain)) {
    test(name, async () => {
      await play(script, socketLine(postfix.port), { ...AS_WRITTEN, asPostfix: true });
    });
  }
});
