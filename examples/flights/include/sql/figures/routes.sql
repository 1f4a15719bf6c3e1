select origin, dest, dest_name, lat, lon, flights, on_time, on_time_rate
from mart_routes
order by flights desc, origin, dest
