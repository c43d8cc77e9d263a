import { describe, expect, test } from "bun:test";
import { readS3Url, type S3Address, shownS3Url } from "../../src/storage/cloud/s3-url.ts";

function address(text: string): S3Address {
  const reading = readS3Url(text);
  if (reading === undefined || !("address" in reading)) throw new Error(JSON.stringify(reading));
  return reading.address;
}

function expected(text: string): string {
  const reading = readS3Url(text);
  if (reading === undefined || !("expected" in reading)) throw new Error(JSON.stringify(reading));
  return reading.expected;
}

describe("URLs of S3", () => {
  test("need a bucket and nothing more", () => {
    expect(address("s3://mail")).toEqual({
      bucket: "mail",
      prefix: "",
      endpoint: null,
      region: null,
      isPathStyle: false,
      accessKeyId: null,
      secretAccessKey: null,
      caFile: null,
      sqs: null,
      sqsEndpoint: null,
      pollMs: null,
      isOnlyNode: false,
    });
  });

  test("say all that can be said", () => {
    const asked = [
      "endpoint=http://127.0.0.1:9000",
      "region=eu-central-1",
      "path_style=yes",
      "ca_file=/etc/ca.pem",
      "sqs=http://127.0.0.1:9324/000000000000/mail",
      "sqs_endpoint=http://127.0.0.1:9324",
      "poll=250ms",
      "nodes=1",
    ];
    expect(address(`s3://mail/a/b/?${asked.join("&")}`)).toMatchObject({
      prefix: "a/b/",
      endpoint: "http://127.0.0.1:9000",
      region: "eu-central-1",
      isPathStyle: true,
      caFile: "/etc/ca.pem",
      sqs: "http://127.0.0.1:9324/000000000000/mail",
      sqsEndpoint: "http://127.0.0.1:9324",
      pollMs: 250,
      isOnlyNode: true,
    });
  });

  test("carry a login as it is pasted, with the signs that secrets have", () => {
    const login = { accessKeyId: "AKIA", secretAccessKey: "a/b+c=d@e:f" };
    expect(address("s3://AKIA:a/b+c=d@e:f@mail/x")).toMatchObject({ ...login, bucket: "mail" });
    expect(address("s3://AKIA:a%2Fb%2Bc%3Dd%40e%3Af@mail")).toMatchObject(login);
    expect(address("s3://k:100%@mail")).toMatchObject({ secretAccessKey: "100%" });
  });

  test("name the bucket in the host where it can stand there", () => {
    expect(address("s3://mail").isPathStyle).toBe(false);
    // No certificate is for a name with more dots.
    expect(address("s3://my.mail").isPathStyle).toBe(true);
    expect(address("s3://mail?endpoint=https://s3.example.net").isPathStyle).toBe(true);
    expect(address("s3://mail?endpoint=https://s3.example.net&path_style=no").isPathStyle).toBe(
      false,
    );
  });

  test("say what was expected where they are wrong", () => {
    for (const [wrong, sentence] of [
      ["s3:mail", /^s3:\/\/\[key:secret@\]bucket/u],
      ["s3://", /bucket/u],
      ["s3://b", /name of a bucket/u],
      ["s3://-mail", /name of a bucket/u],
      ["s3://key@mail", /key:secret/u],
      ["s3://:secret@mail", /key:secret/u],
      ["s3://mail/a//b", /between the slashes/u],
      ["s3://mail/../b", /between the slashes/u],
      ["s3://mail/a+b", /between the slashes/u],
      [`s3://mail/${"x".repeat(201)}`, /between the slashes/u],
      ["s3://mail?endpoint=127.0.0.1:9000", /^endpoint=http/u],
      ["s3://mail?endpoint=http://h/path", /^endpoint=http/u],
      ["s3://mail?endpoint=http://u:p@h", /^endpoint=http/u],
      ["s3://mail?region=EU West", /bucket/u],
      ["s3://mail?region=EU", /^region=/u],
      ["s3://mail?region=a&region=b", /^region=.*once$/u],
      ["s3://mail?path_style=true", /^path_style=yes/u],
      ["s3://mail?ca_file=ca.pem", /^ca_file=/u],
      ["s3://mail?sqs=mail.fifo", /standard queue/u],
      ["s3://mail?sqs=https://u:p@h/1/q", /standard queue/u],
      ["s3://mail?poll=1", /^poll=1s/u],
      ["s3://mail?poll=50ms", /^poll=1s/u],
      ["s3://mail?poll=61m", /^poll=1s/u],
      ["s3://mail?nodes=2", /^nodes=1/u],
      ["s3://mail?durability=warn", /^no parameters of s3: but endpoint, region,/u],
      ["s3://mail?secret=hush", /^no parameters of s3: but/u],
      ["s3://mail?endpoint=http://192.0.2.1&path_style=no", /^path_style=yes/u],
      ["s3://mail?endpoint=http://[::1]:9000&path_style=no", /^path_style=yes/u],
      ["s3://mail?endpoint=http://ceph&sqs=wake", /^sqs_endpoint=/u],
    ] as const) {
      expect(expected(wrong), wrong).toMatch(sentence);
      expect(expected(wrong)).not.toContain("hush");
    }
    expect(readS3Url("redis://mail")).toBeUndefined();
  });

  test("are shown without a login", () => {
    const shown = (text: string) => shownS3Url(address(text));
    expect(shown("s3://k:hush@mail/a?region=eu&sqs=q")).toBe("s3://mail/a");
    expect(shown("s3://k:hush@mail?endpoint=http://ceph:8000&nodes=1")).toBe(
      "s3://mail?endpoint=http://ceph:8000",
    );
  });
});
