"""exchange.py VENUE HOST:PORT SYMBOL COUNT: markets, trades, a ticker and COUNT order books by ccxt, as JSON lines.

Only the address differs from a client of the real venue. Each line has one key: markets, trade, ticker or book.
"""

import asyncio
import json
import sys
from decimal import Decimal

import ccxt.pro as ccxt

# A simulator that has not sent what is waited for by then has failed.
PATIENCE = 30


def exchange(venue, address):
    http, feed = f"http://{address}", f"ws://{address}"
    if venue == "coinbase":
        # ccxt signs the subscription of a book, with any key.
        client = ccxt.coinbaseexchange({"apiKey": "key", "secret": "c2VjcmV0", "password": "word"})
        client.urls["api"] |= {"public": http, "ws": feed}
    elif venue == "binance":
        client = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
        client.urls["api"]["public"] = f"{http}/api/v3"
        client.urls["api"]["ws"]["spot"] = f"{feed}/ws"
    elif venue == "kraken":
        client = ccxt.kraken()
        client.urls["api"]["public"] = http
        client.urls["api"]["ws"]["publicV2"] = f"{feed}/v2"
    else:
        client = ccxt.deribit()
        client.urls["api"] |= {"rest": http, "ws": f"{feed}/ws/api/v2"}
    return client


def text(number):
    # ccxt has floats, whose shortest text is the venue's number at these sizes.
    return None if number is None else format(Decimal(str(number)), "f")


def say(key, value):
    print(json.dumps({key: value}), flush=True)


async def say_all(client, venue, symbol, count):
    async def soon(call):
        return await asyncio.wait_for(call, PATIENCE)

    await soon(client.load_markets())
    say("markets", sorted(client.symbols))
    for trade in await soon(client.watch_trades(symbol)):
        say("trade", {"price": text(trade["price"]), "size": text(trade["amount"])})
    ticker = await soon(client.watch_ticker(symbol))
    if venue == "binance":
        # Its ticker of the day has no bid and ask.
        best = (await soon(client.watch_bids_asks([symbol])))[symbol]
        ticker |= {key: best[key] for key in ("bid", "ask")}
    say("ticker", {key: text(ticker[key]) for key in ("last", "bid", "ask")})
    for _ in range(count):
        book = await soon(client.watch_order_book(symbol))
        say("book", {side: [[text(level[0]), text(level[1])] for level in book[side]] for side in ("bids", "asks")})


async def main(venue, address, symbol, count):
    client = exchange(venue, address)
    try:
        await say_all(client, venue, symbol, int(count))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
