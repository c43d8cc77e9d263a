import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { codeOf } from "../../../lib/error-code.ts";
import { StoreConfigError } from "../../store-config-error.ts";
import type { Environment, Provider } from "./provider.ts";

/** Values by name; sections by their title. */
export type Sections = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** Reads a file of sections as Amazon's programs write it: `[title]`, `name = value`, `#` or `;` before a comment. */
export function readSections(text: string): Sections {
  const sections = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of text.split(/\r?\n/u)) {
    const title = /^\[\s*(.*?)\s*\]/u.exec(line)?.[1];
    if (title !== undefined) {
      current = sections.get(title) ?? new Map();
      sections.set(title, current);
      continue;
    }
    // What is indented belongs to the line before it, which nothing here needs.
    const [, name = "", value = ""] = /^([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/u.exec(line) ?? [];
    if (name !== "") current.set(name.toLowerCase(), value);
  }
  return sections;
}

/** The files that Amazon's programs share, in the home directory or where the environment says. */
export function sharedFiles(env: Environment) {
  const profile = env.AWS_PROFILE || "default";
  const home = env.HOME || homedir();
  const credentials = env.AWS_SHARED_CREDENTIALS_FILE || join(home, ".aws", "credentials");
  const config = env.AWS_CONFIG_FILE || join(home, ".aws", "config");
  /** What both say of the profile; the credentials file goes first. */
  const valuesOf = (): ReadonlyMap<string, string> => {
    const configured = readSections(textOf(config));
    const titles = profile === "default" ? ["profile default", "default"] : [`profile ${profile}`];
    const inConfig = titles.map((title) => configured.get(title)).find((each) => each);
    const inCredentials = readSections(textOf(credentials)).get(profile);
    return new Map([...(inConfig ?? []), ...(inCredentials ?? [])]);
  };
  return { profile, credentials, valuesOf };
}

/** Keys that somebody wrote into such a file; it is read again each time. */
export function fileProvider(env: Environment): Provider {
  const { profile, credentials, valuesOf } = sharedFiles(env);
  return {
    name: `the file ${credentials} (profile ${profile})`,
    async load() {
      const values = valuesOf();
      const accessKeyId = values.get("aws_access_key_id");
      const secretAccessKey = values.get("aws_secret_access_key");
      const sessionToken = values.get("aws_session_token");
      if (accessKeyId && secretAccessKey) {
        return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
      }
      const other = OTHER_WAYS.find((name) => values.has(name));
      if (other === undefined && !env.AWS_PROFILE) return undefined;
      throw new StoreConfigError(
        `the profile ${profile} in ${credentials} has no aws_access_key_id and aws_secret_access_key${
          other === undefined ? "" : `; ${other} is nothing that is followed here`
        }`,
      );
    },
  };
}

/** The region of the profile. */
export function regionOf(env: Environment): string | undefined {
  const known = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  return known || sharedFiles(env).valuesOf().get("region") || undefined;
}

const OTHER_WAYS = [
  "role_arn",
  "sso_session",
  "sso_start_url",
  "credential_process",
  "web_identity_token_file",
];

/** Empty when there is none. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "";
    throw new StoreConfigError(`cannot read ${path}`, { cause: error });
  }
}
