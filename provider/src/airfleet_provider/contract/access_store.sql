-- The statements of access_store.py. `%(name)s` is a parameter.

-- name: rules
SELECT rules, lists, passwords FROM airfleet.access

-- name: write
INSERT INTO airfleet.access (rules, lists, passwords) VALUES (%(rules)s, %(lists)s, %(passwords)s)
ON CONFLICT (is_present) DO UPDATE
SET rules = EXCLUDED.rules, lists = EXCLUDED.lists, passwords = EXCLUDED.passwords, changed_at = clock_timestamp()

-- name: users
-- A user has the roles of the groups of Airflow too, in which somebody may have put the user in the UI.
SELECT lower(u.username) AS name, u.email, coalesce(u.active, false) AS is_active, coalesce(d.source, '') AS source,
    EXISTS (SELECT FROM airfleet.access_token t WHERE t.user_id = u.id) AS is_service,
    coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.name IS NOT NULL), '{}') AS roles
FROM ab_user u
LEFT JOIN (
    SELECT user_id, role_id FROM ab_user_role
    UNION
    SELECT ug.user_id, gr.role_id FROM ab_user_group ug JOIN ab_group_role gr ON gr.group_id = ug.group_id
) AS held ON held.user_id = u.id
LEFT JOIN ab_role r ON r.id = held.role_id
LEFT JOIN airfleet.directory_user d ON d.user_id = u.id
GROUP BY u.id, d.source

-- name: permissions
SELECT r.name AS role, a.name AS action, v.name AS resource
FROM ab_role r
LEFT JOIN ab_permission_view_role pr ON pr.role_id = r.id
LEFT JOIN ab_permission_view p ON p.id = pr.permission_view_id
LEFT JOIN ab_permission a ON a.id = p.permission_id
LEFT JOIN ab_view_menu v ON v.id = p.view_menu_id

-- name: tags
SELECT d.dag_id, coalesce(array_agg(t.name::text) FILTER (WHERE t.name IS NOT NULL), '{}') AS tags
FROM dag d LEFT JOIN dag_tag t ON t.dag_id = d.dag_id
GROUP BY d.dag_id

-- name: dags
SELECT d.dag_id, coalesce(d.relative_fileloc, '') AS file,
    coalesce(array_agg(t.name::text) FILTER (WHERE t.name IS NOT NULL), '{}') AS tags
FROM dag d LEFT JOIN dag_tag t ON t.dag_id = d.dag_id
GROUP BY d.dag_id

-- name: dag_of_task
SELECT dag_id FROM task_instance WHERE id = %(id)s::uuid
UNION ALL
SELECT dag_id FROM task_instance_history WHERE task_instance_id = %(id)s::uuid
LIMIT 1

-- name: roles
SELECT held.user_id, r.name AS role
FROM (
    SELECT user_id, role_id FROM ab_user_role
    UNION
    SELECT ug.user_id, gr.role_id FROM ab_user_group ug JOIN ab_group_role gr ON gr.group_id = ug.group_id
) AS held
JOIN ab_role r ON r.id = held.role_id

-- name: tags_of
SELECT coalesce(array_agg(t.name::text) FILTER (WHERE t.name IS NOT NULL), '{}') AS tags
FROM dag d LEFT JOIN dag_tag t ON t.dag_id = d.dag_id
WHERE d.dag_id = %(dag)s
GROUP BY d.dag_id

-- name: roles_of
SELECT r.name AS role, a.name AS action
FROM ab_view_menu v
JOIN ab_permission_view p ON p.view_menu_id = v.id
JOIN ab_permission a ON a.id = p.permission_id
JOIN ab_permission_view_role pr ON pr.permission_view_id = p.id
JOIN ab_role r ON r.id = pr.role_id
WHERE v.name = %(resource)s

-- name: forget_failures
DELETE FROM airfleet.login_failure WHERE name = ANY(%(names)s) RETURNING id
