import type { Pools as Data } from "../api";
import { Age, Badge, Card, DagLink, Empty, Loaded, Meter, Table } from "../parts";
import { usePolled } from "../usePolled";
import { WorkerPools } from "./WorkerPools";

const HOLDERS = 4;

const Holders = ({ holders, used }: { holders: Data["slot_pools"][number]["holders"]; used: number }) => {
  const shown = holders.slice(0, HOLDERS);
  const rest = used - shown.reduce((sum, one) => sum + one.slots, 0);
  if (!used) return <span className="af-muted">nobody</span>;
  return (
    <>
      {shown.map((one) => (
        <span key={one.dag} className="af-holder">
          <DagLink dag={one.dag} /> {one.slots}
        </span>
      ))}
      {rest > 0 && <span className="af-muted">others {rest}</span>}
    </>
  );
};

export const Pools = () => {
  const polled = usePolled<Data>("pools");
  return (
    <Loaded polled={polled}>
      {(data) => (
        <>
          {data.hides_dags && <p className="af-muted">Dags that you may not read are counted, and not named.</p>}
          <WorkerPools pools={data.worker_pools} mayOperate={data.may_operate} onDone={polled.reload} />
          <Card title="Slot pools">
            {data.slot_pools.length ? (
              <Table
                label="Slot pools"
                rows={data.slot_pools}
                keyOf={(row) => row.name}
                columns={[
                  { name: "slot pool", show: (row) => row.name },
                  {
                    name: "used",
                    show: (row) =>
                      row.slots < 0 ? (
                        <span className="af-muted">no limit</span>
                      ) : (
                        <Meter used={row.used} total={row.slots} label={`${row.name}: ${row.used} of ${row.slots} slots`} />
                      ),
                  },
                  { name: "slots", isNumber: true, show: (row) => (row.slots < 0 ? row.used : `${row.used} / ${row.slots}`) },
                  { name: "running", isNumber: true, show: (row) => row.running },
                  { name: "queued", isNumber: true, show: (row) => row.queued },
                  { name: "deferred", isNumber: true, show: (row) => row.deferred },
                  {
                    name: "waiting",
                    isNumber: true,
                    show: (row) =>
                      row.waiting && row.slots >= 0 && row.used >= row.slots ? (
                        <Badge tone="warn">{row.waiting}</Badge>
                      ) : (
                        row.waiting
                      ),
                  },
                  { name: "held by", show: (row) => <Holders holders={row.holders} used={row.running + row.queued} /> },
                ]}
              />
            ) : (
              <Empty title="There is no slot pool" />
            )}
          </Card>
          <Card title="Queues">
            {data.queues.length ? (
              <Table
                label="Queues"
                rows={data.queues}
                keyOf={(row) => row.name}
                columns={[
                  { name: "queue", show: (row) => row.name },
                  { name: "running", isNumber: true, show: (row) => row.running },
                  { name: "queued", isNumber: true, show: (row) => row.queued },
                  {
                    name: "oldest waits",
                    isNumber: true,
                    show: (row) =>
                      row.head_age_s !== null && row.head_age_s > 60 ? (
                        <Badge tone="warn">
                          <Age seconds={row.head_age_s} />
                        </Badge>
                      ) : (
                        <Age seconds={row.head_age_s} />
                      ),
                  },
                ]}
              />
            ) : (
              <Empty title="No queue has a task now">A queue is shown while one of its tasks is queued or runs.</Empty>
            )}
          </Card>
          <Card title="Hosts that run tasks">
            {data.hosts.length ? (
              <Table
                label="Hosts that run tasks"
                rows={data.hosts}
                keyOf={(row) => row.name}
                columns={[
                  { name: "host", show: (row) => row.name },
                  { name: "tasks", isNumber: true, show: (row) => row.running },
                  { name: "oldest runs for", isNumber: true, show: (row) => <Age seconds={row.oldest_age_s} /> },
                  { name: "last report", isNumber: true, show: (row) => <Age seconds={row.heartbeat_age_s} /> },
                ]}
              />
            ) : (
              <Empty title="No task runs now">Hosts are shown while tasks run on them.</Empty>
            )}
          </Card>
          <Card title="Tasks that run longest">
            {data.slowest.length ? (
              <Table
                label="Tasks that run longest"
                rows={data.slowest}
                keyOf={(row) => `${row.dag} ${row.run} ${row.task} ${row.map_index}`}
                columns={[
                  { name: "Dag", show: (row) => <DagLink dag={row.dag} /> },
                  {
                    name: "task",
                    show: (row) => (
                      <DagLink dag={row.dag} run={row.run}>
                        {row.map_index < 0 ? row.task : `${row.task}[${row.map_index}]`}
                      </DagLink>
                    ),
                  },
                  { name: "try", isNumber: true, show: (row) => row.try_number },
                  { name: "slot pool", show: (row) => row.slot_pool },
                  { name: "queue", show: (row) => row.queue },
                  { name: "host", show: (row) => row.host ?? "–" },
                  { name: "runs for", isNumber: true, show: (row) => <Age seconds={row.age_s} /> },
                ]}
              />
            ) : (
              <Empty title="No task runs now" />
            )}
          </Card>
        </>
      )}
    </Loaded>
  );
};
