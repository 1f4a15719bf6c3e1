select to_char(d.month, 'YYYY-MM') as month, d.rows, d.loaded, d.quarantined,
       sum(m.cancelled)::int as cancelled, sum(m.diverted)::int as diverted,
       sum(m.arrived)::int as arrived, sum(m.on_time)::int as on_time,
       sum(m.arr_delay_sum) / nullif(sum(m.arrived), 0)::double precision as mean_arrival_delay
from deliveries d
join mart_on_time m using (month)
group by d.month
order by d.month
