-- psql -f latest.sql: the newest prices and the last closed minutes. Numbers are exact in numeric columns;
-- trim_scale takes the zeros away that their scale shows.
SELECT 'latest', base, quote, exchange, trim_scale(price), to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM latest ORDER BY base, quote, exchange;

SELECT 'ohlc_1m', base, quote, exchange, to_char(open_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
       trim_scale(open), trim_scale(high), trim_scale(low), trim_scale(close), trim_scale(base_volume), trades, status
FROM ohlc_1m WHERE (base, quote, exchange, basis) = ('BTC', 'USD', 'coinbase', 'TRADE') ORDER BY open_time;
