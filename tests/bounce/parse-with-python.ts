/** What Python's email package makes of a report. */
export interface ParsedReport {
  readonly defects: readonly string[];
  readonly type: string;
  readonly reportType: string;
  readonly from: string;
  readonly to: string;
  readonly autoSubmitted: string;
  readonly inReplyTo: string;
  readonly headerNames: readonly string[];
  /** Content types of the parts. */
  readonly types: readonly string[];
  /** The first part, and the last as it stands. */
  readonly text: string;
  readonly returned: string;
  /** The fields of the delivery status, those of the message first. */
  readonly groups: readonly Readonly<Record<string, string>>[];
}

const PROGRAM = `
import base64, email, email.errors, email.parser, email.policy, json, sys

def fields(block):
    parsed = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(block)
    assert not parsed.get_payload(), ("not fields", parsed.get_payload())
    # Some versions miss the body of a multipart header that they were told has none.
    defects = [each for each in parsed.defects if not isinstance(each, email.errors.MultipartInvariantViolationDefect)]
    assert not defects, defects
    items = list(parsed.raw_items())
    assert len(items) == len(dict(items)), items
    return {name: value.encode("utf-8", "surrogateescape").decode().replace("\\r\\n", "") for name, value in items}

reports = []
for encoded in json.load(sys.stdin):
    raw = base64.b64decode(encoded)
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    boundary = message.get_param("boundary").encode()
    pieces = raw.split(b"\\r\\n--" + boundary)
    assert len(pieces) == 5 and pieces[4] == b"--\\r\\n", len(pieces)
    bodies = [piece.split(b"\\r\\n\\r\\n", 1)[1] for piece in pieces[1:4]]
    parts = message.get_payload()
    blocks = [block for block in bodies[1].split(b"\\r\\n\\r\\n") if block.strip()]
    top = fields(raw.split(b"\\r\\n\\r\\n", 1)[0] + b"\\r\\n\\r\\n")
    reports.append({
        "defects": [repr(defect) for part in [message, *parts] for defect in part.defects],
        "type": message.get_content_type(),
        "reportType": message.get_param("report-type"),
        "from": top["From"], "to": top["To"],
        "autoSubmitted": top["Auto-Submitted"], "inReplyTo": top.get("In-Reply-To", ""),
        "headerNames": message.keys(),
        "types": [part.get_content_type() for part in parts],
        "text": bodies[0].decode("utf-8", "replace"),
        "returned": bodies[2].decode("utf-8", "replace"),
        "groups": [fields(block + b"\\r\\n") for block in blocks],
    })
json.dump(reports, sys.stdout)
`;

/** Parses reports with Python 3, all in one process. */
export async function parseWithPython(messages: readonly Uint8Array[]): Promise<ParsedReport[]> {
  const encoded = messages.map((message) => Buffer.from(message).toString("base64"));
  await using python = Bun.spawn(["python3", "-c", PROGRAM], {
    stdin: new Blob([JSON.stringify(encoded)]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([
    new Response(python.stdout).text(),
    new Response(python.stderr).text(),
  ]);
  if ((await python.exited) !== 0) throw new Error(errors);
  return JSON.parse(output) as ParsedReport[];
}
