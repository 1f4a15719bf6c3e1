-- One row is a customer.
select
    customer,
    count(*)                              as orders,
    sum(amount_cents)::bigint             as ordered_cents,
    count(*) filter (where is_returned)   as returned,
    max(placed_at)                        as last_order_at
from {{ ref('stg_orders') }}
group by customer
