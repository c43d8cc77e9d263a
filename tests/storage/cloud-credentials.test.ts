/** Where credentials are looked for: against small servers as containers and instances have them. */
import { afterEach, describe, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { findCredentials } from "../../src/storage/cloud/aws/find-credentials.ts";
import { renewing } from "../../src/storage/cloud/aws/renewing.ts";
import { readSections, regionOf } from "../../src/storage/cloud/aws/shared-files.ts";
import { StoreConfigError } from "../../src/storage/store-config-error.ts";
import { freePort } from "../support/free-port.ts";
import { simWorld } from "../support/sim-world.ts";
import { type TempDir, tempDir } from "../support/temp-dir.ts";

type Env = Readonly<Record<string, string>>;
const opened: { stop(force: boolean): unknown }[] = [];
const dirs: TempDir[] = [];

afterEach(async () => {
  for (const server of opened.splice(0)) await server.stop(true);
  for (const dir of dirs.splice(0)) await dir[Symbol.asyncDispose]();
});

/** A server that answers by what it is asked, as `GET /path`; everything else is not found. */
function serve(
  answers: Readonly<Record<string, (request: Request) => Response | Promise<Response>>>,
): string {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const answer = answers[`${request.method} ${new URL(request.url).pathname}`];
      return answer?.(request) ?? new Response("no", { status: 404 });
    },
  });
  opened.push(server);
  return `http://127.0.0.1:${server.port}`;
}

async function home(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const dir = tempDir("home");
  dirs.push(dir);
  for (const [name, text] of Object.entries(files)) await Bun.write(dir.join(".aws", name), text);
  return dir.path;
}

/** Looks in this environment, in which nobody else is asked. */
async function found(env: Env, login?: { accessKeyId: string; secretAccessKey: string }) {
  const quiet = { AWS_EC2_METADATA_DISABLED: "true", HOME: await home(), ...env };
  const asked = { login, env: quiet, region: "eu-central-1", clock: realWorld.clock };
  return await (await findCredentials(asked)).get();
}

const json = (more: object = {}) =>
  Response.json({ AccessKeyId: "A", SecretAccessKey: "S", Token: "T", ...more });

const FILE = `# of everybody
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key=with/slash+plus=
[ other ]
AWS_ACCESS_KEY_ID = OTHER ; no comment
aws_secret_access_key = other
aws_session_token = token
`;

describe("credentials", () => {
  test("are those of the URL, then of the environment, then of the file", async () => {
    const login = { accessKeyId: "URL", secretAccessKey: "url" };
    const keys = { AWS_ACCESS_KEY_ID: "ENV", AWS_SECRET_ACCESS_KEY: "env" };
    const HOME = await home({ credentials: FILE });
    expect(await found({ ...keys, HOME }, login)).toEqual(login);
    expect(await found({ ...keys, HOME, AWS_SESSION_TOKEN: "t" })).toEqual({
      accessKeyId: "ENV",
      secretAccessKey: "env",
      sessionToken: "t",
    });
    expect(await found({ HOME })).toEqual({
      accessKeyId: "DEFAULT",
      secretAccessKey: "with/slash+plus=",
    });
    expect(await found({ HOME, AWS_PROFILE: "other" })).toMatchObject({ sessionToken: "token" });
  });

  test("may be in files elsewhere, and in the other file", async () => {
    const HOME = await home({
      mine: FILE,
      config:
        "[profile dev]\nregion = eu-west-3\naws_access_key_id = C\naws_secret_access_key = c\n",
    });
    const elsewhere = { AWS_SHARED_CREDENTIALS_FILE: `${HOME}/.aws/mine` };
    expect(await found({ HOME, ...elsewhere })).toMatchObject({ accessKeyId: "DEFAULT" });
    expect(await found({ HOME, AWS_PROFILE: "dev" })).toMatchObject({ accessKeyId: "C" });
    expect(regionOf({ HOME, AWS_PROFILE: "dev" })).toBe("eu-west-3");
    expect(regionOf({ HOME, AWS_PROFILE: "dev", AWS_DEFAULT_REGION: "b" })).toBe("b");
    expect(regionOf({ HOME, AWS_REGION: "a", AWS_DEFAULT_REGION: "b" })).toBe("a");
    expect(regionOf({ HOME })).toBeUndefined();
  });

  test("of files are read as they are written", () => {
    const sections = readSections(
      "[a]\r\nX = 1\r\n  y = 2\n#z = 3\n;z = 4\nq=a=b\n[a]\nw=5\n[b]\n",
    );
    expect(Object.fromEntries(sections.get("a") ?? [])).toEqual({ x: "1", q: "a=b", w: "5" });
    expect(sections.get("b")?.size).toBe(0);
  });

  test("come from a container's endpoint, with its token", async () => {
    const HOME = await home({ token: "of the file\n" });
    const seen: (string | null)[] = [];
    const base = serve({
      "GET /role": (request) => {
        seen.push(request.headers.get("authorization"));
        return json({ Expiration: "2030-01-01T00:00:00Z" });
      },
    });
    const env = { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${base}/role` };
    expect(await found(env)).toEqual({
      accessKeyId: "A",
      secretAccessKey: "S",
      sessionToken: "T",
      expiresAt: Date.UTC(2030, 0, 1),
    });
    await found({ ...env, AWS_CONTAINER_AUTHORIZATION_TOKEN: "of the variable" });
    await found({ ...env, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: `${HOME}/.aws/token` });
    expect(seen).toEqual([null, "of the variable", "of the file"]);
  });

  test("of a container are asked of nobody far away", async () => {
    for (const url of [
      "http://192.0.2.1/x",
      "ftp://127.0.0.1/x",
      "nonsense",
      "http://127.example.org/",
    ]) {
      const asking = found({ AWS_CONTAINER_CREDENTIALS_FULL_URI: url });
      await expect(asking).rejects.toThrow(/neither an https: URL nor one of this machine/u);
    }
  });

  test("come from the machine's endpoint, by a token", async () => {
    const base = serve({
      "PUT /latest/api/token": (request) =>
        new Response(request.headers.get("x-aws-ec2-metadata-token-ttl-seconds") && "session"),
      "GET /latest/meta-data/iam/security-credentials/": (request) =>
        new Response(
          request.headers.get("x-aws-ec2-metadata-token") === "session" ? "mail role\n" : "?",
        ),
      "GET /latest/meta-data/iam/security-credentials/mail%20role": (request) =>
        request.headers.get("x-aws-ec2-metadata-token") === "session"
          ? json()
          : json({ AccessKeyId: "" }),
    });
    const env = { AWS_EC2_METADATA_DISABLED: "", AWS_EC2_METADATA_SERVICE_ENDPOINT: base };
    expect(await found(env)).toMatchObject({ accessKeyId: "A", sessionToken: "T" });
  });

  test("come in exchange for a web identity", async () => {
    const HOME = await home({ token: "identity\n" });
    let asked = new URLSearchParams();
    const xml = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>W</AccessKeyId>
      <SecretAccessKey>w/+=</SecretAccessKey><SessionToken>t&amp;</SessionToken>
      <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
      </AssumeRoleWithWebIdentityResponse>`;
    const base = serve({
      "POST /": async (request) => {
        asked = new URLSearchParams(await request.text());
        return new Response(xml);
      },
    });
    const env = {
      AWS_WEB_IDENTITY_TOKEN_FILE: `${HOME}/.aws/token`,
      AWS_ROLE_ARN: "arn:aws:iam::1:role/mail",
      AWS_ENDPOINT_URL_STS: base,
    };
    expect(await found(env)).toEqual({
      accessKeyId: "W",
      secretAccessKey: "w/+=",
      sessionToken: "t&",
      expiresAt: Date.UTC(2030, 0, 1),
    });
    expect(Object.fromEntries(asked)).toEqual({
      Action: "AssumeRoleWithWebIdentity",
      Version: "2011-06-15",
      RoleArn: "arn:aws:iam::1:role/mail",
      RoleSessionName: "slimta-queue",
      WebIdentityToken: "identity",
    });
  });

  test("that are nowhere are a matter of the configuration, with all places named", async () => {
    const base = serve({});
    const nobody = `http://127.0.0.1:${await freePort()}`;
    for (const endpoint of [base, nobody]) {
      const env = { AWS_EC2_METADATA_DISABLED: "", AWS_EC2_METADATA_SERVICE_ENDPOINT: endpoint };
      const error = await found(env).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(StoreConfigError);
      for (const place of [
        "URL",
        "AWS_ACCESS_KEY_ID",
        "WEB_IDENTITY",
        ".aws/credentials",
        "CONTAINER",
        base,
      ]) {
        if (place !== base || endpoint === base) expect(error.message).toContain(place);
      }
    }
  });

  test("that should be somewhere and are not are told of, without what is secret", async () => {
    const HOME = await home({
      credentials: "[half]\naws_access_key_id = A\n[role]\nrole_arn = arn\nsource_profile = half\n",
    });
    const broken = serve({ "GET /": () => new Response('{"SecretAccessKey":"hush"') });
    const refusing = serve({ "GET /": () => new Response("hush", { status: 403 }) });
    const container = (url: string) => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: url });
    for (const [env, words] of [
      [{ AWS_SECRET_ACCESS_KEY: "hush" }, /environment.*one of the two is missing/u],
      [{ HOME, AWS_PROFILE: "half" }, /profile half in .* has no/u],
      [{ HOME, AWS_PROFILE: "none" }, /profile none in .* has no/u],
      [{ HOME, AWS_PROFILE: "role" }, /role_arn is nothing that is followed here/u],
      [container(`${broken}/`), /container's endpoint gave no credentials/u],
      [container(`${refusing}/`), /answers 403/u],
      [{ AWS_WEB_IDENTITY_TOKEN_FILE: "/nowhere", AWS_ROLE_ARN: "x" }, /web identity.*ENOENT/u],
    ] as const) {
      const error = await found(env).catch((thrown) => thrown);
      expect(error, String(words)).toBeInstanceOf(StoreConfigError);
      expect(error.message).toMatch(words);
      expect(error.message).not.toContain("hush");
    }
    const later = container(`http://127.0.0.1:${await freePort()}/`);
    await expect(found(later)).rejects.toBeInstanceOf(QueueError);
  });
});

describe("temporary credentials", () => {
  const MINUTE = 60_000;
  const HOUR = 60 * MINUTE;

  /** Credentials that are good for a while from when they are fetched. */
  function opened(world = simWorld(), lifetime = HOUR) {
    const { clock } = world;
    const state = { fetched: 0, isWell: true, wait: Promise.resolve() };
    const load = async () => {
      state.fetched += 1;
      await state.wait;
      if (!state.isWell) throw new Error("nobody is there");
      const expiresAt = clock.now() + lifetime;
      return { accessKeyId: `A${state.fetched}`, secretAccessKey: "S", expiresAt };
    };
    const first = { accessKeyId: "A0", secretAccessKey: "S", expiresAt: clock.now() + lifetime };
    return { world, state, source: renewing(first, load, clock) };
  }

  test("serve until shortly before they end, then the next ones are fetched behind their back", async () => {
    const { world, state, source } = opened();
    await world.advance(54 * MINUTE);
    expect((await source.get()).accessKeyId).toBe("A0");
    expect(state.fetched).toBe(0);
    await world.advance(2 * MINUTE);
    const together = await Promise.all([source.get(), source.get(), source.get()]);
    expect(together.map(({ accessKeyId }) => accessKeyId)).toEqual(["A0", "A0", "A0"]);
    await world.settle();
    expect(state.fetched).toBe(1);
    expect((await source.get()).accessKeyId).toBe("A1");
  });

  test("that never last long are not fetched with every request", async () => {
    const { world, state, source } = opened(simWorld(), 4 * MINUTE);
    for (let second = 0; second < 10; second += 1) {
      for (let request = 0; request < 10; request += 1) {
        await source.get();
        await world.settle();
      }
      await world.advance(1000);
    }
    expect(state.fetched).toBeWithin(1, 11);
  });

  test("that are over or refused are waited for, and fetched once for all", async () => {
    const { world, state, source } = opened();
    await world.advance(HOUR);
    const over = await Promise.all(Array.from({ length: 20 }, () => source.get()));
    expect(new Set(over.map(({ accessKeyId }) => accessKeyId))).toEqual(new Set(["A1"]));
    const [refused] = over;
    if (refused === undefined) throw new Error("none");
    source.refuse(refused);
    source.refuse(refused);
    const others = await Promise.all([source.get(), source.get()]);
    expect(others.map(({ accessKeyId }) => accessKeyId)).toEqual(["A2", "A2"]);
    // Somebody else's request was under way meanwhile.
    source.refuse(refused);
    expect((await source.get()).accessKeyId).toBe("A2");
    expect(state.fetched).toBe(2);
  });

  test("that cannot be fetched leave the old ones while they last, and then it is temporary", async () => {
    const { world, state, source } = opened();
    state.isWell = false;
    await world.advance(58 * MINUTE);
    expect((await source.get()).accessKeyId).toBe("A0");
    await world.settle();
    expect((await source.get()).accessKeyId).toBe("A0");
    await world.advance(2 * MINUTE);
    const error = await source.get().catch((thrown) => thrown);
    expect(error).toBeInstanceOf(QueueError);
    expect(error.reply.code).toBe(451);
    const asked = state.fetched;
    await source.get().catch(() => undefined);
    expect(state.fetched).toBe(asked);
    state.isWell = true;
    await world.advance(1000);
    expect((await source.get()).accessKeyId).toBe(`A${asked + 1}`);
  });
});
