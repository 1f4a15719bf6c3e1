select lat, lon
from airports
where lat between 24 and 50 and lon between -126 and -66
order by faa
