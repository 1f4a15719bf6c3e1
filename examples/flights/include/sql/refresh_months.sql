-- Remakes the marts of the months settled since they were made. Run again, it finds nothing to do.
{% set on_time = var.value.get("flights_on_time_minutes", "15") | int %}
select pg_advisory_xact_lock(20130101, 1);

create temporary table stale on commit drop as
select d.month, d.settled_at
from deliveries d
left join mart_refreshes r using (month)
where r.settled_at is distinct from d.settled_at or r.on_time_minutes <> {{ on_time }};

{% for mart in ("mart_on_time", "mart_hours", "mart_weather", "mart_refreshes") %}
delete from {{ mart }} where month in (select month from stale);
{% endfor %}

insert into mart_on_time
select
    month, carrier, origin, dest,
    count(*),
    count(*) filter (where status = 'cancelled'),
    count(*) filter (where status = 'diverted'),
    count(*) filter (where status = 'arrived'),
    count(*) filter (where arr_delay < {{ on_time }}),
    coalesce(sum(dep_delay), 0),
    coalesce(sum(arr_delay), 0)
from flights
where month in (select month from stale)
group by month, carrier, origin, dest;

insert into mart_hours
select
    month,
    sched_dep_time / 100,
    count(*),
    count(dep_delay),
    count(*) filter (where dep_delay >= {{ on_time }}),
    coalesce(sum(dep_delay), 0)
from flights
where month in (select month from stale)
group by month, sched_dep_time / 100;

-- Each measure cuts the same flights into bands; hours without an observation are in none.
{% for measure, bands in params.weather_bands.items() %}
insert into mart_weather
select
    f.month,
    '{{ measure }}',
    b.place,
    b.band,
    count(*),
    count(*) filter (where f.status = 'cancelled'),
    count(f.dep_delay),
    count(*) filter (where f.dep_delay >= {{ on_time }}),
    coalesce(sum(f.dep_delay), 0)
from flights f
join weather w on w.origin = f.origin and w.time_hour = f.scheduled_hour
join (
    values
    {% for band, low, high in bands %}
        ({{ loop.index }}, '{{ band }}', {{ low }}::real, {{ high }}::real){{ "" if loop.last else "," }}
    {% endfor %}
) as b (place, band, low, high) on w.{{ measure }} >= b.low and w.{{ measure }} < b.high
where f.month in (select month from stale)
group by f.month, b.place, b.band;
{% endfor %}

insert into mart_refreshes select month, settled_at, {{ on_time }} from stale;
