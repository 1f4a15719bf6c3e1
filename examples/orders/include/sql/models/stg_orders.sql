-- One row is an order: the last line of it that makes sense.
with lines as (
    select day, line, payload ->> 'id' as order_id, payload
    from {{ ref('stg_lines') }}
    where (payload ->> 'amount_cents')::bigint > 0
      and payload ->> 'customer' <> ''
)
select distinct on (order_id)
    order_id,
    day,
    (payload ->> 'placed_at')::timestamptz  as placed_at,
    payload ->> 'customer'                  as customer,
    payload ->> 'country'                   as country,
    payload ->> 'channel'                   as channel,
    (payload ->> 'items')::integer          as items,
    (payload ->> 'amount_cents')::bigint    as amount_cents,
    (payload ->> 'discount_percent')::integer as discount_percent,
    payload ->> 'status' = 'returned'       as is_returned
from lines
order by order_id, day desc, line desc
