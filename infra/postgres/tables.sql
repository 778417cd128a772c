-- The tables of the sink, one for each compacted topic; columns are named as the Avro fields.
-- Idempotent. Made in the first schema of the search path: PGOPTIONS=-csearch_path=SCHEMA for another one.
-- Rows are never deleted by a tombstone: retention in Kafka is not retention here.

CREATE TABLE IF NOT EXISTS latest (
    base             text            NOT NULL,
    quote            text            NOT NULL,
    exchange         text            NOT NULL,
    price            numeric(38, 18) NOT NULL,
    size             numeric(38, 18),
    trade_id         bigint,
    basis            text            NOT NULL CHECK (basis IN ('TRADE', 'TICKER')),
    base_volume_24h  numeric(38, 18),
    quote_volume_24h numeric(38, 18),
    volume_source    text            NOT NULL,
    volume_time      timestamptz,
    event_time       timestamptz     NOT NULL,
    received_at      timestamptz     NOT NULL,
    PRIMARY KEY (base, quote, exchange)
);

-- What candles of all lengths have. Gone with the session that applies this file.
CREATE TEMP TABLE candle (
    base             text            NOT NULL,
    quote            text            NOT NULL,
    exchange         text            NOT NULL,
    basis            text            NOT NULL CHECK (basis IN ('TRADE', 'TICKER')),
    open_time        timestamptz     NOT NULL,
    open             numeric(38, 18) NOT NULL,
    high             numeric(38, 18) NOT NULL,
    low              numeric(38, 18) NOT NULL,
    close            numeric(38, 18) NOT NULL,
    -- Null, not zero, for candles of price samples: a sample has no size.
    base_volume      numeric(38, 18),
    quote_volume     numeric(38, 18),
    taker_buy_base   numeric(38, 18),
    taker_buy_quote  numeric(38, 18),
    trades           bigint          NOT NULL,
    status           text            NOT NULL CHECK (status IN ('OPEN', 'CLOSED', 'REVISED')),
    revision         int             NOT NULL,
    open_event_time  timestamptz     NOT NULL,
    close_event_time timestamptz     NOT NULL,
    gap              boolean         NOT NULL,
    -- Null: the feed says nothing about its health.
    coverage_ms      bigint,
    partial_start    boolean         NOT NULL,
    missing_trades   bigint,
    PRIMARY KEY (base, quote, exchange, basis, open_time)
);

-- A new day's, hour's or minute's candle of one pair is appended to its own end of the primary key, which
-- therefore serves reads by pair and time range, newest first too.
CREATE TABLE IF NOT EXISTS ohlc_1m (LIKE candle INCLUDING ALL);
CREATE TABLE IF NOT EXISTS ohlc_1h (LIKE candle INCLUDING ALL);
CREATE TABLE IF NOT EXISTS ohlc_1d (LIKE candle INCLUDING ALL);
DROP TABLE pg_temp.candle;

-- complete: the candle is known to hold all of its window, as Candle::is_complete has it in schemas/src/candle.rs.
-- Never null: false while it is open, and where the feed told no clock. Computed here, so that it is right for rows
-- of every age; adding it to a table that has rows rewrites the table, once.
ALTER TABLE ohlc_1m ADD COLUMN IF NOT EXISTS complete boolean GENERATED ALWAYS AS (
    status <> 'OPEN' AND NOT gap AND NOT partial_start
    AND coalesce(missing_trades, 0) = 0 AND coalesce(coverage_ms, 0) >= 60000) STORED;
ALTER TABLE ohlc_1h ADD COLUMN IF NOT EXISTS complete boolean GENERATED ALWAYS AS (
    status <> 'OPEN' AND NOT gap AND NOT partial_start
    AND coalesce(missing_trades, 0) = 0 AND coalesce(coverage_ms, 0) >= 3600000) STORED;
ALTER TABLE ohlc_1d ADD COLUMN IF NOT EXISTS complete boolean GENERATED ALWAYS AS (
    status <> 'OPEN' AND NOT gap AND NOT partial_start
    AND coalesce(missing_trades, 0) = 0 AND coalesce(coverage_ms, 0) >= 86400000) STORED;

-- "Newest across pairs", and the deletion of old rows by whoever wants it.
CREATE INDEX IF NOT EXISTS latest_event_time ON latest (event_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1m_open_time ON ohlc_1m (open_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1h_open_time ON ohlc_1h (open_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1d_open_time ON ohlc_1d (open_time DESC);
