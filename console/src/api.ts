// The API of the Fleet pages: its shapes, and the one function that asks it.

export type Level = "broken" | "warning" | "note";

export interface Problem {
  level: Level;
  what: string;
  command: string;
  page: string;
  since: string | null;
}

export interface Release {
  id: string;
  short: string;
  built_at: string;
  built_by: string;
  message: string;
  commit: string;
  files: number;
  live: boolean;
  was_live: boolean;
  pinned: boolean;
  removed: boolean;
  state: string | null;
  verdict: string | null;
}

export interface Overview {
  at: string;
  verdict: "well" | "attention" | "broken";
  sentence: string;
  problems: Problem[];
  states: Record<string, number>;
  runs: Record<string, number>;
  last_minute: { succeeded: number; failed: number };
  components: { type: string; host: string; heartbeat_age_s: number }[];
  lease: { holder: string; renewed_age_s: number; candidates: { name: string; state: string }[] } | null;
  alerts: Record<string, number>;
  promises: Record<string, number>;
  live: Release | null;
}

export interface SlotPool {
  name: string;
  slots: number;
  used: number;
  running: number;
  queued: number;
  deferred: number;
  waiting: number;
  holders: { dag: string; slots: number }[];
}

export interface RunningTask {
  dag: string;
  run: string;
  task: string;
  map_index: number;
  try_number: number;
  slot_pool: string;
  queue: string;
  host: string | null;
  age_s: number | null;
  heartbeat_age_s: number | null;
}

export interface WorkerPool {
  name: string;
  workers: {
    host: string;
    state: "serving" | "takes no tasks" | "draining" | "drained" | "silent";
    slots: number;
    held: number;
    report_age_s: number | null;
    /** Whether a command has drained it, by a file on its host. */
    marked: boolean;
    /** Who has drained it on this page. */
    drain: { drained_at: string; actor: string; reason: string } | null;
  }[];
  override: { slots: number; set_at: string; actor: string; reason: string } | null;
  why: string;
  /** The limits of fleet.yaml. */
  least: number | null;
  most: number | null;
  /** What a person may set; null before the first decision. */
  fewest: number | null;
  highest: number | null;
}

export interface Pools {
  at: string;
  worker_pools: WorkerPool[];
  may_operate: boolean;
  slot_pools: SlotPool[];
  queues: { name: string; queued: number; running: number; head_age_s: number | null }[];
  hosts: { name: string; running: number; oldest_age_s: number | null; heartbeat_age_s: number | null }[];
  slowest: RunningTask[];
  hides_dags: boolean;
}

export interface Deployment {
  id: number;
  release: string | null;
  action: string;
  state: string;
  unfinished: boolean;
  actor: string;
  reason: string | null;
  requested_at: string;
  live_at: string | null;
  watch_until: string | null;
  verdict: string;
}

export interface Releases {
  bundle: string;
  live: Release | null;
  releases: Release[];
  deployments: Deployment[];
  may_operate: boolean;
  is_settled: boolean;
}

export interface Slas {
  has_rules: boolean;
  is_stale: boolean;
  unmatched: string[];
  promises: {
    id: number;
    rule: string;
    promise: string;
    subject: string;
    dag_id: string | null;
    run_id: string | null;
    state: "due" | "at-risk" | "late" | "missed" | "met";
    due_at: string;
    due_local: string;
    expected_at: string | null;
    fulfilled_at: string | null;
    ended_at: string | null;
    late_s: number | null;
    reason: string;
  }[];
  report: {
    rule: string;
    kind: string;
    subject: string;
    met: number;
    missed: number;
    worst_s: number | null;
    met_percent: number | null;
  }[];
}

export interface Alert {
  id: number;
  severity: "critical" | "warning" | "info";
  name: string;
  source: string;
  summary: string;
  labels: Record<string, string>;
  runbook: string;
  started_at: string;
  resolved_at: string | null;
  acknowledged_by: string | null;
  /** In one or a few words. */
  state: string;
  notified: { receiver: string; sent: number; unsent: number; failed: number; error: string | null }[];
}

export interface Alerts {
  alerts: Alert[];
  silences: { id: number; what: Record<string, string>; actor: string; comment: string; ends_at: string }[];
  may_operate: boolean;
}

export interface Breakers {
  breakers: {
    name: string;
    state: "closed" | "open" | "half-open";
    opened_at: string | null;
    probe_at: string | null;
    wave: number;
    waiting: number;
    reason: string;
    actor: string;
  }[];
  events: { breaker: string; happened_at: string; state: string; wave: number; reason: string; actor: string }[];
  limits: {
    name: string;
    starts_per_minute: number | null;
    at_once: number | null;
    waiting: number;
    active: number;
    starts: number;
    held_until: string | null;
  }[];
}

export interface Changes {
  changes: {
    number: number;
    at: string;
    /** Whether the row has the hash of its content. */
    is_whole: boolean;
    source: string;
    actor: string;
    address: string;
    action: string;
    outcome: string;
    status: string;
  }[];
}

export type Part = "noticed" | "ready" | "queued" | "running";

export interface Trace {
  dag: string;
  run: string;
  state: string;
  release: string;
  begin: string;
  has_ended: boolean;
  seconds: number;
  tries: {
    name: string;
    task: string;
    state: string;
    host: string;
    is_critical: boolean;
    parts: { part: Part; begin_s: number; seconds: number }[];
  }[];
  /** Tries that are not among `tries`. */
  hidden: number;
  critical_path: string[];
  running_s: number;
  waiting_s: number;
  longest_wait: string;
}

export interface Incident {
  since: string;
  until: string;
  events: {
    at: string;
    kind: string;
    subject: string;
    what: string;
    actor: string;
    is_bad: boolean;
    count: number;
  }[];
  is_cut: boolean;
  hides_changes: boolean;
}

export interface Backups {
  backup_at: string | null;
  archive_at: string | null;
  oldest_run: string | null;
  database_bytes: number;
  /** Whether the server keeps the log of changes from which a moment is restored. */
  has_wal: boolean;
  wal_archived_at: string | null;
  is_wal_failing: boolean;
}

export interface Archive {
  dags: {
    dag_id: string;
    months: number;
    runs: number;
    task_instances: number;
    bytes: number;
    first_after: string;
    last_after: string;
  }[];
  runs: number;
  bytes: number;
}

export interface ArchivedRuns {
  dag: string;
  months: { month: string; runs: number; task_instances: number; bytes: number }[];
  runs: {
    run_id: string;
    run_after: string;
    tasks: number;
    /** Of the run in the database, if it is there too. */
    state: string | null;
    /** What restores this run alone. */
    command: string;
  }[];
  /** What restores all of these runs. */
  command: string;
  is_cut: boolean;
}

export interface LogLines {
  lines: {
    at: string;
    level: string;
    host: string;
    component: string;
    dag: string;
    run: string;
    task: string;
    map_index: number;
    try_number: number;
    text: string;
  }[];
  is_cut: boolean;
}

export interface Subject {
  kind: "dag" | "run" | "task";
  dag: string;
  run: string | null;
  task: string | null;
  map_index: number | null;
}

export interface Cause {
  code: string;
  severity: "broken" | "held" | "waiting" | "note";
  what: string;
  since: string | null;
  until: string | null;
  blockers: {
    kind: string;
    name: string;
    state: string;
    since: string | null;
    where: string;
    slots: number | null;
    subject: Subject | null;
  }[];
  unnamed_blockers: number;
  advice: string;
  commands: string[];
  count: number;
}

export interface Explanation {
  subject: Subject;
  at: string;
  state: string;
  since: string | null;
  blocked: boolean;
  summary: string;
  causes: Cause[];
  runs: Explanation[];
  unknown: string[];
}

/** An answer that is not the wanted one. `status` 0: no answer came. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const locate = (path: string): string => new URL(`airfleet/api/${path}`, document.baseURI).href;

const send = async (path: string, options: RequestInit): Promise<Response> => {
  try {
    return await fetch(locate(path), { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal(0, "Airflow's web server does not answer.");
  }
};

const refuse = async (response: Response): Promise<Refusal> => {
  let detail = "";
  try {
    const body: unknown = await response.json();
    if (typeof body === "object" && body !== null && "detail" in body) detail = String(body.detail);
  } catch {
    // A proxy has answered with a page of its own.
  }
  return new Refusal(response.status, detail || response.statusText || `status ${response.status}`);
};

/** What was read, with the tag that lets the server answer "nothing has changed". */
export interface Reading<T> {
  data: T;
  tag: string;
}

/** Read a page. Returns `before` itself if nothing has changed since. Throws a Refusal. */
export const read = async <T>(
  path: string,
  signal: AbortSignal,
  before: Reading<T> | undefined,
): Promise<Reading<T>> => {
  // The browser's own cache would hide whether something has changed.
  const headers = before ? { "If-None-Match": before.tag } : undefined;
  const response = await send(path, { signal, cache: "no-store", ...(headers ? { headers } : {}) });
  if (response.status === 304 && before) return before;
  if (!response.ok) throw await refuse(response);
  return { data: (await response.json()) as T, tag: response.headers.get("ETag") ?? "" };
};

/** Ask for a change. Throws a Refusal. */
export const change = async (path: string, body: unknown): Promise<void> => {
  const response = await send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refuse(response);
};
