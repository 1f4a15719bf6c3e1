select measure, place, band, sum(flights)::int as flights, sum(cancelled)::int as cancelled,
       sum(departed)::int as departed, sum(late)::int as late
from mart_weather
group by measure, place, band
order by measure, place
