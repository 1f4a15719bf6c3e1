select
    count(*) = count(distinct customer)                                       as every_customer_is_there_once,
    coalesce(sum(orders), 0) = (select count(*) from {{ ref('stg_orders') }}) as every_order_has_a_customer,
    coalesce(bool_and(returned <= orders), true)                              as nothing_is_returned_twice
from {{ ref('mart_customers') }}
