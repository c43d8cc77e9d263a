import * as v from "valibot";

/** What is known of a setting besides its schema. */
export interface About {
  /** As it would be written in the configuration file. */
  readonly default: Raw;
  readonly doc: string;
  /** What a number means that has no unit of its own. */
  readonly unit?: string;
  /** `true`: never shown. `"login"`: a list whose entries may hold a login, which is never shown; `"url"`: one. */
  readonly secret?: true | "login" | "url";
}

/** A value as people write it. */
export type Raw = string | number | boolean | readonly Raw[];

/** A setting as found in the schema. */
export interface Setting extends About {
  /** Dotted, as in `smtp.tls.cert_file`. */
  readonly path: string;
  /** Several values are possible; repeated flags add up. */
  readonly list: boolean;
}

type Reader<T> = v.GenericSchema<unknown, T>;

/**
 * A schema out of a pure function; `undefined` means that the value is not what was expected, of which a function can say
 * more.
 */
export function reader<T>(
  expected: string | ((raw: unknown) => string),
  read: (raw: unknown) => T | undefined,
): Reader<T> {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      const value = read(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: typeof expected === "string" ? expected : expected(dataset.value) });
      return NEVER;
    }),
  );
}

/** A list of what `item` reads. Text is taken apart at commas and spaces; the word `none` is the empty list. */
export function listOf<T>(item: Reader<T>, lengthMax = LIST_LENGTH_MAX) {
  return v.pipe(
    v.unknown(),
    v.transform((raw) => (typeof raw === "string" ? splitList(raw) : raw)),
    v.array(item, "a list"),
    v.maxLength(lengthMax, `at most ${lengthMax} entries`),
    v.readonly(),
    v.metadata({ list: true }),
  );
}

/** How many entries any list may have. */
export const LIST_LENGTH_MAX = 1000;

/** The entries of a list that is written in one text. */
export function splitList(text: string): string[] {
  const entries = text.split(/[\s,]+/u).filter((entry) => entry !== "");
  return entries.length === 1 && entries[0] === "none" ? [] : entries;
}

/** One setting: how it is read, its default, what it means and whether it may be shown, in one place. */
export function setting<const TSchema extends v.GenericSchema<unknown, unknown>>(
  schema: TSchema,
  about: About,
) {
  const { doc, ...rest } = about;
  const optional = v.optional<TSchema, Raw>(schema, about.default);
  return v.pipe(optional, v.description(doc), v.metadata({ setting: rest }));
}

/** Every setting of a schema, in the order of the schema. */
export function settingsOf(schema: v.GenericSchema, parents: readonly string[] = []): Setting[] {
  const { setting: about, list } = v.getMetadata(schema) as { setting?: About; list?: true };
  if (about !== undefined) {
    const doc = v.getDescription(schema) ?? "";
    return [{ ...about, doc, path: parents.join("."), list: list ?? hasList(schema) }];
  }
  return Object.entries(entriesOf(schema)).flatMap(([key, inner]) => {
    return settingsOf(inner, [...parents, key]);
  });
}

function hasList(schema: v.GenericSchema): boolean {
  const inner = "wrapped" in schema ? (schema.wrapped as v.GenericSchema) : schema;
  return (v.getMetadata(inner) as { list?: true }).list ?? false;
}

function entriesOf(schema: v.GenericSchema): Readonly<Record<string, v.GenericSchema>> {
  if ("wrapped" in schema) return entriesOf(schema.wrapped as v.GenericSchema);
  return "entries" in schema ? (schema.entries as Record<string, v.GenericSchema>) : {};
}
