select day, coalesce(kept_cents, 0) as expected, coalesce(paid_cents, 0) as paid
from marts.mart_days full join payouts using (day)
where coalesce(kept_cents, 0) <> coalesce(paid_cents, 0)
order by day;
