/** What can be asked: for whoever looks around. */
export const ENDPOINTS: readonly { readonly call: string; readonly about: string }[] = [
  { call: "GET /", about: "this overview" },
  { call: "GET /livez", about: "200 while the process runs" },
  { call: "GET /readyz", about: "200 while mail can be accepted durably" },
  { call: "GET /metrics", about: "everything counted, for Prometheus" },
  { call: "GET /v1/queue", about: "counts, destinations, connections" },
  { call: "GET /v1/messages", about: "list: state= domain= sender= after= limit=" },
  { call: "GET /v1/messages/ID", about: "one message and its recipients" },
  { call: "GET /v1/messages/ID/content", about: "the message itself" },
  { call: "POST /v1/messages/ID/VERB", about: "VERB: retry hold release remove bounce" },
  { call: "DELETE /v1/messages/ID", about: "remove, without telling the sender" },
  { call: "POST /v1/messages/VERB", about: "many: state= domain= sender=, or all=true" },
  { call: "POST /v1/flush", about: "try everything now; domain= or sender=" },
];
