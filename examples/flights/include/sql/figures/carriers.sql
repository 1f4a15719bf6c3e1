select carrier, name, flights, cancelled, on_time, on_time_rate, low, high, mean_arrival_delay
from mart_carriers
order by on_time_rate desc, carrier
