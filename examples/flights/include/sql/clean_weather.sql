-- One observation claims 1,048 mph; no wind at an airport of New York has been near 200.
update weather set wind_speed = null where wind_speed > 200;
