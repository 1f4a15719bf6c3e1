-- Every column must be true: the marts hold every flight of the months they were made from, once.
with facts as (
    select count(*) as n from flights where month in (select month from mart_refreshes)
)
select
    n > 0 as there_are_flights,
    n = (select sum(flights) from mart_on_time) as on_time_is_whole,
    n = (select sum(flights) from mart_hours) as hours_are_whole,
    n >= (select max(flights) from (select sum(flights) as flights from mart_weather group by measure) as m)
        as weather_counts_once,
    not exists (select from mart_on_time where arrived + cancelled + diverted <> flights) as every_status_is_counted,
    n = (select sum(flights) from mart_carriers) as carriers_are_whole,
    n = (select sum(flights) from mart_routes) as routes_are_whole,
    not exists (
        select from mart_carriers
        -- The interval of a rate of 1 ends at 1, but for rounding.
        where on_time_rate < low - 1e-9 or on_time_rate > high + 1e-9 or low < -1e-9 or high > 1 + 1e-9
    ) as rates_are_rates
from facts;
