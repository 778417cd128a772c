"""frames.py URL: candles as data frames, by pandas and by polars, in a line each."""

import sys
import urllib.request

import pandas
import polars

candles = f"{sys.argv[1]}/v1/candles?base=BTC&quote=USD&exchange=coinbase&interval=1m"

# Text is exact; pandas makes floats of prices unless it is told to keep them as they are.
frame = pandas.read_csv(candles, storage_options={"Accept": "text/csv"}, dtype={"close": str, "base_volume": str})
for row in frame.itertuples():
    print("pandas", row.open_time, row.close, row.base_volume, row.trades, row.status)

# Arrow has decimals and times of its own, and nothing is parsed.
arrow = urllib.request.Request(candles, headers={"Accept": "application/vnd.apache.arrow.stream"})
frame = polars.read_ipc_stream(urllib.request.urlopen(arrow).read())
for row in frame.iter_rows(named=True):
    time = row["open_time"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
    close, volume = (format(row[name].normalize(), "f") for name in ("close", "base_volume"))
    print("polars", time, close, volume, row["trades"], row["status"])
