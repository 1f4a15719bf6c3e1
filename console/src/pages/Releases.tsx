import { useEffect, useState } from "react";

import { change, type Deployment, type Release, type Releases as Data } from "../api";
import { Ago, Badge, Card, Command, Confirmation, Empty, Loaded, Reason, Table, TableCard } from "../parts";
import { EVERY_MS, usePolled } from "../usePolled";

// While a deployment is under way.
const OFTEN_MS = 3_000;

const ReleaseState = ({ release }: { release: Release }) => {
  if (release.removed) return <span className="af-muted">removed</span>;
  if (release.live && release.state === "watching") return <Badge tone="info">live, watched</Badge>;
  if (release.live) return <Badge tone="good">live</Badge>;
  return (
    <>
      {release.state === "failed" && <Badge tone="bad">went back</Badge>}
      {release.pinned && <Badge>pinned</Badge>}
      {!release.state && !release.pinned && <Badge tone="info">candidate</Badge>}
    </>
  );
};

const DeploymentState = ({ one }: { one: Deployment }) => (
  <Badge tone={one.state === "failed" ? "bad" : one.unfinished ? "info" : "good"}>{one.state}</Badge>
);

/** The question before a release is live again. `target` undefined: the one before the live release. */
const RollBack = ({
  live,
  target,
  onClose,
  onDone,
}: {
  live: Release;
  target: Release | undefined;
  onClose: () => void;
  onDone: () => void;
}) => {
  const [reason, setReason] = useState("");
  return (
    <Confirmation
      title={target ? `Make ${target.short} live again?` : "Roll back to the release before?"}
      action="Roll back"
      onClose={onClose}
      onConfirm={async () => {
        await change("releases/rollback", { live: live.id, release: target?.id ?? null, reason });
        onDone();
      }}
    >
      <p>
        New runs use the earlier release within seconds, instead of <code>{live.short}</code>. Runs that have begun keep the
        release they began with. Your name and the reason are recorded.
      </p>
      <Reason value={reason} onChange={setReason} />
    </Confirmation>
  );
};

export const Releases = () => {
  const [everyMs, setEveryMs] = useState(EVERY_MS);
  const polled = usePolled<Data>("releases", everyMs);
  const [asked, setAsked] = useState<{ target: Release | undefined }>();
  const isSettled = polled.data?.is_settled ?? true;
  useEffect(() => setEveryMs(isSettled ? EVERY_MS : OFTEN_MS), [isSettled]);
  return (
    <Loaded polled={polled}>
      {(data) =>
        data.releases.length === 0 && data.deployments.length === 0 ? (
          <Empty title="No release was built yet">
            <p>This platform follows the project's folder, or nothing was deployed. To build a release and make it live:</p>
            <Command text={'airfleet release deploy -m "why"'} />
          </Empty>
        ) : (
          <>
            <Card
              title="Live"
              more={
                data.live &&
                data.may_operate &&
                data.releases.some((one) => one.was_live && !one.removed) && (
                  <button
                    type="button"
                    className="af-button"
                    disabled={!data.is_settled}
                    onClick={() => setAsked({ target: undefined })}
                  >
                    Roll back
                  </button>
                )
              }
            >
              {data.live ? (
                <dl className="af-pairs">
                  <dt>release</dt>
                  <dd>
                    <code>{data.live.short}</code> <ReleaseState release={data.live} />
                  </dd>
                  <dt>message</dt>
                  <dd>{data.live.message || "–"}</dd>
                  <dt>commit</dt>
                  <dd>{data.live.commit ? <code>{data.live.commit}</code> : "–"}</dd>
                  <dt>built</dt>
                  <dd>
                    <Ago at={data.live.built_at} /> by {data.live.built_by || "somebody"}, {data.live.files} files
                  </dd>
                  {data.live.verdict && (
                    <>
                      <dt>watch</dt>
                      <dd>{data.live.verdict}</dd>
                    </>
                  )}
                </dl>
              ) : (
                <Empty title="No release is live">
                  <Command text={'airfleet release deploy -m "why"'} />
                </Empty>
              )}
            </Card>
            <TableCard
              title="Deployments"
              empty="Nothing was deployed yet"
              rows={data.deployments}
              keyOf={(row) => row.id}
              columns={[
                { name: "no.", isNumber: true, show: (row) => row.id },
                { name: "requested", show: (row) => <Ago at={row.requested_at} /> },
                { name: "what", show: (row) => row.action },
                { name: "release", show: (row) => (row.release ? <code>{row.release}</code> : "–") },
                { name: "state", show: (row) => <DeploymentState one={row} /> },
                { name: "by", show: (row) => row.actor || "–" },
                { name: "why", show: (row) => row.reason || "–" },
                { name: "verdict", show: (row) => (row.verdict !== row.reason && row.verdict) || "–" },
              ]}
            />
            <Card title="Releases">
              <Table
                label="Releases"
                rows={data.releases}
                keyOf={(row) => row.id}
                columns={[
                  { name: "release", show: (row) => <code>{row.short}</code> },
                  { name: "state", show: (row) => <ReleaseState release={row} /> },
                  { name: "built", show: (row) => <Ago at={row.built_at} /> },
                  { name: "by", show: (row) => row.built_by || "–" },
                  { name: "commit", show: (row) => (row.commit ? <code>{row.commit}</code> : "–") },
                  { name: "message", show: (row) => row.message || "–" },
                  ...(data.may_operate
                    ? [
                        {
                          name: "to do",
                          show: (row: Release) =>
                            row.was_live && !row.removed ? (
                              <button
                                type="button"
                                className="af-button"
                                disabled={!data.is_settled}
                                aria-label={`Make live again: ${row.short}`}
                                onClick={() => setAsked({ target: row })}
                              >
                                Make live again
                              </button>
                            ) : row.live || row.removed ? (
                              "–"
                            ) : (
                              <Command text={`airfleet release promote ${row.short}`} />
                            ),
                        },
                      ]
                    : []),
                ]}
              />
            </Card>
            {asked && data.live && (
              <RollBack
                live={data.live}
                target={asked.target}
                onClose={() => setAsked(undefined)}
                onDone={polled.reload}
              />
            )}
          </>
        )
      }
    </Loaded>
  );
};
