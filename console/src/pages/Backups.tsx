// How old the last backup and the last archive of runs are, and a search for archived runs.
import type { Backups as Data } from "../api";
import { Ago, Badge, Card, Command, Loaded } from "../parts";
import { usePolled } from "../usePolled";
import { moment, size } from "../words";
import { Archive } from "./Archive";

const EVERY_MS = 30_000;

const Body = ({ data }: { data: Data }) => (
  <>
    <Card title="Backups of the database">
      <dl className="af-pairs">
        <dt>last backup ended</dt>
        <dd>{data.backup_at ? <Ago at={data.backup_at} /> : <Badge tone="bad">no backup is known</Badge>}</dd>
        <dt>size of the database</dt>
        <dd>{size(data.database_bytes)}</dd>
        <dt>log of changes (WAL)</dt>
        <dd>
          {!data.has_wal ? (
            "not kept: a backup is restored as it was made"
          ) : data.is_wal_failing ? (
            <Badge tone="bad">the last file could not be archived</Badge>
          ) : data.wal_archived_at ? (
            <>
              the last file was archived <Ago at={data.wal_archived_at} />
            </>
          ) : (
            "no file was archived yet"
          )}
        </dd>
      </dl>
      <p>
        <Command text="airfleet db backups" />
      </p>
    </Card>
    <Card title="Archive of old runs">
      <dl className="af-pairs">
        <dt>last archive ended</dt>
        <dd>{data.archive_at ? <Ago at={data.archive_at} /> : "no archive has ended yet"}</dd>
        <dt>oldest run in the database</dt>
        <dd>{data.oldest_run ? moment(data.oldest_run) : "there is no run"}</dd>
      </dl>
    </Card>
  </>
);

export const Backups = () => (
  <>
    <Loaded polled={usePolled<Data>("backups", EVERY_MS)}>{(data) => <Body data={data} />}</Loaded>
    <Archive />
  </>
);
