create schema if not exists build;

create table if not exists raw_orders (
    day     date    not null,  -- of the run that fetched it
    line    integer not null,  -- in the shop's answer: a later line of the same order replaces an earlier one
    payload jsonb   not null,  -- as delivered
    primary key (day, line)
);

create table if not exists payouts (
    day        date   primary key,
    paid_cents bigint not null
);

create table if not exists return_models (
    name    text  primary key,
    weights jsonb not null,
    orders  integer not null   -- that it was trained with
);

create table if not exists return_scores (
    batch    integer          not null,
    order_id text             primary key,
    score    double precision not null
);
