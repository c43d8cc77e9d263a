import { expect, test } from "bun:test";
import { AwsV4Signer } from "aws4fetch";
import { signedHeaders } from "../../src/storage/cloud/aws/signing.ts";
import { octets } from "./s3-fixture.ts";

const DAY = 86_400_000;
const START = Date.UTC(2030, 0, 1, 23, 59, 59);

test("signatures are those of the library, also on the next day and with other keys", async () => {
  for (const [credentials, service, at] of [
    [{ accessKeyId: "A", secretAccessKey: "a/+=" }, "s3", START],
    [{ accessKeyId: "A", secretAccessKey: "a/+=" }, "sqs", START],
    [{ accessKeyId: "A", secretAccessKey: "a/+=" }, "s3", START + 1000],
    [{ accessKeyId: "B", secretAccessKey: "b", sessionToken: "t/+" }, "s3", START],
    ...Array.from(
      { length: 40 },
      (_, day) => [{ accessKeyId: "C", secretAccessKey: "c" }, "s3", START + day * DAY] as const,
    ),
  ] as const) {
    const asked = {
      method: "PUT",
      url: "https://bucket.example.net/a%2Bb/c?list-type=2&prefix=%2F",
      headers: { "if-none-match": "*" },
      body: octets("content"),
    };
    const scope = { service, region: "eu-central-1", credentials, at };
    const ours = await signedHeaders(asked, scope);
    const signer = new AwsV4Signer({
      ...{ ...asked, ...credentials, service, region: "eu-central-1" },
      headers: {
        ...asked.headers,
        "x-amz-content-sha256": new Bun.CryptoHasher("sha256").update("content").digest("hex"),
      },
      datetime: new Date(at).toISOString().replace(/[:-]|\.\d{3}/gu, ""),
    });
    const theirs = (await signer.sign()).headers;
    expect([...ours]).toEqual([...theirs]);
  }
});
