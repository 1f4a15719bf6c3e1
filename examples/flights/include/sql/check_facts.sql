-- Every column must be true. Months that are not settled yet are not looked at.
with counted as (
    select d.month, d.rows, d.loaded, d.quarantined,
           (select count(*) from flights f where f.month = d.month) as flights,
           (select count(*) from flights_quarantine q where q.month = d.month) as refused
    from deliveries d
)
select
    count(*) > 0 as some_month_is_settled,
    bool_and(flights = loaded and refused = quarantined) as counts_are_as_settled,
    bool_and(rows = flights + refused) as no_row_is_lost,
    bool_and(refused < rows * {{ params.most_refused }}) as few_rows_are_refused,
    not exists (
        select from flights f left join airports a on a.faa = f.dest where a.faa is null
    ) as every_destination_is_known,
    not exists (select from flights where (status = 'arrived') <> (arr_delay is not null)) as arrivals_have_a_delay
from counted;
