"""options.py HOST:PORT CURRENCY: markets, option chain and greeks of Deribit's options by ccxt, as JSON lines.

Only the address differs from a client of the real venue. Each line has one key: market, chain or greeks.
"""

import asyncio
import sys

from exchange import PATIENCE, exchange, say, text

# Greeks are one request each: those of every so many options.
EVERY = 7


async def say_all(client, currency):
    async def soon(call):
        return await asyncio.wait_for(call, PATIENCE)

    await soon(client.load_markets())
    options = [market for market in client.markets.values() if market["option"]]
    for market in options:
        numbers = {key: text(market[key]) for key in ("strike", "contractSize")}
        tick = text(market["precision"]["price"])
        words = {key: market[key] for key in ("id", "base", "settle", "expiry", "optionType", "active")}
        say("market", words | numbers | {"tick": tick})
    for option in (await soon(client.fetch_option_chain(currency))).values():
        info = option["info"]
        keys = ("bidPrice", "askPrice", "markPrice", "lastPrice", "underlyingPrice", "openInterest", "baseVolume")
        numbers = {key: text(option[key]) for key in keys}
        say("chain", {"id": info["instrument_name"], "time": int(info["creation_timestamp"])} | numbers)
    for market in options[::EVERY]:
        greeks = await soon(client.fetch_greeks(market["symbol"]))
        words = ("symbol", "datetime", "timestamp", "info")
        numbers = {key: text(value) for key, value in greeks.items() if key not in words}
        say("greeks", {"id": market["id"], "time": greeks["timestamp"]} | numbers)


async def main(address, currency):
    client = exchange("deribit", address)
    try:
        await say_all(client, currency)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
