// A question before workers are drained or resumed: which ones, and why.
import { useState } from "react";

import { change, type WorkerPool } from "../api";
import { Confirmation, Reason } from "../parts";

export type PlacedWorker = WorkerPool["workers"][number] & { pool: string };

type Scope = "worker" | "host" | "pool";

const choose = (all: PlacedWorker[], asked: PlacedWorker, scope: Scope): PlacedWorker[] =>
  all.filter((one) => (scope === "host" || one.pool === asked.pool) && (scope === "pool" || one.host === asked.host));

/** The pools in which no worker that takes tasks is left. */
const findDeserted = (all: PlacedWorker[], chosen: PlacedWorker[]): string[] => {
  const leaving = new Set(chosen);
  const pools = new Set(chosen.map((one) => one.pool));
  return [...pools].filter((pool) => !all.some((one) => one.pool === pool && one.state === "serving" && !leaving.has(one)));
};

const count = (workers: PlacedWorker[]) => `${workers.length} ${workers.length === 1 ? "worker" : "workers"}`;

export const DrainDialog = ({
  asked,
  all,
  isDrain,
  onClose,
  onDone,
}: {
  asked: PlacedWorker;
  all: PlacedWorker[];
  isDrain: boolean;
  onClose: () => void;
  onDone: () => void;
}) => {
  const [scope, setScope] = useState<Scope>("worker");
  const [reason, setReason] = useState("");
  const chosen = choose(all, asked, scope);
  const deserted = isDrain ? findDeserted(all, chosen) : [];
  const tasks = chosen.reduce((sum, one) => sum + one.held, 0);
  const marked = chosen.filter((one) => one.marked);
  return (
    <Confirmation
      title={`${isDrain ? "Drain" : "Resume"} ${asked.pool}@${asked.host}?`}
      action={isDrain ? "Drain" : "Resume"}
      onClose={onClose}
      onConfirm={async () => {
        await change(`workers/${isDrain ? "drain" : "resume"}`, {
          pool: scope === "host" ? null : asked.pool,
          host: scope === "pool" ? null : asked.host,
          reason,
        });
        onDone();
      }}
    >
      <label>
        Which
        <select value={scope} onChange={(event) => setScope(event.target.value as Scope)}>
          <option value="worker">this worker</option>
          <option value="host">all workers of the host {asked.host}</option>
          <option value="pool">all workers of the pool {asked.pool}</option>
        </select>
      </label>
      <p>
        {isDrain
          ? `${count(chosen)}: no new tasks within seconds. ${tasks} ${tasks === 1 ? "task runs" : "tasks run"} there and ${
              tasks === 1 ? "goes" : "go"
            } on to the end. It holds until somebody resumes them, also after a restart.`
          : `${count(chosen)}: tasks are taken again within seconds.`}{" "}
        Your name and the reason are recorded.
      </p>
      {deserted.length > 0 && (
        <p className="af-stale" role="alert">
          No worker that takes tasks is left in {deserted.join(", ")}. Tasks of its queues wait until one resumes, unless another
          pool serves these queues.
        </p>
      )}
      {!isDrain && marked.length > 0 && (
        <p className="af-stale">
          A command has drained {marked.map((one) => `${one.pool}@${one.host}`).join(", ")}, and only a command resumes it.
        </p>
      )}
      <Reason value={reason} onChange={setReason} />
    </Confirmation>
  );
};
