update mart_years set published_at = clock_timestamp();
