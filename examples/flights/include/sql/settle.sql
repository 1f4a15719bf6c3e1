insert into deliveries (month, rows, sha256, loaded, quarantined)
values (%(month)s, %(rows)s, %(sha256)s, %(loaded)s, %(quarantined)s)
on conflict (month) do update
set rows = excluded.rows,
    sha256 = excluded.sha256,
    loaded = excluded.loaded,
    quarantined = excluded.quarantined,
    settled_at = clock_timestamp()
returning to_char(settled_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');
