-- One row is a day.
select
    day,
    count(*)                                                          as orders,
    sum(amount_cents)::bigint                                         as ordered_cents,
    (coalesce(sum(amount_cents) filter (where not is_returned), 0))::bigint as kept_cents,
    round(avg(is_returned::integer), 4)                               as return_rate
from {{ ref('stg_orders') }}
group by day
