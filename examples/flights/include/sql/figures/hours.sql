select hour, sum(flights)::int as flights, sum(departed)::int as departed, sum(late)::int as late,
       sum(dep_delay_sum) / nullif(sum(departed), 0)::double precision as mean_departure_delay
from mart_hours
group by hour
order by hour
