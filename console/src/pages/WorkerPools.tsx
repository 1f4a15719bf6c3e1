// The pools of workers with their workers, and the questions that set the slots of one and drain workers.
import { useState } from "react";

import { change, type WorkerPool } from "../api";
import { Age, Ago, Badge, Card, Command, Confirmation, Empty, Meter, Reason, Table, TableCard, type Tone } from "../parts";
import { DrainDialog, type PlacedWorker } from "./DrainDialog";

const TONES: Record<WorkerPool["workers"][number]["state"], Tone> = {
  serving: "good",
  "takes no tasks": "warn",
  draining: "warn",
  drained: "info",
  silent: "bad",
};

const sum = (numbers: number[]) => numbers.reduce((total, one) => total + one, 0);

/** Why a worker is as it is. What is neither drained nor serving is known on its host alone. */
const State = ({ worker }: { worker: PlacedWorker }) => (
  <>
    <Badge tone={TONES[worker.state]}>{worker.state}</Badge>
    {worker.drain && (
      <>
        {" "}
        by {worker.drain.actor} <Ago at={worker.drain.drained_at} />
        {worker.drain.reason && `: ${worker.drain.reason}`}
      </>
    )}
    {worker.marked && " by a command"}
  </>
);

/** What only a command does. */
const suggest = (worker: PlacedWorker): string => {
  if (worker.marked) return `airfleet workers resume ${worker.pool}@${worker.host}`;
  return worker.state === "silent" || worker.state === "takes no tasks" ? "airfleet workers list" : "";
};

const Scale = ({ pool, onClose, onDone }: { pool: WorkerPool; onClose: () => void; onDone: () => void }) => {
  const [isByHand, setByHand] = useState(true);
  const [slots, setSlots] = useState(String(pool.override?.slots ?? sum(pool.workers.map((one) => one.slots))));
  const [reason, setReason] = useState("");
  return (
    <Confirmation
      title={`Set the slots of ${pool.name}?`}
      action="Set"
      onClose={onClose}
      onConfirm={async () => {
        await change(`pools/${encodeURIComponent(pool.name)}/scale`, { slots: isByHand ? Number(slots) : null, reason });
        onDone();
      }}
    >
      <p>The workers follow within seconds, and no running task ends. Your name and the reason are recorded.</p>
      <label>
        How
        <select value={isByHand ? "hand" : "auto"} onChange={(event) => setByHand(event.target.value === "hand")}>
          <option value="hand">a number that holds until somebody changes it</option>
          <option value="auto">the pool scales by its tasks</option>
        </select>
      </label>
      {isByHand && (
        <label>
          Slots of the whole pool, {pool.fewest} to {pool.highest}
          <input
            type="number"
            required
            min={pool.fewest ?? 1}
            max={pool.highest ?? undefined}
            value={slots}
            onChange={(event) => setSlots(event.target.value)}
          />
        </label>
      )}
      <Reason value={reason} onChange={setReason} />
    </Confirmation>
  );
};

const Rule = ({ pool }: { pool: WorkerPool }) =>
  pool.override ? (
    <>
      <Badge tone="info">set to {pool.override.slots}</Badge> by {pool.override.actor} <Ago at={pool.override.set_at} />
      {pool.override.reason && `: ${pool.override.reason}`}
    </>
  ) : (
    <>{pool.why || <span className="af-muted">it has all of them; <code>scale</code> in fleet.yaml lets a pool scale</span>}</>
  );

export const WorkerPools = ({
  pools,
  mayOperate,
  onDone,
}: {
  pools: WorkerPool[];
  mayOperate: boolean;
  onDone: () => void;
}) => {
  const [asked, setAsked] = useState<WorkerPool>();
  const [turned, setTurned] = useState<PlacedWorker>();
  const all: PlacedWorker[] = pools.flatMap((pool) => pool.workers.map((worker) => ({ ...worker, pool: pool.name })));
  return (
    <>
      <Card title="Pools of workers">
        {pools.length ? (
          <Table
            label="Pools of workers"
            rows={pools}
            keyOf={(row) => row.name}
            columns={[
              { name: "pool", show: (row) => row.name },
              {
                name: "busy",
                show: (row) => {
                  const [held, slots] = [sum(row.workers.map((one) => one.held)), sum(row.workers.map((one) => one.slots))];
                  return <Meter used={held} total={slots} label={`${row.name}: ${held} tasks on ${slots} slots`} isFullWell />;
                },
              },
              { name: "tasks", isNumber: true, show: (row) => sum(row.workers.map((one) => one.held)) },
              { name: "slots", isNumber: true, show: (row) => sum(row.workers.map((one) => one.slots)) },
              { name: "limits", isNumber: true, show: (row) => (row.least === null ? "–" : `${row.least} to ${row.most}`) },
              { name: "why so many", show: (row) => <Rule pool={row} /> },
              ...(mayOperate
                ? [
                    {
                      name: "change",
                      show: (row: WorkerPool) =>
                        row.fewest !== null && (
                          <button
                            type="button"
                            className="af-button"
                            onClick={() => setAsked(row)}
                            aria-label={`Scale ${row.name}`}
                          >
                            Scale
                          </button>
                        ),
                    },
                  ]
                : []),
            ]}
          />
        ) : (
          <Empty title="No worker has reported yet">
            Workers of Celery report each few seconds. Without Celery, the scheduler runs the tasks.
          </Empty>
        )}
      </Card>
      {pools.length > 0 && (
        <TableCard
          title="Workers"
          empty="No worker has reported"
          rows={all}
          keyOf={(row) => `${row.pool}@${row.host}`}
          columns={[
            { name: "host", show: (row) => row.host },
            { name: "pool", show: (row) => row.pool },
            { name: "state", show: (row) => <State worker={row} /> },
            { name: "tasks", isNumber: true, show: (row) => row.held },
            { name: "slots", isNumber: true, show: (row) => row.slots },
            { name: "last report", isNumber: true, show: (row) => <Age seconds={row.report_age_s} /> },
            ...(mayOperate
              ? [
                  {
                    name: "change",
                    show: (row: PlacedWorker) =>
                      (row.drain || !row.marked) && (
                        <button
                          type="button"
                          className="af-button"
                          onClick={() => setTurned(row)}
                          aria-label={`${row.drain ? "Resume" : "Drain"} ${row.pool}@${row.host}`}
                        >
                          {row.drain ? "Resume" : "Drain"}
                        </button>
                      ),
                  },
                ]
              : []),
            {
              name: "on the command line",
              show: (row) => suggest(row) && <Command text={suggest(row)} />,
            },
          ]}
        />
      )}
      {turned && (
        <DrainDialog
          asked={turned}
          all={all}
          isDrain={!turned.drain}
          onClose={() => setTurned(undefined)}
          onDone={onDone}
        />
      )}
      {asked && <Scale pool={asked} onClose={() => setAsked(undefined)} onDone={onDone} />}
    </>
  );
};
