-- Partitions of the tables that grow with time. Run by infra/tables.sh after tables.sql, with two variables:
--   mode       create: the partitions around now are created. maintain: rows leave DEFAULT, and old partitions are dropped too.
--   retention  TABLE=INTERVAL,…, or TABLE=forever; a table without an entry is kept for ever.
-- Idempotent. Each step is a transaction of its own, so a run that is interrupted loses nothing.

SET timezone = 'UTC';
-- One run at a time: two would create the same partition.
DO $$ BEGIN PERFORM pg_advisory_lock(hashtext('infra/tables.sh'), hashtext(current_schema())); END $$;
-- Writers wait at most this long for a step that waits for a lock; the next run repeats the step.
SET lock_timeout = '5s';

-- behind: how far before now partitions are created, for a sink that catches up. ahead: how long no run may be needed.
CREATE TEMP TABLE grown (name text, step text, behind interval, ahead interval, keep interval);
INSERT INTO grown VALUES
    ('ohlc_1m', 'month', '30 days', '2 months'),
    ('ohlc_1h', 'year', '2 years', '1 year'),
    ('spreads_1m', 'month', '30 days', '2 months'),
    ('spreads_1h', 'year', '2 years', '1 year'),
    ('options_1m', 'day', '7 days', '7 days'),
    ('pool_1m', 'month', '30 days', '2 months'),
    ('token_5m', 'month', '30 days', '2 months'),
    ('token_1h', 'year', '2 years', '1 year');
-- The last entry of a table counts.
UPDATE grown SET keep = (
    SELECT nullif(split_part(entry, '=', 2), 'forever')::interval
    FROM unnest(string_to_array(:'retention', ',')) WITH ORDINALITY AS entries (entry, place)
    WHERE split_part(entry, '=', 1) = name ORDER BY place DESC LIMIT 1);

CREATE TEMP TABLE settings AS SELECT :'mode' = 'maintain' AS maintains;
-- The lines that a run prints.
CREATE TEMP TABLE report (line serial, text text);

-- The partitions of a table but DEFAULT, with their ranges.
CREATE FUNCTION pg_temp.partitions(parent text) RETURNS TABLE (part regclass, low timestamptz, high timestamptz)
LANGUAGE sql AS $$
    SELECT part, replace(btrim(bound[1], ''''), 'MINVALUE', '-infinity')::timestamptz, btrim(bound[2], '''')::timestamptz
    FROM (SELECT oid::regclass AS part,
                 regexp_match(pg_get_expr(relpartbound, oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
          FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = parent::regclass) AS ranges
    WHERE bound IS NOT NULL
$$;

-- Creates a partition, with the rows of its range that are in DEFAULT.
CREATE FUNCTION pg_temp.create_partition(parent text, step text, low timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    suffix CONSTANT text := CASE step WHEN 'day' THEN 'YYYY_MM_DD' WHEN 'month' THEN 'YYYY_MM' ELSE 'YYYY' END;
    part CONSTANT text := parent || '_p' || to_char(low, suffix);
    high CONSTANT timestamptz := low + ('1 ' || step)::interval;
    -- A generated column cannot be written; the new partition computes it again.
    columns CONSTANT text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = parent::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '');
    moved bigint;
BEGIN
    -- A writer that chose DEFAULT before would be refused by it afterwards: writers wait at the table instead.
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE ROW EXCLUSIVE MODE', parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE open_time >= %L AND open_time < %L RETURNING %s) '
                   'INSERT INTO %I (%s) SELECT %s FROM moved',
                   parent || '_default', low, high, columns, part, columns, columns);
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
    RETURN format('created %s%s', part, CASE WHEN moved > 0 THEN format(', with %s rows of %s_default', moved, parent) END);
END
$$;

CREATE FUNCTION pg_temp.drop_partition(part regclass) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE name CONSTANT text := part::text;
BEGIN
    EXECUTE format('DROP TABLE %s', part);
    RETURN format('dropped %s', name);
END
$$;

-- Deletes rows older than the cutoff that came for a partition after it was dropped.
CREATE FUNCTION pg_temp.delete_late(parent text, cutoff timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    -- The largest transaction of a run; the next run deletes the rest.
    max_rows CONSTANT int := 1000000;
    deleted bigint;
BEGIN
    EXECUTE format('DELETE FROM %I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE open_time < %L LIMIT %s))',
                   parent || '_default', cutoff, max_rows);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN CASE WHEN deleted > 0 THEN format('deleted %s rows of %s_default before %s', deleted, parent, cutoff) END;
END
$$;

-- The ranges that need a partition: those around now and, in a maintaining run, those of rows in DEFAULT.
CREATE FUNCTION pg_temp.missing(parent text, step text, behind interval, ahead interval, cutoff timestamptz)
RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
DECLARE
    -- The most partitions that a run creates for one table; the next run creates the rest.
    max_created CONSTANT int := 100;
    lost CONSTANT text := CASE WHEN (SELECT maintains FROM pg_temp.settings)
        THEN format('UNION SELECT date_trunc(%L, open_time, ''UTC'') FROM %I', step, parent || '_default') ELSE '' END;
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT low FROM (SELECT generate_series(date_trunc(%1$L, now() - %2$L::interval, ''UTC''), now() + %3$L::interval, %4$L::interval) '
        'AS low %5$s) AS wanted WHERE low >= %6$L '
        'AND NOT EXISTS (SELECT FROM pg_temp.partitions(%7$L) AS p WHERE p.low <= wanted.low AND wanted.low < p.high) '
        'ORDER BY low DESC LIMIT %8$s', step, behind, ahead, '1 ' || step, lost, cutoff, parent, max_created);
END
$$;

-- Removes the constraint of a migration that was killed: it would refuse the rows of later months.
CREATE FUNCTION pg_temp.drop_leftover(parent text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT before_partitions', parent);
    RETURN 'removed the constraint of a migration that did not end';
END
$$;

-- Runs one step; a table that stays locked is left to the next run.
CREATE FUNCTION pg_temp.attempt(parent text, step text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
    EXECUTE 'SELECT ' || step INTO said;
    INSERT INTO pg_temp.report (text) SELECT format('%s: %s', parent, said) WHERE said IS NOT NULL;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    INSERT INTO pg_temp.report (text) VALUES (format('%s: left to the next run, another session holds a lock: %s', parent, step));
END
$$;

DO $$
DECLARE
    t record;
    step text;
    steps text[];
    maintains CONSTANT boolean := (SELECT settings.maintains FROM pg_temp.settings);
BEGIN
    FOR t IN
        SELECT grown.*, relkind, coalesce(date_trunc(grown.step, now() - keep, 'UTC'), '-infinity') AS cutoff
        FROM grown JOIN pg_class ON oid = to_regclass(name) ORDER BY name
    LOOP
        IF t.relkind = 'r' THEN
            INSERT INTO pg_temp.report (text) VALUES (format('%s: has no partitions: infra/tables.sh migrate %1$s', t.name));
            IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.name::regclass AND conname = 'before_partitions') THEN
                PERFORM pg_temp.attempt(t.name, format('pg_temp.drop_leftover(%L)', t.name));
            END IF;
        END IF;
        CONTINUE WHEN t.relkind <> 'p';
        IF to_regclass(t.name || '_default') IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', t.name || '_default', t.name);
        END IF;
        COMMIT;
        steps := ARRAY(
            SELECT format('pg_temp.drop_partition(%L)', part) FROM pg_temp.partitions(t.name)
            WHERE maintains AND high <= t.cutoff
            UNION ALL
            SELECT format('pg_temp.delete_late(%L, %L)', t.name, t.cutoff) WHERE maintains AND t.keep IS NOT NULL
            UNION ALL
            SELECT format('pg_temp.create_partition(%L, %L, %L)', t.name, t.step, low)
            FROM pg_temp.missing(t.name, t.step, t.behind, t.ahead, t.cutoff) AS low);
        FOREACH step IN ARRAY steps LOOP
            PERFORM pg_temp.attempt(t.name, step);
            COMMIT;
        END LOOP;
    END LOOP;
END
$$;

SELECT text FROM report ORDER BY line;
