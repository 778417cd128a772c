-- The tables of the sink, one for each compacted topic; columns are named as the Avro fields.
-- Idempotent. Made in the first schema of the search path: PGOPTIONS=-csearch_path=SCHEMA for another one.
-- Rows of pool_1m, token_5m and token_1h are deleted by a tombstone: a reorganisation took the last swap of the bucket.
-- No other row is: retention in Kafka is not retention here.
-- Tables that grow with time are partitioned by open_time; partitions.sql creates, fills and drops the partitions.
-- A table of an earlier version without partitions stays as it is: `infra/tables.sh migrate`.

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
CREATE TABLE IF NOT EXISTS ohlc_1m (LIKE candle INCLUDING ALL) PARTITION BY RANGE (open_time);
CREATE TABLE IF NOT EXISTS ohlc_1h (LIKE candle INCLUDING ALL) PARTITION BY RANGE (open_time);
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

-- The top of the book of each pair. An empty side is null, never zero, and so is each value that needs both sides.
CREATE TABLE IF NOT EXISTS top_of_book (
    base             text            NOT NULL,
    quote            text            NOT NULL,
    exchange         text            NOT NULL,
    bid              numeric(38, 18),
    bid_size         numeric(38, 18),
    ask              numeric(38, 18),
    ask_size         numeric(38, 18),
    spread           numeric(38, 18),
    mid              numeric(38, 18),
    microprice       numeric(38, 18),
    imbalance        numeric(38, 18),
    max_spread       numeric(38, 18),
    mid_mean_10      numeric(38, 18),
    sequence         bigint,
    -- OUT_OF_SYNC: the values are those of the last book that was proved.
    state            text            NOT NULL CHECK (state IN ('IN_SYNC', 'OUT_OF_SYNC')),
    event_time       timestamptz     NOT NULL,
    received_at      timestamptz     NOT NULL,
    PRIMARY KEY (base, quote, exchange)
);

-- What spreads of all lengths have. Gone with the session that applies this file.
CREATE TEMP TABLE spread (
    base             text            NOT NULL,
    quote            text            NOT NULL,
    exchange         text            NOT NULL,
    open_time        timestamptz     NOT NULL,
    updates          bigint          NOT NULL,
    -- Null: no quote of the window has both sides.
    spread_min       numeric(38, 18),
    spread_max       numeric(38, 18),
    spread_max_abs   numeric(38, 18),
    spread_mean      numeric(38, 18),
    mid_open         numeric(38, 18),
    mid_high         numeric(38, 18),
    mid_low          numeric(38, 18),
    mid_close        numeric(38, 18),
    mid_mean         numeric(38, 18),
    mid_mean_10      numeric(38, 18),
    microprice       numeric(38, 18),
    imbalance        numeric(38, 18),
    -- Null: the feed says nothing about its health.
    coverage_ms      bigint,
    gap              boolean         NOT NULL,
    status           text            NOT NULL CHECK (status IN ('OPEN', 'CLOSED', 'REVISED')),
    revision         int             NOT NULL,
    PRIMARY KEY (base, quote, exchange, open_time)
);
CREATE TABLE IF NOT EXISTS spreads_1m (LIKE spread INCLUDING ALL) PARTITION BY RANGE (open_time);
CREATE TABLE IF NOT EXISTS spreads_1h (LIKE spread INCLUDING ALL) PARTITION BY RANGE (open_time);
CREATE TABLE IF NOT EXISTS spreads_1d (LIKE spread INCLUDING ALL);
DROP TABLE pg_temp.spread;

-- The newest ticker of each option, with the facts of the instrument. Null: the venue states no value, or the side is empty.
-- A row stays after the end of the option, with state CLOSED. "right" is a reserved word of SQL: quote it, or write o.right.
CREATE TABLE IF NOT EXISTS options (
    base                     text            NOT NULL,
    quote                    text            NOT NULL,
    exchange                 text            NOT NULL,
    currency                 text            NOT NULL,
    expiry_time              timestamptz     NOT NULL,
    strike                   numeric(38, 18) NOT NULL,
    "right"                  text            NOT NULL CHECK ("right" IN ('CALL', 'PUT')),
    -- Null until the venue's listing is known.
    settlement_currency      text,
    contract_size            numeric(38, 18),
    tick_size                numeric(38, 18),
    mark_price               numeric(38, 18),
    last_price               numeric(38, 18),
    bid                      numeric(38, 18),
    bid_size                 numeric(38, 18),
    ask                      numeric(38, 18),
    ask_size                 numeric(38, 18),
    -- In percent. A zero beside a bid is the venue's value.
    mark_iv                  numeric(38, 18),
    bid_iv                   numeric(38, 18),
    ask_iv                   numeric(38, 18),
    delta                    numeric(38, 18),
    gamma                    numeric(38, 18),
    vega                     numeric(38, 18),
    theta                    numeric(38, 18),
    rho                      numeric(38, 18),
    open_interest            numeric(38, 18),
    underlying_price         numeric(38, 18),
    underlying_index         text,
    index_price              numeric(38, 18),
    settlement_price         numeric(38, 18),
    min_price                numeric(38, 18),
    max_price                numeric(38, 18),
    interest_rate            numeric(38, 18),
    estimated_delivery_price numeric(38, 18),
    volume                   numeric(38, 18),
    volume_usd               numeric(38, 18),
    price_change             numeric(38, 18),
    high                     numeric(38, 18),
    low                      numeric(38, 18),
    -- OPEN, CLOSED after the end, else the venue's word in upper case.
    state                    text            NOT NULL,
    closed_at                timestamptz,
    event_time               timestamptz     NOT NULL,
    received_at              timestamptz     NOT NULL,
    PRIMARY KEY (base, quote, exchange)
);

-- The last ticker of each minute of an option: 1,500 options are 2.2 million rows a day.
CREATE TABLE IF NOT EXISTS options_1m (
    base                     text            NOT NULL,
    quote                    text            NOT NULL,
    exchange                 text            NOT NULL,
    open_time                timestamptz     NOT NULL,
    mark_price               numeric(38, 18),
    mark_iv                  numeric(38, 18),
    bid                      numeric(38, 18),
    ask                      numeric(38, 18),
    bid_iv                   numeric(38, 18),
    ask_iv                   numeric(38, 18),
    delta                    numeric(38, 18),
    open_interest            numeric(38, 18),
    underlying_price         numeric(38, 18),
    index_price              numeric(38, 18),
    event_time               timestamptz     NOT NULL,
    PRIMARY KEY (base, quote, exchange, open_time)
) PARTITION BY RANGE (open_time);

-- The newest ticker of each future and perpetual, with the facts of the instrument.
CREATE TABLE IF NOT EXISTS derivatives (
    base                     text            NOT NULL,
    quote                    text            NOT NULL,
    exchange                 text            NOT NULL,
    class                    text            NOT NULL CHECK (class IN ('FUTURE', 'PERPETUAL')),
    currency                 text            NOT NULL,
    settlement_currency      text,
    -- Null: a perpetual.
    expiry_time              timestamptz,
    contract_size            numeric(38, 18),
    tick_size                numeric(38, 18),
    mark_price               numeric(38, 18),
    last_price               numeric(38, 18),
    bid                      numeric(38, 18),
    bid_size                 numeric(38, 18),
    ask                      numeric(38, 18),
    ask_size                 numeric(38, 18),
    open_interest            numeric(38, 18),
    index_price              numeric(38, 18),
    settlement_price         numeric(38, 18),
    min_price                numeric(38, 18),
    max_price                numeric(38, 18),
    interest_rate            numeric(38, 18),
    estimated_delivery_price numeric(38, 18),
    current_funding          numeric(38, 18),
    funding_8h               numeric(38, 18),
    volume                   numeric(38, 18),
    volume_usd               numeric(38, 18),
    price_change             numeric(38, 18),
    high                     numeric(38, 18),
    low                      numeric(38, 18),
    state                    text            NOT NULL,
    closed_at                timestamptz,
    event_time               timestamptz     NOT NULL,
    received_at              timestamptz     NOT NULL,
    PRIMARY KEY (base, quote, exchange)
);

-- The facts of each pool. Null: the contract states no value.
CREATE TABLE IF NOT EXISTS pools (
    chain       bigint      NOT NULL,
    pool        text        NOT NULL,
    protocol    text        NOT NULL CHECK (protocol IN ('uniswap_v2', 'uniswap_v3')),
    token0      text        NOT NULL,
    token1      text        NOT NULL,
    -- In millionths.
    fee         bigint,
    symbol0     text,
    symbol1     text,
    decimals0   bigint,
    decimals1   bigint,
    -- 0 or 1: the token that is a listed stablecoin.
    usd_token   bigint,
    event_time  timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (chain, pool)
);

-- The swaps of each pool in each minute of the canonical chain. Amounts are exact integers in raw units, the pool's view:
-- positive flows in; null when the sum has more than 78 digits. Prices are token1 for one token0, in whole tokens.
CREATE TABLE IF NOT EXISTS pool_1m (
    chain           bigint          NOT NULL,
    pool            text            NOT NULL,
    open_time       timestamptz     NOT NULL,
    swaps           bigint          NOT NULL,
    net_amount0     numeric(78, 0),
    net_amount1     numeric(78, 0),
    in_amount0      numeric(78, 0),
    in_amount1      numeric(78, 0),
    -- Null: a pool of v2 has no ticks.
    open_tick       bigint,
    high_tick       bigint,
    low_tick        bigint,
    close_tick      bigint,
    open_price      numeric(38, 18),
    high_price      numeric(38, 18),
    low_price       numeric(38, 18),
    close_price     numeric(38, 18),
    liquidity       numeric(78, 0),
    open_block      bigint          NOT NULL,
    open_log_index  bigint          NOT NULL,
    close_block     bigint          NOT NULL,
    close_log_index bigint          NOT NULL,
    -- FINAL: no reorganisation changes it any more.
    status          text            NOT NULL CHECK (status IN ('OPEN', 'FINAL')),
    -- Removals that changed it.
    revision        bigint          NOT NULL,
    event_time      timestamptz     NOT NULL,
    PRIMARY KEY (chain, pool, open_time)
) PARTITION BY RANGE (open_time);

-- What buckets of tokens of both lengths have. Gone with the session that applies this file.
CREATE TEMP TABLE token_bucket (
    chain          bigint          NOT NULL,
    token          text            NOT NULL,
    open_time      timestamptz     NOT NULL,
    swaps          bigint          NOT NULL,
    -- The sum of the magnitudes in raw units; null when it has more than 78 digits.
    volume         numeric(78, 0),
    pools          bigint          NOT NULL,
    -- Of the swaps against a listed stablecoin; null without one.
    volume_usd     numeric(38, 18),
    unpriced_swaps bigint          NOT NULL,
    symbol         text,
    decimals       bigint,
    event_time     timestamptz     NOT NULL,
    PRIMARY KEY (chain, token, open_time)
);
CREATE TABLE IF NOT EXISTS token_5m (LIKE token_bucket INCLUDING ALL) PARTITION BY RANGE (open_time);
CREATE TABLE IF NOT EXISTS token_1h (LIKE token_bucket INCLUDING ALL) PARTITION BY RANGE (open_time);
DROP TABLE pg_temp.token_bucket;

-- The status of each swap of a transaction. log_index is -1 while it is pending. A row is older than the retention of its
-- topic until somebody deletes it: DELETE FROM swap_status WHERE event_time < now() - interval '7 days'.
CREATE TABLE IF NOT EXISTS swap_status (
    chain        bigint         NOT NULL,
    tx_hash      text           NOT NULL,
    log_index    bigint         NOT NULL,
    status       text           NOT NULL CHECK (status IN ('PENDING', 'INCLUDED', 'CONFIRMED', 'FINAL', 'REMOVED')),
    pool         text           NOT NULL,
    block_number bigint,
    block_hash   text,
    amount0      numeric(78, 0) NOT NULL,
    amount1      numeric(78, 0) NOT NULL,
    block_time   timestamptz,
    event_time   timestamptz    NOT NULL,
    PRIMARY KEY (chain, tx_hash, log_index)
);

-- The consolidated price of each pair over all exchanges.
CREATE TABLE IF NOT EXISTS index (
    base                 text            NOT NULL,
    quote                text            NOT NULL,
    -- Null: no member is fresh.
    price                numeric(38, 18),
    used                 bigint          NOT NULL,
    spread_across_venues numeric(38, 18),
    rule                 text            NOT NULL,
    -- An array of objects with the fields of the topic; prices are strings, times are milliseconds.
    members              jsonb           NOT NULL,
    as_of                timestamptz     NOT NULL,
    event_time           timestamptz     NOT NULL,
    PRIMARY KEY (base, quote)
);

-- "Newest across pairs".
CREATE INDEX IF NOT EXISTS latest_event_time ON latest (event_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1m_open_time ON ohlc_1m (open_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1h_open_time ON ohlc_1h (open_time DESC);
CREATE INDEX IF NOT EXISTS ohlc_1d_open_time ON ohlc_1d (open_time DESC);
CREATE INDEX IF NOT EXISTS top_of_book_event_time ON top_of_book (event_time DESC);
-- "Which books are out of sync": few rows of many.
CREATE INDEX IF NOT EXISTS top_of_book_out_of_sync ON top_of_book (exchange) WHERE state = 'OUT_OF_SYNC';
CREATE INDEX IF NOT EXISTS spreads_1m_open_time ON spreads_1m (open_time DESC);
CREATE INDEX IF NOT EXISTS spreads_1h_open_time ON spreads_1h (open_time DESC);
CREATE INDEX IF NOT EXISTS spreads_1d_open_time ON spreads_1d (open_time DESC);
-- The chain of an expiry, in the order of its strikes.
CREATE INDEX IF NOT EXISTS options_chain ON options (currency, expiry_time, strike);
CREATE INDEX IF NOT EXISTS options_event_time ON options (event_time DESC);
CREATE INDEX IF NOT EXISTS options_1m_open_time ON options_1m (open_time DESC);
CREATE INDEX IF NOT EXISTS derivatives_currency ON derivatives (currency, expiry_time);
-- "The pools of a token", and the token itself by its symbol.
CREATE INDEX IF NOT EXISTS pools_token0 ON pools (chain, token0);
CREATE INDEX IF NOT EXISTS pools_token1 ON pools (chain, token1);
CREATE INDEX IF NOT EXISTS pool_1m_open_time ON pool_1m (open_time DESC);
-- "Tokens by volume in a window".
CREATE INDEX IF NOT EXISTS token_5m_open_time ON token_5m (open_time DESC);
CREATE INDEX IF NOT EXISTS token_1h_open_time ON token_1h (open_time DESC);
CREATE INDEX IF NOT EXISTS swap_status_event_time ON swap_status (event_time DESC);
