-- True when enough months have marts and the year was not yet published from just these.
with made as (
    select count(*) as months, max(settled_at) as settled_at, max(on_time_minutes) as on_time_minutes
    from mart_refreshes
)
select months >= %(year_months)s
       and not exists (
           select from mart_years y
           where (y.months, y.settled_at, y.on_time_minutes) = (made.months, made.settled_at, made.on_time_minutes)
             and y.published_at is not null
       )
from made;
