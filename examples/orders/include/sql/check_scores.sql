select
    count(*) = (select count(*) from marts.stg_orders)             as every_order_has_a_score,
    coalesce(bool_and(score > 0 and score < 1), false)             as every_score_is_a_probability,
    abs(avg(score) - avg(is_returned::integer)) < 0.1              as the_mean_is_the_share_of_returns,
    avg(score) filter (where is_returned) > avg(score) filter (where not is_returned) as returned_orders_score_higher
from return_scores join marts.stg_orders using (order_id);
