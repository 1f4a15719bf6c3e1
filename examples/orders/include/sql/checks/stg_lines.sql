select count(*) > 0 as something_was_delivered
from {{ ref('stg_lines') }}
