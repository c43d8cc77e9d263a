import type { TlsMaterial } from "../../src/edge/smtp.ts";
import { run } from "./run.ts";
import { tempDir } from "./temp-dir.ts";

/** A fresh self-signed certificate, made by openssl. */
export async function makeCertificate(name: string): Promise<TlsMaterial> {
  await using dir = tempDir("certificate");
  const [key, cert] = [dir.join("key.pem"), dir.join("cert.pem")];
  await run([
    ..."openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
    ...["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`],
    ...["-keyout", key, "-out", cert],
  ]);
  return { key: await Bun.file(key).text(), cert: await Bun.file(cert).text() };
}
