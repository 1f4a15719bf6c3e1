select
    count(*) > 0                                          as there_are_orders,
    count(*) = count(distinct order_id)                   as every_order_is_there_once,
    count(*) = count(placed_at)                           as every_order_has_a_time,
    coalesce(bool_and(country in ('DE', 'FR', 'NL')), true) as every_country_is_known,
    coalesce(bool_and(channel in ('web', 'app')), true)   as every_channel_is_known,
    coalesce(bool_and(amount_cents between 1 and 1000000), true) as every_amount_is_plausible
from {{ ref('stg_orders') }}
