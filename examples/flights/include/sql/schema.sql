create table if not exists flights (
    month          date        not null,  -- first day of the month of the file
    origin         text        not null,
    flight_date    date        not null,
    carrier        text        not null,
    flight         integer     not null,
    sched_dep_time smallint    not null,  -- local time, hhmm
    dest           text        not null,
    tailnum        text,
    status         text        not null check (status in ('arrived', 'diverted', 'cancelled')),
    dep_time       smallint,
    dep_delay      smallint,              -- minutes
    sched_arr_time smallint    not null,
    arr_time       smallint,
    arr_delay      smallint,
    air_time       smallint,
    distance       smallint    not null,  -- miles
    scheduled_hour timestamptz not null,  -- joins weather
    line           integer     not null,  -- in the delivered file
    primary key (month, origin, flight_date, carrier, flight, sched_dep_time)
);

create table if not exists flights_quarantine (
    month  date    not null,
    origin text    not null,              -- 'other' when it is none of ours
    line   integer not null,
    reason text    not null,
    record jsonb   not null,              -- the row as delivered
    primary key (month, origin, line)
);

create table if not exists deliveries (
    month       date        primary key,
    rows        integer     not null,     -- as the sender counted them
    sha256      text        not null,
    loaded      integer     not null,
    quarantined integer     not null,
    settled_at  timestamptz not null default clock_timestamp(),
    check (rows = loaded + quarantined)
);

create table if not exists reference_files (
    name      text        primary key,
    sha256    text        not null,
    loaded_at timestamptz not null default now()
);

create table if not exists airlines (
    carrier text primary key,
    name    text not null
);

create table if not exists airports (
    faa   text             primary key,
    name  text             not null,
    lat   double precision not null,
    lon   double precision not null,
    alt   integer,
    tz    real,
    dst   text,
    tzone text
);

create table if not exists planes (
    tailnum      text primary key,
    year         integer,
    type         text,
    manufacturer text,
    model        text,
    engines      integer,
    seats        integer,
    speed        integer,
    engine       text
);

create table if not exists weather (
    origin     text        not null,
    year       integer     not null,
    month      integer     not null,
    day        integer     not null,
    hour       integer     not null,
    temp       real,                      -- degrees Fahrenheit
    dewp       real,
    humid      real,
    wind_dir   real,
    wind_speed real,                      -- mph
    wind_gust  real,
    precip     real,                      -- inches in the hour
    pressure   real,
    visib      real,                      -- miles
    time_hour  timestamptz not null,
    primary key (origin, time_hour)
);

create table if not exists mart_refreshes (
    month           date        primary key,
    settled_at      timestamptz not null, -- of the delivery the marts were made from
    on_time_minutes integer     not null
);

create table if not exists mart_on_time (
    month         date    not null,
    carrier       text    not null,
    origin        text    not null,
    dest          text    not null,
    flights       integer not null,
    cancelled     integer not null,
    diverted      integer not null,
    arrived       integer not null,
    on_time       integer not null,
    dep_delay_sum bigint  not null,
    arr_delay_sum bigint  not null,
    primary key (month, carrier, origin, dest)
);

create table if not exists mart_hours (
    month         date    not null,
    hour          integer not null,       -- scheduled, local
    flights       integer not null,
    departed      integer not null,
    late          integer not null,
    dep_delay_sum bigint  not null,
    primary key (month, hour)
);

create table if not exists mart_weather (
    month         date    not null,
    measure       text    not null,
    place         integer not null,       -- order of the bands of a measure
    band          text    not null,
    flights       integer not null,
    cancelled     integer not null,
    departed      integer not null,
    late          integer not null,
    dep_delay_sum bigint  not null,
    primary key (month, measure, place)
);

create table if not exists mart_carriers (
    carrier       text             primary key,
    name          text             not null,
    flights       integer          not null,
    cancelled     integer          not null,
    on_time       integer          not null,
    on_time_rate  double precision not null,
    low           double precision not null, -- Wilson interval, 95 %
    high          double precision not null,
    mean_arrival_delay double precision
);

create table if not exists mart_routes (
    origin       text             not null,
    dest         text             not null,
    dest_name    text             not null,
    lat          double precision not null,
    lon          double precision not null,
    flights      integer          not null,
    on_time      integer          not null,
    on_time_rate double precision not null,
    primary key (origin, dest)
);

create table if not exists mart_years (
    the_only        boolean     primary key default true check (the_only),
    months          integer     not null,
    settled_at      timestamptz not null, -- of the newest delivery the year was made from
    on_time_minutes integer     not null,
    published_at    timestamptz           -- when its gate was passed
);
