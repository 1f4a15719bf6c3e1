select reason, count(*)::int as rows
from flights_quarantine
group by reason
order by rows desc, reason
