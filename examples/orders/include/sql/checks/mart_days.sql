select
    coalesce(sum(orders), 0) = (select count(*) from {{ ref('stg_orders') }})     as every_order_has_a_day,
    coalesce(sum(ordered_cents), 0) = (select coalesce(sum(amount_cents), 0) from {{ ref('stg_orders') }}) as no_cent_is_lost,
    coalesce(bool_and(kept_cents between 0 and ordered_cents), true)              as nothing_is_kept_twice,
    not exists (select from {{ ref('stg_lines') }} where day not in (select day from {{ ref('mart_days') }}))
        as no_day_is_missing
from {{ ref('mart_days') }}
