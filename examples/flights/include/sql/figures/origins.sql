select to_char(month, 'YYYY-MM') as month, origin, sum(flights)::int as flights, sum(on_time)::int as on_time
from mart_on_time
group by month, origin
order by month, origin
