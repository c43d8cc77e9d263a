import { QueueError } from "../../../mail/queue-error.ts";
import { escapeXml, readXml, textOf } from "../aws/xml.ts";
import type { ObjectUpload } from "../object-store.ts";
import type { S3Requests } from "./requests.ts";

/** Octets of a part, kept in memory until it is stored. S3 wants 5 MiB at least and 10,000 parts at most. */
const PART_BYTES = 8 * 1024 * 1024;

/** Writes an object in parts; one that fits into a part is put at once. */
export function openUpload(requests: S3Requests, key: string): ObjectUpload {
  return new Upload(requests, key);
}

class Upload implements ObjectUpload {
  readonly #requests: S3Requests;
  readonly #key: string;
  readonly #etags: string[] = [];
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #id: string | undefined;
  #isOver = false;

  constructor(requests: S3Requests, key: string) {
    this.#requests = requests;
    this.#key = key;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      const taken = rest.subarray(0, PART_BYTES - this.#waitingBytes);
      // Whoever wrote may use its buffer again.
      this.#waiting.push(taken.slice());
      this.#waitingBytes += taken.length;
      rest = rest.subarray(taken.length);
      if (this.#waitingBytes === PART_BYTES) await this.#sendPart();
    }
  }

  async end(): Promise<void> {
    if (this.#id === undefined) {
      const body = this.#take();
      await this.#requests.send({ kind: "PUT", key: this.#key, body, isRepeatable: true });
    } else {
      if (this.#waitingBytes > 0) await this.#sendPart();
      await this.#complete(this.#id);
    }
    this.#isOver = true;
  }

  async abort(): Promise<void> {
    this.#take();
    if (this.#id === undefined || this.#isOver) return;
    this.#isOver = true;
    const query = { uploadId: this.#id };
    const asked = { kind: "DELETE", key: this.#key, query, isRepeatable: true } as const;
    // What stays behind is for the bucket's own rule about unfinished uploads.
    await this.#requests.send({ ...asked, expected: [404] }).catch(() => undefined);
  }

  async #sendPart(): Promise<void> {
    this.#id ??= await this.#create();
    const part = { partNumber: String(this.#etags.length + 1), uploadId: this.#id };
    const body = this.#take();
    const { headers } = await this.#requests.send({
      ...{ kind: "PUT", key: this.#key, query: part, body, isRepeatable: true },
    });
    this.#etags.push(headers.get("etag") ?? "");
  }

  async #create(): Promise<string> {
    const query = { uploads: "" };
    const asked = { kind: "POST", key: this.#key, query, isRepeatable: true } as const;
    const { bytes } = await this.#requests.send(asked);
    const id = textOf(readXml(new TextDecoder().decode(bytes)), "UploadId");
    if (id === undefined || id === "") throw new QueueError("the object store named no upload");
    return id;
  }

  async #complete(uploadId: string): Promise<void> {
    const parts = this.#etags.map(
      (etag, index) =>
        `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
    );
    const xml = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
    const { bytes } = await this.#requests.send({
      kind: "POST",
      key: this.#key,
      query: { uploadId },
      headers: { "content-type": "application/xml" },
      body: new TextEncoder().encode(xml),
      // The second time there is no such upload.
      isRepeatable: false,
    });
    // An error may come behind a 200.
    const result = readXml(new TextDecoder().decode(bytes));
    if (result?.name === "CompleteMultipartUploadResult") return;
    const said = textOf(result, "Code") ?? "something that cannot be read";
    throw new QueueError(`the object store answered ${said} to the end of an upload`);
  }

  #take(): Uint8Array {
    const body = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    return body;
  }
}
