import type { PutCondition } from "../object-store.ts";

/** How a store wants to be told of a version: as HTTP says, or bare as older gateways of Ceph compare it. */
export type EtagForm = "quoted" | "bare";

export function conditionHeaders(
  condition: PutCondition,
  form: EtagForm,
): Readonly<Record<string, string>> {
  if (condition === "absent") return { "if-none-match": "*" };
  const { version } = condition;
  return { "if-match": form === "bare" ? version.replaceAll('"', "") : version };
}

/**
 * What a store answers when the condition does not hold. 409: somebody else is writing the object at this moment. 404: the one
 * that should have had this version is gone.
 */
export const REFUSED: readonly number[] = [412, 409, 404];
