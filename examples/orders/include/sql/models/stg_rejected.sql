-- One row is a line that was left out, with the reason. Nothing disappears.
select
    day,
    line,
    payload,
    case when payload ->> 'customer' = '' then 'no_customer' else 'no_amount' end as reason
from {{ ref('stg_lines') }}
where ((payload ->> 'amount_cents')::bigint > 0) is not true
   or payload ->> 'customer' = ''
