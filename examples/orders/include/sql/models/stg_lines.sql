-- One row is a line as the shop delivered it, when this run began. All other models read this copy: days that are loaded
-- while they are built belong to the next run.
select day, line, payload
from {{ source('raw_orders') }}
