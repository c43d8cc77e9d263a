/** Whether the state database can be written (P7). */
export interface Trouble {
  reason: string | undefined;
}
