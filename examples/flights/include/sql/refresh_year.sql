-- What only makes sense for the whole year; made from the monthly marts.
select pg_advisory_xact_lock(20130101, 1);

delete from mart_carriers;

insert into mart_carriers
with totals as (
    select
        carrier,
        sum(flights) as n,
        sum(cancelled) as cancelled,
        sum(on_time) as k,
        sum(arr_delay_sum) / nullif(sum(arrived), 0)::double precision as mean_arrival_delay
    from mart_on_time
    group by carrier
),
rates as (
    select *, k / n::double precision as p, {{ params.z }} * {{ params.z }} as zz from totals
)
select
    carrier, coalesce(a.name, carrier), n, cancelled, k, p,
    (p + zz / (2 * n) - {{ params.z }} * sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n),
    (p + zz / (2 * n) + {{ params.z }} * sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n),
    mean_arrival_delay
from rates
left join airlines a using (carrier);

delete from mart_routes;

insert into mart_routes
select m.origin, m.dest, a.name, a.lat, a.lon, sum(m.flights), sum(m.on_time),
       sum(m.on_time) / sum(m.flights)::double precision
from mart_on_time m
join airports a on a.faa = m.dest
group by m.origin, m.dest, a.name, a.lat, a.lon;

delete from mart_years;

insert into mart_years (months, settled_at, on_time_minutes)
select count(*), max(settled_at), max(on_time_minutes)
from mart_refreshes;
