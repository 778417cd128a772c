-- Gives a table of an earlier version partitions, without copying a row: it becomes the partition of all times
-- before a border in the future. Run by infra/tables.sh migrate, with the variables name, step and before (the partition's name).

SET timezone = 'UTC';
-- As partitions.sql does: a run of it would remove the constraint below.
DO $$ BEGIN PERFORM pg_advisory_lock(hashtext('infra/tables.sh'), hashtext(current_schema())); END $$;
-- Writers and readers wait at most this long for the two short locks.
SET lock_timeout = '5s';

-- A day at least for the partitions after the border to be created.
SELECT date_trunc(:'step', greatest(max(open_time), now()) + interval '1 day', 'UTC') + ('1 ' || :'step')::interval AS border
FROM :"name" \gset

-- Attaching proves that every row is before the border. With this constraint it reads no row while it holds its lock:
-- they are read here, where others go on reading and writing.
ALTER TABLE :"name" DROP CONSTRAINT IF EXISTS before_partitions;
ALTER TABLE :"name" ADD CONSTRAINT before_partitions CHECK (open_time < :'border') NOT VALID;
ALTER TABLE :"name" VALIDATE CONSTRAINT before_partitions;

BEGIN;
ALTER TABLE :"name" RENAME TO :"before";
SELECT format('ALTER INDEX %s RENAME TO %I', indexrelid::regclass, regexp_replace(relname, '^' || :'name', :'before'))
FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = :'before'::regclass AND relname LIKE :'name' || '\_%' \gexec
\ir tables.sql
SELECT format('ALTER TABLE %I OWNER TO %I', :'name', pg_get_userbyid(relowner)) FROM pg_class WHERE oid = :'before'::regclass \gexec
SELECT format('GRANT %s ON %I TO %s%s', privilege_type, :'name',
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class, aclexplode(relacl) WHERE oid = :'before'::regclass AND grantee <> relowner \gexec
ALTER TABLE :"name" ATTACH PARTITION :"before" FOR VALUES FROM (MINVALUE) TO (:'border');
-- Before the first writer: no row is without a partition.
SELECT format('CREATE TABLE %I PARTITION OF %I DEFAULT', :'name' || '_default', :'name') \gexec
ALTER TABLE :"before" DROP CONSTRAINT before_partitions;
COMMIT;
