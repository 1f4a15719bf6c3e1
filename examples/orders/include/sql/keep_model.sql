insert into return_models (name, weights, orders) values (%s, %s, %s)
on conflict (name) do update set weights = excluded.weights, orders = excluded.orders;
