select order_id, items, discount_percent, channel = 'app', is_returned
from marts.stg_orders
where %(batch)s::integer is null or abs(hashtext(order_id)::bigint) %% %(batches)s = %(batch)s::integer
order by order_id;
