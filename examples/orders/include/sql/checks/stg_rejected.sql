-- More than this share of the lines is a broken delivery, not a few bad ones.
select
    (select count(*) from {{ ref('stg_rejected') }}) <= 0.05 * count(*) as few_lines_are_rejected,
    count(*) = (select count(*) from {{ ref('stg_rejected') }})
             + count(*) filter (where (payload ->> 'amount_cents')::bigint > 0 and payload ->> 'customer' <> '')
        as no_line_is_lost
from {{ ref('stg_lines') }}
